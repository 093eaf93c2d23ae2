//! A control plane that does what a test tells it: it holds blobs, breaks streams,
//! and answers the calls that the tests make. The rest is UNIMPLEMENTED.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream::{self, Stream, StreamExt as _};
use tidegate_domain::Digest;
use tidegate_proto::v1;
use tidegate_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use tidegate_proto::v1::cache_service_server::{CacheService, CacheServiceServer};
use tidegate_proto::v1::fleet_service_server::{FleetService, FleetServiceServer};
use tidegate_proto::v1::site_service_server::{SiteService, SiteServiceServer};
use tidegate_proto::v1::upload_blobs_request::Part;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// What the fake has seen, and what it will do.
#[derive(Default)]
pub(crate) struct Script {
    /// Blobs by digest.
    pub(crate) held: HashMap<String, Vec<u8>>,
    /// Each stream of UploadBlobs breaks after this many blobs; the last entry holds
    /// for all later ones. Empty: none breaks.
    pub(crate) breaks_after: Vec<usize>,
    /// Blobs that each stream of UploadBlobs brought.
    pub(crate) streams: Vec<usize>,
    /// Answers of ActivateRelease.
    pub(crate) activation: v1::ActivateReleaseResponse,
    /// Requests of Invalidate.
    pub(crate) invalidations: Vec<v1::InvalidateRequest>,
    /// Answers of Invalidate, in turn.
    pub(crate) answers: VecDeque<Result<v1::InvalidateResponse, Status>>,
    /// What each call of WatchEvents streams. A stream that ends with `None` stays open.
    pub(crate) watches: VecDeque<Vec<Result<v1::WatchEventsResponse, Status>>>,
    /// The newest position, as GetHead tells it.
    pub(crate) head: String,
    /// Schedules by name.
    pub(crate) schedules: BTreeMap<String, v1::Schedule>,
    /// The answer of PreviewInvalidation.
    pub(crate) preview: v1::PreviewInvalidationResponse,
    /// What ListInvalidations lists, newest first, and how many pages were asked for.
    pub(crate) audit: Vec<v1::InvalidationRecord>,
    pub(crate) pages: usize,
    /// Requests of ExplainUrl, and the answer to each.
    pub(crate) questions: Vec<v1::ExplainUrlRequest>,
    pub(crate) explanation: v1::ExplainUrlResponse,
    /// Pieces of a backup.
    pub(crate) backup: Vec<Result<v1::BackupResponse, Status>>,
    /// Cursors that WatchEvents was called with.
    pub(crate) cursors: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// Serves on a port of its own for as long as the runtime lives.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = tonic::transport::Server::builder()
            .add_service(SiteServiceServer::new(self.clone()))
            .add_service(CacheServiceServer::new(self.clone()))
            .add_service(FleetServiceServer::new(self.clone()))
            .add_service(AdminServiceServer::new(self.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Takes blobs until the stream ends or the script says so.
    async fn take(
        &self,
        mut stream: Streaming<v1::UploadBlobsRequest>,
        breaks_after: Option<usize>,
    ) -> Result<v1::UploadBlobsResponse, Status> {
        let mut answer = v1::UploadBlobsResponse::default();
        let mut open: Option<(v1::BlobStart, Vec<u8>)> = None;
        while let Some(message) = stream.message().await? {
            match message.part {
                Some(Part::Start(start)) => {
                    assert!(open.is_none(), "a blob began inside another");
                    open = Some((start, Vec::new()));
                }
                Some(Part::Chunk(chunk)) => {
                    assert!(chunk.len() <= 1 << 20, "a piece of {}", chunk.len());
                    open.as_mut().unwrap().1.extend_from_slice(&chunk);
                }
                None => return Err(Status::invalid_argument("no part")),
            }
            let whole = open.take_if(|(start, bytes)| bytes.len() as u64 == start.size);
            if let Some((start, bytes)) = whole {
                if breaks_after == Some(answer.blobs as usize) {
                    return Err(Status::unavailable("the stream breaks here"));
                }
                assert_eq!(Digest::of(&bytes).to_string(), start.digest);
                answer.blobs += 1;
                answer.bytes += start.size;
                let mut script = self.script();
                *script.streams.last_mut().unwrap() += 1;
                let before = script.held.insert(start.digest, bytes);
                assert!(before.is_none(), "a blob that is held was sent again");
            }
        }
        match open {
            Some(_) => Err(Status::invalid_argument("a blob was cut short")),
            None => Ok(answer),
        }
    }
}

macro_rules! service {
    ($service:path { $($call:ident: $request:ident => $response:ident),* $(,)? } $($rest:tt)*) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $(async fn $call(
                &self,
                _: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented(stringify!($call)))
            })*
            $($rest)*
        }
    };
}

service! {
    SiteService {
        put_site: PutSiteRequest => PutSiteResponse,
        get_site: GetSiteRequest => GetSiteResponse,
        list_sites: ListSitesRequest => ListSitesResponse,
        delete_site: DeleteSiteRequest => DeleteSiteResponse,
        list_releases: ListReleasesRequest => ListReleasesResponse,
        prune_releases: PruneReleasesRequest => PruneReleasesResponse,
    }

    async fn missing_blobs(
        &self,
        request: Request<v1::MissingBlobsRequest>,
    ) -> Result<Response<v1::MissingBlobsResponse>, Status> {
        let script = self.script();
        let mut missing = request.into_inner().digests;
        missing.retain(|it| !script.held.contains_key(it));
        Ok(Response::new(v1::MissingBlobsResponse { missing }))
    }

    async fn upload_blobs(
        &self,
        request: Request<Streaming<v1::UploadBlobsRequest>>,
    ) -> Result<Response<v1::UploadBlobsResponse>, Status> {
        let breaks_after = {
            let mut script = self.script();
            let stream = script.streams.len();
            script.streams.push(0);
            script.breaks_after.get(stream).copied()
        };
        self.take(request.into_inner(), breaks_after).await.map(Response::new)
    }

    async fn publish_release(
        &self,
        request: Request<v1::PublishReleaseRequest>,
    ) -> Result<Response<v1::PublishReleaseResponse>, Status> {
        let request = request.into_inner();
        if !self.script().held.contains_key(&request.manifest_digest) {
            return Err(Status::failed_precondition("the manifest is missing"));
        }
        let release = v1::Release {
            id: request.manifest_digest,
            label: request.label,
            ..v1::Release::default()
        };
        Ok(Response::new(v1::PublishReleaseResponse {
            release: Some(release),
            created: true,
        }))
    }

    async fn activate_release(
        &self,
        _: Request<v1::ActivateReleaseRequest>,
    ) -> Result<Response<v1::ActivateReleaseResponse>, Status> {
        Ok(Response::new(self.script().activation.clone()))
    }
}

service! {
    CacheService {
        preload_hint: PreloadHintRequest => PreloadHintResponse,
        publish_event: PublishEventRequest => PublishEventResponse,
        put_entry: PutEntryRequest => PutEntryResponse,
        get_entry: GetEntryRequest => GetEntryResponse,
        list_entries: ListEntriesRequest => ListEntriesResponse,
        delete_entry: DeleteEntryRequest => DeleteEntryResponse,
    }

    async fn put_schedule(
        &self,
        request: Request<v1::PutScheduleRequest>,
    ) -> Result<Response<v1::PutScheduleResponse>, Status> {
        let schedule = request.into_inner().schedule.unwrap_or_default();
        self.script().schedules.insert(schedule.name.clone(), schedule);
        Ok(Response::new(v1::PutScheduleResponse { revision: 7 }))
    }

    async fn list_schedules(
        &self,
        _: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let schedules = self.script().schedules.values().cloned().map(|it| v1::ScheduleRecord {
            schedule: Some(it),
            ..v1::ScheduleRecord::default()
        }).collect();
        Ok(Response::new(v1::ListSchedulesResponse {
            schedules,
            next_page_token: String::new(),
        }))
    }

    async fn delete_schedule(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let name = request.into_inner().name;
        match self.script().schedules.remove(&name) {
            Some(_) => Ok(Response::new(v1::DeleteScheduleResponse { revision: 8 })),
            None => Err(Status::not_found("name: the site has no such schedule")),
        }
    }

    async fn preview_invalidation(
        &self,
        _: Request<v1::PreviewInvalidationRequest>,
    ) -> Result<Response<v1::PreviewInvalidationResponse>, Status> {
        Ok(Response::new(self.script().preview.clone()))
    }

    async fn list_invalidations(
        &self,
        request: Request<v1::ListInvalidationsRequest>,
    ) -> Result<Response<v1::ListInvalidationsResponse>, Status> {
        // Two a page, so that there are pages.
        let mut script = self.script();
        script.pages += 1;
        let from: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let to = script.audit.len().min(from + 2);
        Ok(Response::new(v1::ListInvalidationsResponse {
            invalidations: script.audit[from..to].to_vec(),
            next_page_token: if to < script.audit.len() { to.to_string() } else { String::new() },
        }))
    }

    async fn get_head(
        &self,
        _: Request<v1::GetHeadRequest>,
    ) -> Result<Response<v1::GetHeadResponse>, Status> {
        Ok(Response::new(v1::GetHeadResponse {
            revision: 0,
            cursor: self.script().head.clone(),
        }))
    }

    async fn invalidate(
        &self,
        request: Request<v1::InvalidateRequest>,
    ) -> Result<Response<v1::InvalidateResponse>, Status> {
        let mut script = self.script();
        script.invalidations.push(request.into_inner());
        let answer = script.answers.pop_front();
        answer.unwrap_or_else(|| Err(Status::internal("no answer left"))).map(Response::new)
    }
}

type Watching = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

service! {
    FleetService {
        list_edges: ListEdgesRequest => ListEdgesResponse,
    }

    async fn explain_url(
        &self,
        request: Request<v1::ExplainUrlRequest>,
    ) -> Result<Response<v1::ExplainUrlResponse>, Status> {
        let mut script = self.script();
        script.questions.push(request.into_inner());
        Ok(Response::new(script.explanation.clone()))
    }

    type WatchEventsStream = Watching;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Watching>, Status> {
        let mut script = self.script();
        script.cursors.push(request.into_inner().cursor);
        let Some(messages) = script.watches.pop_front() else {
            return Err(Status::unavailable("nothing to watch"));
        };
        let ends = messages.last().is_some_and(Result::is_err);
        let messages = stream::iter(messages);
        Ok(Response::new(match ends {
            true => messages.boxed(),
            false => messages.chain(stream::pending()).boxed(),
        }))
    }
}

type BackingUp = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

service! {
    AdminService {
        set_log_level: SetLogLevelRequest => SetLogLevelResponse,
        create_token: CreateTokenRequest => CreateTokenResponse,
        list_tokens: ListTokensRequest => ListTokensResponse,
        revoke_token: RevokeTokenRequest => RevokeTokenResponse,
    }

    type BackupStream = BackingUp;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<BackingUp>, Status> {
        let pieces = std::mem::take(&mut self.script().backup);
        Ok(Response::new(stream::iter(pieces).boxed()))
    }
}
