//! Follows the order.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_domain::{
    Cursor, CursorError, Digest, EdgeId, Epoch, FieldError, InstanceId, Revision, SiteFilter,
    SiteName, TagPattern,
};
use tidegate_net::Backoff;
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tokio_util::sync::CancellationToken;

use super::channel::Client;
use super::{ActiveRelease, Change, Event, Follower, SnapshotSite};
use crate::standing::Standing;

/// A stream that held this long was a good one: the next attempt is not delayed.
const STABLE: Duration = Duration::from_secs(30);

/// Follows the order, again and again from where it was.
#[derive(Debug)]
pub struct Subscriber<F> {
    edge: EdgeId,
    instance: InstanceId,
    sites: Vec<SiteName>,
    client: Client,
    standing: Arc<Standing>,
    follower: Arc<F>,
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum StreamError {
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Box<tonic::Status>),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("an event is not understood; beginning anew from a snapshot")]
    NotUnderstood,
    #[error("a frame breaks the protocol: {0}")]
    Protocol(&'static str),
    #[error("a frame holds what is not allowed: {0}")]
    Field(#[from] FieldError),
    #[error("a frame holds no cursor")]
    Cursor(#[from] CursorError),
}

/// What is known of the stream so far.
struct Stream {
    epoch: Epoch,
    /// The sites of a snapshot that has begun, and why it was sent.
    snapshot: Option<(Vec<SnapshotSite>, v1::ResetReason)>,
}

impl<F: Follower> Subscriber<F> {
    /// A subscription to `sites`, or to all if there are none.
    pub fn new(
        (edge, instance): (EdgeId, InstanceId),
        sites: Vec<SiteName>,
        client: Client,
        standing: Arc<Standing>,
        follower: Arc<F>,
    ) -> Self {
        Self {
            edge,
            instance,
            sites,
            client,
            standing,
            follower,
        }
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let began = tokio::time::Instant::now();
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                end = self.follow() => match end {
                    Ok(wait) => {
                        tracing::info!(?wait, "the control plane asks to reconnect");
                        wait
                    }
                    Err(error) => {
                        if began.elapsed() >= STABLE {
                            backoff.reset();
                        }
                        let wait = backoff.next_wait();
                        tracing::warn!(%error, ?wait, "lost the control plane");
                        wait
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Follows one stream to its end; the wait that a go-away asks for.
    async fn follow(&mut self) -> Result<Duration, StreamError> {
        let cursor = self.standing.position();
        let request = v1::SubscribeRequest {
            edge_id: self.edge.to_string(),
            instance_id: self.instance.to_string(),
            sites: self.sites.iter().map(ToString::to_string).collect(),
            cursor: cursor.map(|c| c.to_string()).unwrap_or_default(),
        };
        let mut frames = self
            .client
            .subscribe(request)
            .await
            .map_err(Box::new)?
            .into_inner();
        let mut stream: Option<Stream> = None;
        loop {
            let frame = frames
                .message()
                .await
                .map_err(Box::new)?
                .ok_or(StreamError::Closed)?
                .frame
                .ok_or(StreamError::Protocol("an unknown kind of frame"))?;
            match (frame, &mut stream) {
                (Frame::Hello(hello), None) => stream = Some(self.begin(&hello)?),
                (Frame::GoAway(go_away), _) => {
                    let wait = go_away.reconnect_after.as_ref();
                    return Ok(tidegate_proto::duration_from_wire(
                        "reconnect_after",
                        wait,
                        Duration::ZERO,
                    )?
                    .min(Duration::from_secs(60)));
                }
                (_, None) => return Err(StreamError::Protocol("the first frame is no hello")),
                (Frame::Hello(_), Some(_)) => return Err(StreamError::Protocol("a second hello")),
                (Frame::SiteSnapshot(site), Some(stream)) => {
                    let (sites, _) = stream
                        .snapshot
                        .as_mut()
                        .ok_or(StreamError::Protocol("a snapshot that nobody announced"))?;
                    sites.push(snapshot_site(site)?);
                }
                (Frame::SnapshotEnd(end), Some(stream)) => self.adopt(&end, stream)?,
                (Frame::Batch(batch), Some(stream)) => self.apply(&batch, stream)?,
                (Frame::Query(query), Some(_)) => self.answer(query),
            }
        }
    }

    fn begin(&self, hello: &v1::Hello) -> Result<Stream, StreamError> {
        let epoch = Epoch(hello.epoch);
        match hello.mode() {
            v1::SubscribeMode::Resume => {
                let resumes = self.standing.position().is_some_and(|c| c.epoch == epoch);
                if !resumes {
                    return Err(StreamError::Protocol("a resume of another history"));
                }
                tracing::info!(head = hello.head, "resumed");
                Ok(Stream {
                    epoch,
                    snapshot: None,
                })
            }
            v1::SubscribeMode::Reset => {
                tracing::info!(
                    head = hello.head,
                    reason = hello.reason().as_str_name(),
                    "reset"
                );
                // First everything held needs revalidation; the cursor is adopted
                // when the snapshot is whole.
                self.standing.raise_era();
                Ok(Stream {
                    epoch,
                    snapshot: Some((Vec::new(), hello.reason())),
                })
            }
            v1::SubscribeMode::Unspecified => Err(StreamError::Protocol("a hello without a mode")),
        }
    }

    fn adopt(&self, end: &v1::SnapshotEnd, stream: &mut Stream) -> Result<(), StreamError> {
        let (sites, reason) = stream.snapshot.take().ok_or(StreamError::Protocol(
            "the end of a snapshot that never began",
        ))?;
        let cursor: Cursor = end.cursor.parse()?;
        if cursor.epoch != stream.epoch || cursor.revision != Revision(end.revision) {
            return Err(StreamError::Protocol("a snapshot of another history"));
        }
        self.follower.adopt(sites, cursor);
        self.standing.begin(cursor);
        self.follower.announce_reset(cursor, reason);
        Ok(())
    }

    fn apply(&self, batch: &v1::Batch, stream: &Stream) -> Result<(), StreamError> {
        let cursor: Cursor = batch.cursor.parse()?;
        let applied = self.standing.position().map(|c| c.revision);
        if stream.snapshot.is_some() || applied != Some(Revision(batch.from_exclusive)) {
            return Err(StreamError::Protocol(
                "a batch that does not follow what was applied",
            ));
        }
        if cursor.epoch != stream.epoch || cursor.revision != Revision(batch.to_inclusive) {
            return Err(StreamError::Protocol("a batch of another history"));
        }
        let events: Vec<_> = batch
            .events
            .iter()
            .map(|bytes| Event::decode(bytes, (cursor.revision, cursor.term)))
            .collect();
        let at = |event: &Event| Cursor {
            epoch: stream.epoch,
            term: event.term,
            revision: event.revision,
            filter: SiteFilter::ALL,
        };
        for event in &events {
            self.follower.apply(event, at(event));
        }
        self.standing.advance(cursor);
        for event in &events {
            self.follower.announce(event, at(event));
        }
        self.follower.settle(cursor);
        if events
            .iter()
            .any(|e| matches!(e.change, Change::NotUnderstood))
        {
            // It may have been about a release or a configuration: only a snapshot shows
            // what holds now.
            self.standing.raise_era();
            return Err(StreamError::NotUnderstood);
        }
        Ok(())
    }

    /// Answers in the background: the count may take a while, the order must not.
    fn answer(&self, query: v1::Query) {
        let follower = self.follower.clone();
        let instance_id = self.instance.to_string();
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let Some(v1::query::Kind::Preview(preview)) = query.kind else {
                return;
            };
            let counted = tokio::task::spawn_blocking(move || {
                let patterns: Vec<_> = preview
                    .patterns
                    .iter()
                    .filter_map(|p| TagPattern::parse(p).ok())
                    .collect();
                follower.preview(&preview.site, &patterns)
            });
            let Ok((tags, responses)) = counted.await else {
                return;
            };
            let answer = v1::AnswerRequest {
                instance_id,
                query_id: query.query_id,
                kind: Some(v1::answer_request::Kind::Preview(v1::PreviewAnswer {
                    tags,
                    responses,
                })),
            };
            if let Err(status) = client.answer(answer).await {
                tracing::debug!(message = status.message(), "an answer came too late");
            }
        });
    }
}

fn snapshot_site(wire: v1::SiteSnapshot) -> Result<SnapshotSite, StreamError> {
    let site = wire.site.unwrap_or_default();
    let prepared = wire
        .prepared
        .iter()
        .map(|digest| digest.parse())
        .collect::<Result<Vec<Digest>, FieldError>>()?;
    Ok(SnapshotSite {
        name: SiteName::parse(&site.name)?,
        config: Arc::new(tidegate_proto::site_from_wire(
            site.config.unwrap_or_default(),
        )?),
        active: wire
            .active
            .as_ref()
            .map(ActiveRelease::try_from)
            .transpose()?,
        prepared,
        has_entries: wire.has_entries,
    })
}
