//! A control plane that does what a test tells it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tidegate_proto::v1::edge_service_server::{EdgeService, EdgeServiceServer};
use tidegate_proto::v1::subscribe_response::Frame;
use tidegate_proto::{duration_to_wire, v1};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

/// How often heartbeats come, so that a test need not wait for them.
const HEARTBEAT: Duration = Duration::from_millis(10);
/// A lease that the edge counts by a clock of the test's.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// What comes of a heartbeat.
pub(crate) type Reply = Result<v1::HeartbeatResponse, Status>;
type Answering = Box<dyn FnMut(&v1::HeartbeatRequest) -> Reply + Send>;

/// A lease under this history, whatever the edge says.
pub(crate) fn leased(epoch: u64, head: u64) -> v1::HeartbeatResponse {
    v1::HeartbeatResponse {
        epoch,
        head,
        lease: Some(duration_to_wire(LEASE)),
        min_applied: 0,
        heartbeat: Some(duration_to_wire(HEARTBEAT)),
    }
}

/// The same without a lease.
pub(crate) fn unleased(epoch: u64, head: u64) -> v1::HeartbeatResponse {
    v1::HeartbeatResponse {
        lease: None,
        ..leased(epoch, head)
    }
}

/// One stream that an edge has opened.
pub(crate) struct Subscribed {
    pub(crate) request: v1::SubscribeRequest,
    frames: mpsc::Sender<Result<v1::SubscribeResponse, Status>>,
}

impl Subscribed {
    pub(crate) async fn send(&self, frame: Frame) {
        let frame = v1::SubscribeResponse { frame: Some(frame) };
        // The edge may have left already: that is what some tests are about.
        let _ = self.frames.send(Ok(frame)).await;
    }

    /// Waits until the edge has left.
    pub(crate) async fn left(&self) {
        patiently("the edge leaves the stream", self.frames.closed()).await;
    }
}

struct Shared {
    answering: Mutex<Answering>,
    /// The next heartbeat is answered when this says so.
    gate: Mutex<Option<oneshot::Receiver<()>>>,
    /// Heartbeats that were answered.
    beats: watch::Sender<Vec<v1::HeartbeatRequest>>,
    streams: mpsc::Sender<Subscribed>,
    answers: mpsc::Sender<v1::AnswerRequest>,
}

/// See the module.
pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    streams: mpsc::Receiver<Subscribed>,
    answers: mpsc::Receiver<v1::AnswerRequest>,
}

impl Control {
    /// Grants no lease until it is told to.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (streams_in, streams) = mpsc::channel(16);
        let (answers_in, answers) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            answering: Mutex::new(Box::new(|_| Ok(unleased(1, 0)))),
            gate: Mutex::default(),
            beats: watch::Sender::default(),
            streams: streams_in,
            answers: answers_in,
        });
        let service = EdgeServiceServer::new(Service(shared.clone()));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            address,
            shared,
            streams,
            answers,
        }
    }

    /// The next stream that the edge opens.
    pub(crate) async fn stream(&mut self) -> Subscribed {
        let stream = patiently("the edge subscribes", self.streams.recv()).await;
        stream.unwrap()
    }

    /// The next answer to a question.
    pub(crate) async fn answer(&mut self) -> v1::AnswerRequest {
        let answer = patiently("the edge answers", self.answers.recv()).await;
        answer.unwrap()
    }

    /// How heartbeats are answered from now on.
    pub(crate) fn answers_heartbeats(
        &self,
        answering: impl FnMut(&v1::HeartbeatRequest) -> Reply + Send + 'static,
    ) {
        *lock(&self.shared.answering) = Box::new(answering);
    }

    /// Holds the answer to the next heartbeat back until the sender is used or dropped.
    pub(crate) fn hold_heartbeat(&self) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        *lock(&self.shared.gate) = Some(gate);
        open
    }

    /// Waits until the edge has come to a gate that holds it back.
    pub(crate) async fn is_held(&self) {
        eventually("a heartbeat is held back", || {
            lock(&self.shared.gate).is_none()
        })
        .await;
    }

    /// Waits until so many heartbeats more have been answered: what they granted is in
    /// force once the one after it has been sent.
    pub(crate) async fn beats(&self, more: usize) {
        let mut beats = self.shared.beats.subscribe();
        let wanted = beats.borrow().len() + more + 1;
        let came = beats.wait_for(|beats| beats.len() >= wanted);
        let _ = patiently("heartbeats come", came).await.unwrap();
    }

    /// All heartbeats that were answered.
    pub(crate) fn beaten(&self) -> Vec<v1::HeartbeatRequest> {
        self.shared.beats.borrow().clone()
    }

    /// Waits until a heartbeat was answered that looks so.
    pub(crate) async fn beat(
        &self,
        what: &str,
        mut is_it: impl FnMut(&v1::HeartbeatRequest) -> bool,
    ) -> v1::HeartbeatRequest {
        let mut beats = self.shared.beats.subscribe();
        let came = beats.wait_for(|beats| beats.iter().any(&mut is_it));
        let beats = patiently(what, came).await.unwrap().clone();
        beats.into_iter().find(is_it).unwrap()
    }
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl EdgeService for Service {
    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;
    type ReadBlobStream = Pin<Box<dyn Stream<Item = Result<v1::ReadBlobResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (frames, stream) = mpsc::channel(16);
        let subscribed = Subscribed {
            request: request.into_inner(),
            frames,
        };
        let _ = self.0.streams.send(subscribed).await;
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let answer = (lock(&self.0.answering))(&request);
        let gate = lock(&self.0.gate).take();
        if let Some(gate) = gate {
            let _ = gate.await;
        }
        if answer.is_ok() {
            self.0.beats.send_modify(|beats| beats.push(request));
        }
        answer.map(Response::new)
    }

    async fn answer(
        &self,
        request: Request<v1::AnswerRequest>,
    ) -> Result<Response<v1::AnswerResponse>, Status> {
        let _ = self.0.answers.send(request.into_inner()).await;
        Ok(Response::new(v1::AnswerResponse {}))
    }

    async fn read_log(
        &self,
        _: Request<v1::ReadLogRequest>,
    ) -> Result<Response<v1::ReadLogResponse>, Status> {
        Err(Status::unimplemented("ReadLog"))
    }

    async fn read_blob(
        &self,
        _: Request<v1::ReadBlobRequest>,
    ) -> Result<Response<Self::ReadBlobStream>, Status> {
        Err(Status::not_found("no blob"))
    }

    async fn lookup_entry(
        &self,
        _: Request<v1::LookupEntryRequest>,
    ) -> Result<Response<v1::LookupEntryResponse>, Status> {
        Err(Status::unimplemented("LookupEntry"))
    }

    async fn store_entry(
        &self,
        _: Request<v1::StoreEntryRequest>,
    ) -> Result<Response<v1::StoreEntryResponse>, Status> {
        Err(Status::unimplemented("StoreEntry"))
    }

    async fn release_entry(
        &self,
        _: Request<v1::ReleaseEntryRequest>,
    ) -> Result<Response<v1::ReleaseEntryResponse>, Status> {
        Err(Status::unimplemented("ReleaseEntry"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    let in_time = tokio::time::timeout(PATIENCE, future).await;
    in_time.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until something holds that nothing announces.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    patiently(what, look).await;
}
