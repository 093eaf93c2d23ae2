//! The connection to the control plane: one channel, the context of the trace on
//! every call, a deadline on every call, and a second try where that is safe.

use std::future::Future;
use std::time::Duration;

use tidegate_proto::v1;
use tidegate_proto::v1::admin_service_client::AdminServiceClient;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tidegate_proto::v1::fleet_service_client::FleetServiceClient;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tidegate_telemetry::grpc::Propagate;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::args::ControlUrl;
use crate::failure::{Failure, is_refused, is_transport};
use tidegate_net::Backoff;

/// Deadline of a call that waits for nothing but the disk.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
/// What a call that waits for edges may take beyond that wait.
const WAIT_MARGIN: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is silent for this long is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The largest message, in bytes: a configuration with 10,000 redirects fits.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Tries of a call that may be repeated.
const TRIES: u32 = 4;

/// A channel with the context of the trace on every call.
pub(crate) type Traced = InterceptedService<Channel, Propagate>;

/// The control plane as the commands see it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    address: String,
}

impl Client {
    /// The control plane at this address. It connects with the first call.
    #[must_use]
    pub fn at(control: &ControlUrl) -> Self {
        let channel = Endpoint::from(control.uri().clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|_| Endpoint::from(control.uri().clone()))
            .connect_lazy();
        Self::over(channel, control.to_string())
    }

    /// The control plane behind a channel; `address` is what errors call it.
    #[must_use]
    pub fn over(channel: Channel, address: String) -> Self {
        Self { channel, address }
    }

    /// What errors call the control plane.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn cache(&self) -> CacheServiceClient<Traced> {
        CacheServiceClient::with_interceptor(self.channel.clone(), Propagate)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn sites(&self) -> SiteServiceClient<Traced> {
        SiteServiceClient::with_interceptor(self.channel.clone(), Propagate)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Traced> {
        AdminServiceClient::with_interceptor(self.channel.clone(), Propagate)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Traced> {
        FleetServiceClient::with_interceptor(self.channel.clone(), Propagate)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Makes a call once. For calls that have an effect each time.
    pub(crate) async fn once<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Failure::from_status(&status, &self.address)),
            Err(_) => Err(Failure::deadline(&self.address, deadline.as_secs_f64())),
        }
    }

    /// Makes a call that may be made twice, and makes it again if the connection broke
    /// or the server asks for that, a few times, each within the deadline.
    pub(crate) async fn safe<Q: Clone, T, F>(
        &self,
        deadline: Duration,
        request: Q,
        call: impl Fn(Request<Q>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        // On the heap: a request with a whole site in it makes a large future.
        let call = || Box::pin(call(with_deadline(deadline, request.clone())));
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for _ in 1..TRIES {
            match tokio::time::timeout(deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if may_pass(&status) => {
                    tracing::info!(%status, "the call failed and is made again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Ok(Err(status)) => return Err(Failure::from_status(&status, &self.address)),
                Err(_) => return Err(Failure::deadline(&self.address, deadline.as_secs_f64())),
            }
        }
        self.once(deadline, call()).await
    }

    /// The newest position in the order.
    pub(crate) async fn head(&self) -> Result<v1::GetHeadResponse, Failure> {
        self.safe(DEADLINE, v1::GetHeadRequest {}, |request| async move {
            self.cache().get_head(request).await
        })
        .await
    }
}

/// Whether a failure may pass by itself: a connection that broke, or a server that
/// says "not now". One that cannot be reached at all is told about at once.
fn may_pass(status: &Status) -> bool {
    !is_refused(status) && (is_transport(status) || status.code() == Code::Unavailable)
}

/// A request that tells the server how long its caller waits.
pub(crate) fn with_deadline<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// Deadline of a call that may wait for edges this long.
pub(crate) fn deadline_for(wait: Option<Duration>) -> Duration {
    wait.map_or(DEADLINE, |limit| limit + WAIT_MARGIN)
}
