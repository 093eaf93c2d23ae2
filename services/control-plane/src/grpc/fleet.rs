//! `FleetService`: the fleet, for people.

use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::Stream;
use tidegate_domain::{EdgeId, FieldError, InstanceId};
use tidegate_proto::v1::fleet_service_server::FleetService;
use tidegate_proto::{duration_to_wire, time_to_wire, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::fault::Fault;
use super::{explain, replay};
use crate::fleet::EdgeView;
use crate::state::PageRequest;

/// Adapter for [`FleetService`].
pub(crate) struct FleetView(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl FleetService for FleetView {
    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn list_edges(
        &self,
        request: Request<v1::ListEdgesRequest>,
    ) -> Result<Response<v1::ListEdgesResponse>, Status> {
        let request = request.into_inner();
        let page = PageRequest::parse(request.page_size, &request.page_token);
        let PageRequest { size, token: last } = page.map_err(Fault::from)?;
        let after = position(&last).map_err(Fault::from)?;
        let head = self.0.log.head().0;
        let mut edges = self.0.fleet.edges();
        if let Some((edge, instance)) = after {
            edges.retain(|e| (&e.edge, &e.instance) > (&edge, &instance));
        }
        let more = edges.len() > size;
        edges.truncate(size);
        let next_page_token = match edges.last() {
            Some(last) if more => token(last),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListEdgesResponse {
            edges: edges.into_iter().map(|edge| to_wire(edge, head)).collect(),
            next_page_token,
            head,
        }))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let events = replay::watch(&self.0, request.get_ref())?;
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn explain_url(
        &self,
        request: Request<v1::ExplainUrlRequest>,
    ) -> Result<Response<v1::ExplainUrlResponse>, Status> {
        let answer = explain::explain(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

fn to_wire(edge: EdgeView, head: u64) -> v1::Edge {
    v1::Edge {
        edge_id: edge.edge.to_string(),
        instance_id: edge.instance.to_string(),
        applied: edge.applied.0,
        lag: head.saturating_sub(edge.applied.0),
        connected: edge.connected,
        lease_left: edge.lease_left.map(duration_to_wire),
        last_heartbeat: edge.last_heartbeat.map(time_to_wire),
        stats: Some(v1::EdgeStats {
            requests: edge.stats.requests,
            hits: edge.stats.hits,
            connections: edge.stats.connections,
            cached_responses: edge.stats.cached_responses,
            cached_bytes: edge.stats.cached_bytes,
            tags: edge.stats.tags,
            address: edge.stats.address,
        }),
    }
}

/// The last edge of a page.
fn token(last: &EdgeView) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", last.edge, last.instance))
}

fn position(token: &str) -> Result<Option<(EdgeId, InstanceId)>, FieldError> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (edge, instance) = text.split_once(' ')?;
        Some((EdgeId::parse(edge).ok()?, InstanceId::parse(instance).ok()?))
    };
    let position = read().ok_or_else(|| {
        FieldError::new(
            "page_token",
            token,
            "next_page_token of the page before, unchanged",
        )
    })?;
    Ok(Some(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nonsense_is_refused() {
        let (edge, instance) = (EdgeId::parse("e").unwrap(), InstanceId::parse("i").unwrap());
        let view = EdgeView {
            edge: edge.clone(),
            instance: instance.clone(),
            applied: tidegate_domain::Revision::ZERO,
            connected: false,
            lease_left: None,
            last_heartbeat: None,
            stats: crate::fleet::Stats::default(),
        };
        assert_eq!(position(&token(&view)), Ok(Some((edge, instance))));
        assert_eq!(position(""), Ok(None));
        for bad in ["x", "!!", &URL_SAFE_NO_PAD.encode("A B")] {
            assert_eq!(position(bad).unwrap_err().field, "page_token");
        }
    }
}
