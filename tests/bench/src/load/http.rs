//! One kept-alive HTTP/1.1 connection, for what is not itself load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest time one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
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
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
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
