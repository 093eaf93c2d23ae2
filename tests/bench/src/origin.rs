//! The origin of the cached responses: a thread that answers every request with the
//! same body and counts them, so that a hit can be told from a miss. The first segment
//! of the path is the response's tag: `/item:1/7` carries `item:1`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The entity tag of every answer.
pub(crate) const ETAG: &str = "\"1\"";

/// An origin that answers until the process ends.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// What it answers.
    pub(crate) body: String,
    asked: Arc<AtomicU64>,
}

impl Origin {
    /// Starts it, with a body of `size` bytes.
    pub(crate) fn start(size: usize) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let body: String = ('a'..='z').cycle().take(size).collect();
        let asked = Arc::new(AtomicU64::new(0));
        let (bytes, counter) = (Bytes::from(body.clone()), Arc::clone(&asked));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the origin's runtime")?;
        std::thread::Builder::new()
            .name("origin".to_owned())
            .spawn(move || runtime.block_on(serve(listener, bytes, counter)))?;
        Ok(Self {
            address,
            body,
            asked,
        })
    }

    /// How many requests have reached it.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(listener: std::net::TcpListener, body: Bytes, asked: Arc<AtomicU64>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("origin: {error}"),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return eprintln!("origin: {error}"),
        };
        let (body, asked) = (body.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                asked.fetch_add(1, Ordering::Relaxed);
                let tag = request.uri().path().split('/').nth(1).unwrap_or_default();
                // Varnish's xkey reads the same field.
                let response = Response::builder()
                    .header(header::CONTENT_TYPE, "text/plain")
                    .header(header::CACHE_CONTROL, "max-age=36000")
                    .header("xkey", tag)
                    .header(header::ETAG, ETAG)
                    .body(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(response.unwrap_or_default()) }
            });
            // A client that goes away is no matter of the origin's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
