//! New connections to one upstream: its addresses tried side by side, TLS, and the
//! version of HTTP that comes of it, all within one time.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tidegate_domain::site::{Protocol, Scheme, Upstream, UpstreamUrl};
use tidegate_net::{Dialer, Duplex};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::addresses::{Addresses, in_turns};
use super::error::OriginError;

/// For how long one address is tried alone before the next is tried beside it (RFC 8305,
/// section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses that are tried for one connection.
const MAX_TRIES: usize = 8;

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes connections to one upstream.
#[derive(Debug)]
pub(super) struct Connector {
    url: UpstreamUrl,
    protocol: Protocol,
    dialer: Dialer,
    pub(super) addresses: Arc<Addresses>,
    tls: Option<Tls>,
}

/// What the connection will be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Requests.
    Requests,
    /// A switch to another protocol, which only HTTP/1.1 has.
    Upgrade,
}

/// A new connection.
pub(super) struct Established {
    pub(super) io: Box<dyn Duplex>,
    pub(super) is_http2: bool,
    /// Where it leads, if that is known.
    pub(super) address: Option<IpAddr>,
}

/// No connection.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct NoConnection(String);

impl From<io::Error> for NoConnection {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<hyper::Error> for NoConnection {
    fn from(error: hyper::Error) -> Self {
        Self(error.to_string())
    }
}

struct Tls {
    name: ServerName<'static>,
    requests: TlsConnector,
    upgrade: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.name).finish()
    }
}

impl Connector {
    /// # Errors
    /// A certificate or a name for TLS cannot be used.
    pub(super) fn new(
        url: UpstreamUrl,
        upstream: &Upstream,
        dialer: Dialer,
        addresses: Addresses,
    ) -> Result<Self, OriginError> {
        let tls = Tls::new(&url, upstream)?;
        Ok(Self {
            tls: (url.scheme == Scheme::Https).then_some(tls),
            url,
            protocol: upstream.protocol,
            dialer,
            addresses: Arc::new(addresses),
        })
    }

    /// Whether connections may turn out to be HTTP/2.
    pub(super) fn may_be_http2(&self) -> bool {
        match self.protocol {
            Protocol::Auto => self.tls.is_some(),
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        }
    }

    /// A new connection. Whoever waits for it says for how long.
    pub(super) async fn connect(&self, usage: Use) -> Result<Established, NoConnection> {
        let (io, address) = match &self.dialer {
            Dialer::Tcp => {
                let (stream, address) = self.tcp().await?;
                stream.set_nodelay(true)?;
                (Box::new(stream) as Box<dyn Duplex>, Some(address))
            }
            Dialer::Other(dial) => (dial.dial(&self.url.host, self.url.port).await?, None),
        };
        let Some(tls) = &self.tls else {
            return Ok(Established {
                io,
                is_http2: self.protocol == Protocol::Http2 && usage == Use::Requests,
                address,
            });
        };
        let connector = match usage {
            Use::Requests => &tls.requests,
            Use::Upgrade => &tls.upgrade,
        };
        let stream = connector.connect(tls.name.clone(), io).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        if !is_http2 && self.protocol == Protocol::Http2 && usage == Use::Requests {
            let refused = "it does not speak HTTP/2 (ALPN), as protocol demands";
            return Err(NoConnection(refused.into()));
        }
        Ok(Established {
            io: Box::new(stream),
            is_http2,
            address,
        })
    }

    /// If none of the known addresses takes a connection the name is looked up again, and
    /// what is new is tried.
    async fn tcp(&self) -> io::Result<(TcpStream, IpAddr)> {
        let known = self.addresses.get().await?;
        let failed = match race(&known, self.url.port).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        // If that fails too, the first failure says more.
        let _ = self.addresses.look_up().await;
        let mut list = self.addresses.list();
        list.retain(|address| !known.contains(address));
        match list.is_empty() {
            true => Err(failed),
            false => race(&list, self.url.port).await,
        }
    }
}

/// Tries one address after the other, each with a head start, and takes the first that
/// answers.
async fn race(list: &[IpAddr], port: u16) -> io::Result<(TcpStream, IpAddr)> {
    let order = in_turns(list);
    let mut left = order.into_iter().take(MAX_TRIES);
    let mut attempts = FuturesUnordered::new();
    let mut failed = io::Error::other("it has no address");
    loop {
        if let Some(address) = left.next() {
            let connecting = TcpStream::connect((address, port));
            attempts.push(async move { (connecting.await, address) });
        }
        tokio::select! {
            ended = attempts.next() => match ended {
                Some((Ok(stream), address)) => return Ok((stream, address)),
                Some((Err(error), _)) => failed = error,
                None => return Err(failed),
            },
            () = tokio::time::sleep(HEAD_START), if left.len() > 0 => {}
        }
    }
}

impl Tls {
    fn new(url: &UpstreamUrl, upstream: &Upstream) -> Result<Self, OriginError> {
        let name = match upstream.sni.as_str() {
            "" => &url.host,
            sni => sni,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| OriginError::Misconfigured(format!("\"{name}\" is no name for TLS")))?;
        let config = config(&upstream.ca_pem)?;
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            name,
            requests: match upstream.protocol {
                Protocol::Auto => speaking(&[H2, HTTP_1_1]),
                Protocol::Http1 => speaking(&[HTTP_1_1]),
                Protocol::Http2 => speaking(&[H2]),
            },
            upgrade: speaking(&[HTTP_1_1]),
        })
    }
}

fn config(ca_pem: &str) -> Result<ClientConfig, OriginError> {
    let wrong = |cause: String| OriginError::Misconfigured(format!("ca_pem: {cause}"));
    let mut roots = RootCertStore::empty();
    if ca_pem.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| OriginError::Misconfigured(e.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(ca_pem: &str, sni: &str) -> Result<Tls, OriginError> {
        let upstream = Upstream {
            url: "https://a".into(),
            ca_pem: ca_pem.into(),
            sni: sni.into(),
            protocol: Protocol::Auto,
        };
        Tls::new(&UpstreamUrl::parse(&upstream.url).unwrap(), &upstream)
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
