//! One kept-alive connection, for what is not itself load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::peer::Protocol;

/// Longest time one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Speaks HTTP/1.1.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Self::open_with(address, Protocol::Http1).await
    }

    pub(crate) async fn open_with(address: SocketAddr, protocol: Protocol) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self { address, sender })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Bytes>> {
        self.send_with(method, path, body, &[]).await
    }

    /// The same with fields of one's own.
    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<Response<Bytes>> {
        let mut request = match &self.sender {
            Sender::Http1(_) => Request::builder()
                .uri(path)
                .header(header::HOST, self.address.to_string()),
            Sender::Http2(_) => Request::builder().uri(format!("http://{}{path}", self.address)),
        };
        request = request.method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        let answer = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .with_context(|| {
                format!(
                    "no answer from http://{}{path} in {TIMEOUT:?}",
                    self.address
                )
            })?
    }
}
