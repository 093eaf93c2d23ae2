//! Connections to one server: TCP or TLS, established within a time, pooled, and
//! aware of whether they were used before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{
    ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder,
    MaybeHttpsStream,
};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tidegate_domain::site::{Upstream, UpstreamUrl};
use tidegate_net::{Dialed, Dialer};
use tower::{BoxError, Service};

use super::body::RequestBody;
use super::error::OriginError;

/// Connections kept open while nobody uses them, for one server.
const MAX_IDLE: usize = 256;
/// How long they are. Below what servers usually allow, so that few are found closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// Largest head of a response.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 200;

/// Makes connections within a time.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<tidegate_net::Connector>,
    limit: Duration,
}

/// No connection in time.
#[derive(Debug, Clone, Copy, Error)]
#[error("no connection in time")]
pub(super) struct TooSlow;

pub(super) fn connector(
    url: &UpstreamUrl,
    upstream: &Upstream,
    limit: Duration,
    dialer: &Dialer,
) -> Result<Connector, OriginError> {
    let name = if upstream.sni.is_empty() {
        &url.host
    } else {
        &upstream.sni
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| OriginError::Misconfigured(format!("\"{name}\" is no name for TLS")))?;
    let inner = HttpsConnectorBuilder::new()
        .with_tls_config(tls(&upstream.ca_pem)?)
        .https_or_http()
        .with_server_name_resolver(FixedServerNameResolver::new(name))
        .enable_http1()
        .wrap_connector(dialer.connector(limit));
    Ok(Connector { inner, limit })
}

fn tls(ca_pem: &str) -> Result<ClientConfig, OriginError> {
    let wrong = |cause: String| OriginError::Misconfigured(format!("ca_pem: {cause}"));
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| OriginError::Misconfigured(e.to_string()))?;
    if ca_pem.is_empty() {
        return Ok(builder.with_webpki_roots().with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

pub(super) fn pooled(connector: Connector) -> Client<Connector, RequestBody> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .http1_max_headers(MAX_FIELDS)
        // The host is a field that was set on purpose.
        .set_host(false)
        .build(connector)
}

impl Service<Uri> for Connector {
    type Response = Tracked;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Tracked, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => Ok(Tracked {
                    inner: connected?,
                    used: Used::default(),
                }),
                Err(_) => Err(TooSlow.into()),
            }
        })
    }
}

/// Whether a connection has carried a response.
#[derive(Debug, Clone, Default)]
pub(super) struct Used(Arc<AtomicBool>);

impl Used {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that knows whether it was used.
#[derive(Debug)]
pub(super) struct Tracked {
    inner: MaybeHttpsStream<Dialed>,
    used: Used,
}

impl Connection for Tracked {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.used.clone())
    }
}

impl Read for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(ca_pem: &str, sni: &str) -> Result<Connector, OriginError> {
        let upstream = Upstream {
            url: "https://a".into(),
            ca_pem: ca_pem.into(),
            sni: sni.into(),
        };
        let url = UpstreamUrl::parse(&upstream.url).unwrap();
        connector(&url, &upstream, Duration::from_secs(1), &Dialer::Tcp)
    }

    #[test]
    fn certificates_that_are_none_are_refused_with_the_field_in_the_text() {
        for bad in [
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let error = made(bad, "").unwrap_err().to_string();
            assert!(error.contains("ca_pem"), "{error}");
        }
        assert!(made("", "other.example").is_ok());
    }
}
