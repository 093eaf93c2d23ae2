//! Follows the order.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_domain::{
    Cursor, CursorError, Digest, EdgeId, Epoch, FieldError, InstanceId, Revision, SiteFilter,
    SiteName,
};
use tidegate_net::Backoff;
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tokio_util::sync::CancellationToken;

use super::applied::{Applied, AppliedLog};
use super::channel::Client;
use super::complaint::Complaint;
use super::query::Answers;
use super::{ActiveRelease, Change, Event, Follower, SnapshotSite};
use crate::standing::Standing;

/// A stream that held this long was a good one: the next attempt is not delayed.
const STABLE: Duration = Duration::from_secs(30);

/// One that is ended in order after this long was no bad one: it comes back when it is told
/// to. Where streams are meant to be short, waits that grow would cost the lease.
const ORDERLY: Duration = Duration::from_secs(5);

/// The longest wait that a go-away may ask for.
const MAX_AWAY: Duration = Duration::from_secs(60);

/// How long the control plane may take, from the call on, to say its first word: a
/// connection and its turn to catch up need less. Ends before it would be a good stream.
const FIRST_WORD: Duration = Duration::from_secs(20);

/// The most sites of one snapshot.
const MAX_SITES: usize = 100_000;

/// Follows the order, again and again from where it was.
#[derive(Debug)]
pub struct Subscriber<F> {
    edge: EdgeId,
    instance: InstanceId,
    sites: Vec<SiteName>,
    client: Client,
    standing: Arc<Standing>,
    follower: Arc<F>,
    applied: Arc<AppliedLog>,
    answers: Answers<F>,
    complaint: Complaint,
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum StreamError {
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Box<tonic::Status>),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane has said nothing for {FIRST_WORD:?}")]
    Silent,
    #[error("an event is not understood; beginning anew from a snapshot")]
    NotUnderstood,
    #[error("a go-away holds what is not allowed: {0}")]
    GoAway(FieldError),
    #[error("a frame breaks the protocol: {0}; beginning anew from a snapshot")]
    Protocol(&'static str),
    #[error("a frame holds what is not allowed: {0}; beginning anew from a snapshot")]
    Field(#[from] FieldError),
    #[error("a frame holds no cursor; beginning anew from a snapshot")]
    Cursor(#[from] CursorError),
}

impl StreamError {
    /// Whether what the stream has said so far can be relied on.
    fn is_sound(&self) -> bool {
        matches!(
            self,
            Self::Status(_) | Self::Closed | Self::Silent | Self::GoAway(_)
        )
    }
}

/// The wait after a stream that lasted so long, and that may have ended by being told to come
/// back after a while.
fn wait_after(lasted: Duration, told: Option<Duration>, backoff: &mut Backoff) -> Duration {
    if lasted >= STABLE {
        backoff.reset();
    }
    match told {
        Some(wait) if lasted >= ORDERLY => wait,
        // However soon it says: streams that do not hold are not begun at once.
        Some(wait) => wait.max(backoff.next_wait()),
        None => backoff.next_wait(),
    }
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
        (follower, applied): (Arc<F>, Arc<AppliedLog>),
    ) -> Self {
        Self {
            edge,
            answers: Answers::new(instance.clone(), client.clone(), follower.clone()),
            instance,
            sites,
            client,
            standing,
            follower,
            applied,
            complaint: Complaint::default(),
        }
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let began = tokio::time::Instant::now();
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.follow() => end,
            };
            let told = end.as_ref().ok().copied();
            let wait = wait_after(began.elapsed(), told, &mut backoff);
            match end {
                Ok(_) => tracing::info!(?wait, "the control plane asks to reconnect"),
                Err(error) => {
                    if !error.is_sound() {
                        // Nothing held is used unasked, no lease counts, and the next stream
                        // begins with a snapshot.
                        self.standing.raise_era();
                    }
                    self.complain(&error, wait);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn complain(&mut self, error: &StreamError, wait: Duration) {
        if !self.complaint.is_new(error) {
            tracing::debug!(%error, ?wait, "lost the control plane again");
        } else if matches!(
            error,
            StreamError::Status(_) | StreamError::Closed | StreamError::Silent
        ) {
            tracing::warn!(%error, ?wait, "lost the control plane");
        } else {
            tracing::error!(%error, ?wait, "the control plane says what cannot be right");
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
        let opening = async {
            let frames = self.client.subscribe(request).await.map_err(Box::new)?;
            let mut frames = frames.into_inner();
            Ok::<_, StreamError>((next(&mut frames).await?, frames))
        };
        let opened = tokio::time::timeout(FIRST_WORD, opening).await;
        let (first, mut frames) = opened.map_err(|_| StreamError::Silent)??;
        let mut stream = match first {
            Frame::Hello(hello) => self.begin(&hello)?,
            Frame::GoAway(go_away) => return away(&go_away),
            _ => return Err(StreamError::Protocol("the first frame is no hello")),
        };
        loop {
            match next(&mut frames).await? {
                Frame::Hello(_) => return Err(StreamError::Protocol("a second hello")),
                Frame::GoAway(go_away) => return away(&go_away),
                Frame::SiteSnapshot(site) => {
                    let (sites, _) = stream
                        .snapshot
                        .as_mut()
                        .ok_or(StreamError::Protocol("a snapshot that nobody announced"))?;
                    if sites.len() == MAX_SITES {
                        return Err(StreamError::Protocol("a snapshot of too many sites"));
                    }
                    sites.push(snapshot_site(site)?);
                }
                Frame::SnapshotEnd(end) => {
                    self.adopt(&end, &mut stream)?;
                    self.complaint.settle();
                }
                Frame::Batch(batch) => {
                    self.apply(&batch, &stream).await?;
                    self.complaint.settle();
                }
                Frame::Query(query) => self.answers.answer(query),
            }
        }
    }

    fn begin(&self, hello: &v1::Hello) -> Result<Stream, StreamError> {
        let epoch = Epoch(hello.epoch);
        match hello.mode() {
            v1::SubscribeMode::Resume => {
                let position = self.standing.position();
                let Some(position) = position.filter(|at| at.epoch == epoch) else {
                    return Err(StreamError::Protocol("a resume of another history"));
                };
                if hello.head < position.revision.0 {
                    return Err(StreamError::Protocol(
                        "a resume of a history that is shorter than what was applied",
                    ));
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

    async fn apply(&self, batch: &v1::Batch, stream: &Stream) -> Result<(), StreamError> {
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
        if cursor.revision < Revision(batch.from_exclusive) {
            return Err(StreamError::Protocol("a batch that goes backwards"));
        }
        let events = read_events(batch, cursor)?;
        let at = |event: &Event| Cursor {
            epoch: stream.epoch,
            term: event.term,
            revision: event.revision,
            filter: SiteFilter::ALL,
        };
        for event in &events {
            if let Some(evicted) = self.follower.apply(event, at(event)).await {
                // Noted before the position moves, so that the heartbeat that acknowledges
                // it tells it too.
                self.applied.push(Applied {
                    epoch: stream.epoch,
                    first: event.revision,
                    last: event.revision,
                    at: self.standing.clock().boot(),
                    evicted,
                });
            }
        }
        let is_understood = |event: &Event| !matches!(event.change, Change::NotUnderstood);
        if !events.iter().all(is_understood) {
            // It may have been about a release or a configuration: only a snapshot shows
            // what holds now. Until then this position is not reached, so it is neither
            // acknowledged nor good for any request's token.
            return Err(StreamError::NotUnderstood);
        }
        for event in events.iter().filter(|event| event.term != cursor.term) {
            self.standing.passed(event.term, event.revision);
        }
        self.standing.advance(cursor);
        for event in &events {
            self.follower.announce(event, at(event));
        }
        self.follower.settle(cursor);
        Ok(())
    }
}

/// What the control plane says next.
async fn next(frames: &mut tonic::Streaming<v1::SubscribeResponse>) -> Result<Frame, StreamError> {
    let response = frames.message().await.map_err(Box::new)?;
    let response = response.ok_or(StreamError::Closed)?;
    response
        .frame
        .ok_or(StreamError::Protocol("an unknown kind of frame"))
}

/// The wait that a go-away asks for.
fn away(go_away: &v1::GoAway) -> Result<Duration, StreamError> {
    let field = "reconnect_after";
    let wait = go_away.reconnect_after.as_ref();
    let wait = tidegate_proto::duration_from_wire(field, wait, Duration::ZERO)
        .map_err(StreamError::GoAway)?;
    if wait > MAX_AWAY {
        let allowed = format!("at most {MAX_AWAY:?}");
        let error = FieldError::new(field, format!("{wait:?}"), allowed);
        return Err(StreamError::GoAway(error));
    }
    Ok(wait)
}

/// The events of a batch that ends at `end`, each within it and behind the one before.
fn read_events(batch: &v1::Batch, end: Cursor) -> Result<Vec<Event>, StreamError> {
    let mut last = Revision(batch.from_exclusive);
    let mut events = Vec::with_capacity(batch.events.len());
    for bytes in &batch.events {
        let mut event = Event::decode(bytes, (end.revision, end.term));
        if matches!(event.change, Change::NotUnderstood) {
            // Where it says it stands may be misread as well: it hits all that came before
            // the end.
            (event.revision, event.term) = (end.revision, end.term);
        } else if event.revision <= last || event.revision > end.revision {
            return Err(StreamError::Protocol("an event out of its order"));
        } else {
            last = event.revision;
        }
        events.push(event);
    }
    Ok(events)
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

#[cfg(test)]
mod tests;
