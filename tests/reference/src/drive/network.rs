//! Connections from an edge to the origin, in memory.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_net::{Dial, Duplex};

use super::origin::Origin;

const BUFFER_BYTES: usize = 16 << 10;

/// Leads every connection of an edge to the origin.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) origin: Arc<Origin>,
    /// The number of the edge.
    pub(super) edge: usize,
}

impl Dial for Network {
    fn dial(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let (origin, edge) = (self.origin.clone(), self.edge);
        async move {
            if !origin.takes_connections() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(BUFFER_BYTES);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let origin = origin.clone();
                    async move { origin.answer(edge, &request).await }
                });
                // A connection that breaks does so on purpose.
                let _ = hyper::server::conn::http1::Builder::new()
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(far), service)
                    .await;
            });
            let near: Box<dyn Duplex> = Box::new(near);
            Ok(near)
        }
        .boxed()
    }
}
