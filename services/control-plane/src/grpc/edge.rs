//! `EdgeService`: for edges only.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tidegate_domain::{Digest, FieldError, SiteName};
use tidegate_proto::v1::edge_service_server::EdgeService;
use tidegate_proto::{duration_to_wire, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::call::caller;
use super::context::Context;
use super::fault::Fault;
use super::{blob, fields, lookup, replay, share};
use crate::fleet::{Heartbeat, Matched, Said, SiteSet, Stats, Subscriber, read_told};

/// Sites that one edge may name.
const MAX_SITES: usize = 10_000;
/// Prepared releases that one heartbeat may name.
const MAX_PREPARED: usize = 10_000;
const MAX_ADDRESS_BYTES: usize = 256;
/// What an edge may say of one URL.
const MAX_EXPLAIN_BYTES: usize = 64 << 10;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Adapter for [`EdgeService`].
pub(crate) struct Edges(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl EdgeService for Edges {
    type SubscribeStream = Answers<v1::SubscribeResponse>;
    type ReadBlobStream = Answers<v1::ReadBlobResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.get_ref();
        let read = subscriber(request);
        let subscriber = read.map_err(|e| {
            let from = (request.edge_id.as_str(), request.instance_id.as_str());
            self.0.refused.of_edge("Subscribe", from, e)
        })?;
        let frames = self.0.fleet.subscribe(subscriber).map_err(Fault::from)?;
        let frames = ReceiverStream::new(frames);
        let answers = frames.map(|frame| Ok(v1::SubscribeResponse { frame: Some(frame) }));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        // Leases are counted from here.
        let received = self.0.clock.boot();
        let request = request.into_inner();
        let read = heartbeat(&request);
        let beat = read.map_err(|e| {
            let from = (request.edge_id.as_str(), request.instance_id.as_str());
            self.0.refused.of_edge("Heartbeat", from, e)
        })?;
        let applied = beat.applied;
        let answer = self.0.fleet.heartbeat(beat, received).await;
        let answer = answer.map_err(|e| Fault::of_heartbeat(e, applied))?;
        Ok(Response::new(v1::HeartbeatResponse {
            epoch: answer.epoch.0,
            head: answer.head.0,
            lease: answer.grant.map(|grant| duration_to_wire(grant.lease)),
            min_applied: answer.min_applied.0,
            heartbeat: Some(duration_to_wire(answer.heartbeat)),
        }))
    }

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<v1::ReadLogResponse>, Status> {
        let answer = replay::read_log(&self.0, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn read_blob(
        &self,
        request: Request<v1::ReadBlobRequest>,
    ) -> Result<Response<Self::ReadBlobStream>, Status> {
        let digest = fields::digest("digest", &request.get_ref().digest).map_err(Fault::from)?;
        let pieces = blob::stream(&self.0, digest).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    async fn lookup_entry(
        &self,
        request: Request<v1::LookupEntryRequest>,
    ) -> Result<Response<v1::LookupEntryResponse>, Status> {
        let answer = lookup::for_edge(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn store_entry(
        &self,
        request: Request<v1::StoreEntryRequest>,
    ) -> Result<Response<v1::StoreEntryResponse>, Status> {
        let caller = caller(&request);
        let answer = share::store(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn release_entry(
        &self,
        request: Request<v1::ReleaseEntryRequest>,
    ) -> Result<Response<v1::ReleaseEntryResponse>, Status> {
        share::release(&self.0, request.get_ref())?;
        Ok(Response::new(v1::ReleaseEntryResponse {}))
    }

    async fn answer(
        &self,
        request: Request<v1::AnswerRequest>,
    ) -> Result<Response<v1::AnswerResponse>, Status> {
        let request = request.into_inner();
        let instance = fields::instance_id(&request.instance_id).map_err(Fault::from)?;
        let said = match request.kind {
            Some(v1::answer_request::Kind::Preview(answer)) => Said::Preview(Matched {
                tags: answer.tags,
                responses: answer.responses,
            }),
            Some(v1::answer_request::Kind::Explain(answer)) => {
                let bytes = answer.encoded_len();
                if bytes > MAX_EXPLAIN_BYTES {
                    let found = format!("{bytes} bytes");
                    let error = FieldError::new("explain", found, "at most 64 KiB");
                    return Err(Fault::from(error).into());
                }
                Said::Explain(Box::new(answer))
            }
            None => {
                let error = FieldError::new("kind", "", "preview or explain");
                return Err(Fault::from(error).into());
            }
        };
        self.0
            .fleet
            .answer(&instance, request.query_id, said)
            .map_err(Fault::from)?;
        Ok(Response::new(v1::AnswerResponse {}))
    }
}

fn subscriber(request: &v1::SubscribeRequest) -> Result<Subscriber, FieldError> {
    fields::at_most_elements("sites", request.sites.len(), MAX_SITES)?;
    let sites = request.sites.iter().enumerate();
    let sites = sites
        .map(|(index, site)| SiteName::parse(site).map_err(|e| e.within(format!("sites[{index}]"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Subscriber {
        edge: fields::edge_id(&request.edge_id)?,
        instance: fields::instance_id(&request.instance_id)?,
        sites: SiteSet::of(sites),
        cursor: fields::optional_cursor("cursor", &request.cursor)?,
    })
}

fn heartbeat(request: &v1::HeartbeatRequest) -> Result<Heartbeat, FieldError> {
    fields::at_most_elements("prepared", request.prepared.len(), MAX_PREPARED)?;
    let prepared = request.prepared.iter().enumerate();
    let prepared = prepared
        .map(|(index, text)| fields::digest(&format!("prepared[{index}]"), text))
        .collect::<Result<BTreeSet<Digest>, _>>()?;
    let applied = fields::optional_cursor("cursor", &request.cursor)?;
    let stats = request.stats.clone().unwrap_or_default();
    let bytes = stats.address.len();
    fields::at_most(
        "stats.address",
        &stats.address,
        bytes,
        MAX_ADDRESS_BYTES,
        "bytes",
    )?;
    Ok(Heartbeat {
        edge: fields::edge_id(&request.edge_id)?,
        instance: fields::instance_id(&request.instance_id)?,
        told: read_told(&request.applied, applied.as_ref().map(|c| c.revision)),
        applied,
        leaving: request.leaving,
        stats: Stats {
            requests: stats.requests,
            hits: stats.hits,
            connections: stats.connections,
            cached_responses: stats.cached_responses,
            cached_bytes: stats.cached_bytes,
            tags: stats.tags,
            address: stats.address,
        },
        prepared,
    })
}
