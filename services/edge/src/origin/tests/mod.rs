//! An origin in front of servers that misbehave: on sockets of the system, and on
//! connections in memory where time is to be paused.

mod balance;
mod broken;
mod http2;
mod left_alone;
mod names;
mod waits;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::SiteConfig;
use tidegate_net::{Dial, Dialer, Duplex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

use super::{
    BodyLimits, Origin, OriginBody, OriginError, OriginRequest, RequestBody, Surroundings,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The origin that this part of a site file describes.
fn origin(config: Value, surroundings: impl Into<Surroundings>) -> Origin {
    let mut site = json!({ "hosts": ["www.example.com"] });
    site["origin"] = config;
    let site: SiteConfig = serde_json::from_value(site).unwrap();
    Origin::new("shop", &site.check().unwrap(), &surroundings.into())
        .unwrap()
        .unwrap()
}

fn request(method: Method, body: RequestBody) -> OriginRequest {
    let mut fields = HeaderMap::new();
    fields.insert(HOST, HeaderValue::from_static("www.example.com"));
    OriginRequest {
        method,
        url: PathAndQuery::parse("/a?b").unwrap(),
        fields,
        body,
        interim: None,
    }
}

fn get() -> OriginRequest {
    request(Method::GET, RequestBody::empty())
}

fn post() -> OriginRequest {
    let body = Full::new(Bytes::from_static(b"x"));
    request(Method::POST, RequestBody::new(body, BodyLimits::default()))
}

/// Sends a request, within the patience of a test.
async fn send(
    origin: &Origin,
    request: OriginRequest,
) -> Result<Response<OriginBody>, OriginError> {
    patiently(origin.send(request)).await
}

/// The text of the response, read to its end.
async fn text(origin: &Origin, request: OriginRequest) -> Result<String, OriginError> {
    let response = send(origin, request).await?;
    let body = patiently(response.into_body().collect()).await;
    Ok(String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap())
}

/// No test waits longer for anything.
async fn patiently<F: Future>(future: F) -> F::Output {
    let patience = Duration::from_secs(300);
    tokio::time::timeout(patience, future)
        .await
        .expect("in time")
}

/// Reads the head of a request; whether there was one.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Answers every request on a connection with this.
async fn answer_all(mut stream: impl Duplex, answer: &[u8]) {
    while head(&mut stream).await && stream.write_all(answer).await.is_ok() {}
}

/// Counts from nothing.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A server on a socket that does this with its connections, which are counted.
async fn server<F>(each: impl Fn(usize, TcpStream) -> F + Send + 'static) -> (SocketAddr, Count)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, serve(listener, each))
}

fn serve<F>(listener: TcpListener, each: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Count
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Count::default();
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(each(counted.next(), stream));
        }
    });
    connections
}

type Handler = Box<dyn Fn(usize, DuplexStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// Servers in memory, by name. One that is not there takes no connection.
#[derive(Default)]
struct Memory {
    servers: Mutex<Vec<(&'static str, Arc<Handler>)>>,
    dialed: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

/// The name of a server to which no connection is ever made.
const BLACK_HOLE: &str = "black-hole";

impl Memory {
    /// Does this from now on with connections to this name.
    fn set<F>(
        &self,
        name: &'static str,
        each: impl Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.remove(name);
        let each: Handler = Box::new(move |index, stream| Box::pin(each(index, stream)));
        self.servers.lock().push((name, Arc::new(each)));
    }

    /// Takes no connection to this name from now on.
    fn remove(&self, name: &str) {
        self.servers.lock().retain(|(known, _)| *known != name);
    }

    /// Connections that were asked for.
    fn dialed(&self) -> usize {
        self.dialed.lock().len()
    }

    fn dialer(self: &Arc<Self>) -> Dialer {
        Dialer::Other(self.clone())
    }
}

impl Dial for Memory {
    fn dial(&self, host: &str, _port: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let mut dialed = self.dialed.lock();
        let index = dialed.iter().filter(|name| *name == host).count();
        dialed.push(host.to_owned());
        if host == BLACK_HOLE {
            return Box::pin(std::future::pending());
        }
        let servers = self.servers.lock();
        let found = servers.iter().find(|(name, _)| *name == host);
        let each = found.map(|(_, each)| each.clone());
        Box::pin(async move {
            let each = each.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(1 << 10);
            tokio::spawn(each(index, theirs));
            Ok(Box::new(ours) as Box<dyn Duplex>)
        })
    }
}
