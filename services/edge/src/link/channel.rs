//! Connections to the control plane. Heartbeats have one of their own, so that no
//! snapshot or blob can delay them.

use std::time::Duration;

use thiserror::Error;
use tidegate_domain::FieldError;
use tidegate_net::Dialer;
use tidegate_proto::v1::edge_service_client::EdgeServiceClient;
use tidegate_telemetry::grpc::Propagate;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// The largest message that is read. A site's configuration is the largest there is.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the control plane.
pub type Client = EdgeServiceClient<InterceptedService<Channel, Propagate>>;

/// Clients of the control plane, each with a connection of its own.
#[derive(Debug, Clone)]
pub struct Channels {
    /// For `Subscribe` and `Answer`.
    pub order: Client,
    /// For `Heartbeat` only.
    pub heartbeat: Client,
    /// For everything else.
    pub content: Client,
}

/// The address of the control plane cannot be used.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ChannelError(#[from] FieldError);

impl Channels {
    /// Prepares connections; they are made when first used, and again when lost.
    ///
    /// # Errors
    /// `address` is no `http://` URL.
    pub fn new(address: &str, dialer: &Dialer) -> Result<Self, ChannelError> {
        Ok(Self {
            order: client(address, dialer)?,
            heartbeat: client(address, dialer)?,
            content: client(address, dialer)?,
        })
    }
}

fn client(address: &str, dialer: &Dialer) -> Result<Client, ChannelError> {
    let wrong = |_| FieldError::new("control", address, "a URL such as http://127.0.0.1:7420");
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(wrong)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector_lazy(dialer.connector(CONNECT_TIMEOUT));
    Ok(EdgeServiceClient::with_interceptor(channel, Propagate)
        .max_decoding_message_size(MAX_MESSAGE_BYTES))
}
