//! Opens a listener, or says what to change.

use std::io;
use std::net::{SocketAddr, TcpListener};

use thiserror::Error;

/// A listener cannot be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// It would be reachable from other machines without authentication.
    #[error(
        "{flag}: {address} can be reached from other machines and nothing authenticates them; \
         allowed: an address of this machine such as 127.0.0.1:{port}, or --insecure if the network protects it",
        port = address.port()
    )]
    Public {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Another process has the port.
    #[error(
        "{flag}: {address} is in use by another process; choose another port, or 0 for any free one"
    )]
    InUse {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses.
    #[error("{flag}: cannot listen on {address}: {error}")]
    Other {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// Listens on `address`, which `flag` names. An address that other machines can
/// reach needs `insecure`, because callers are not authenticated.
///
/// The listener is non-blocking, ready for `tokio`.
///
/// # Errors
/// The address is public, in use or not this machine's.
pub fn bind(
    flag: &'static str,
    address: SocketAddr,
    insecure: bool,
) -> Result<TcpListener, ListenError> {
    if !insecure && !address.ip().to_canonical().is_loopback() {
        return Err(ListenError::Public { flag, address });
    }
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { flag, address },
        _ => ListenError::Other {
            flag,
            address,
            error,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port(host: &str) -> SocketAddr {
        format!("{host}:0").parse().unwrap()
    }

    #[test]
    fn a_public_address_needs_a_word() {
        for host in ["0.0.0.0", "[::]", "192.0.2.1", "[::ffff:192.0.2.1]"] {
            let refused = bind("--listen", any_port(host), false);
            assert!(matches!(refused, Err(ListenError::Public { .. })), "{host}");
        }
        assert!(bind("--listen", any_port("0.0.0.0"), true).is_ok());
        assert!(bind("--listen", any_port("127.0.0.1"), false).is_ok());
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = bind("--listen", any_port("127.0.0.1"), false).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("--listen", address, false).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        assert!(error.to_string().contains(&address.to_string()));
    }
}
