//! Backends: they change content and invalidate it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::bail;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidegate_e2e::{Calls, v1};
use tidegate_history::{Ack, Invalidate, Mode, Position, Record, Status};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::reader::{What, read};
use crate::recorder::position;
use crate::rig::{EDGES, Rig, calls};
use crate::site::{self, URLS};

/// Calls with one key until it is given up.
const ATTEMPTS: u32 = 4;
/// What a call may take besides the wait that it asks for.
const GRACE: Duration = Duration::from_millis(1_500);

/// How often a backend pushes something before it changes something.
const PUSHES: f64 = 0.25;
/// What reading the data for a push takes.
const READING_MS: u64 = 150;
/// For how long what is pushed is fresh, in seconds.
const PUSHED_FOR: u64 = 600;

/// A backend.
pub struct Backend {
    rig: Arc<Rig>,
    calls: Calls,
    random: StdRng,
    name: usize,
    keys: u64,
}

/// One intention, however many calls it takes.
struct Intent {
    tags: Vec<String>,
    urls: Vec<String>,
    mode: Mode,
    key: String,
    /// How long to wait for all edges; not at all if none.
    wait: Option<Duration>,
}

/// What a call was answered with.
struct Answer {
    position: Option<Position>,
    status: Status,
}

impl Backend {
    /// A backend that does what `seed` says.
    #[must_use]
    pub fn new(rig: Arc<Rig>, name: usize, seed: u64) -> Self {
        Self {
            rig,
            calls: calls(),
            random: StdRng::seed_from_u64(seed),
            name,
            keys: 0,
        }
    }

    /// Changes and invalidates until `stop`.
    pub async fn work(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.random.random_bool(PUSHES) {
                self.push().await;
            }
            let (intent, changed) = self.intend();
            changed.iter().for_each(|url| self.rig.content.write(*url));
            let answer = self.insist(&intent).await;
            self.look(&answer, &intent, &changed).await;
            let pause = self.random.random_range(10..120);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// What to invalidate, and the URLs to change before it.
    fn intend(&mut self) -> (Intent, Vec<usize>) {
        let url = self.random.random_range(0..URLS);
        let (tags, urls, changed) = match self.random.random_range(0..10) {
            0..4 => (vec![site::own_tag(url)], vec![], vec![url]),
            4..7 => (vec![], vec![site::path(url)], vec![url]),
            7..9 => {
                let group = site::group_tag(url);
                let members = (0..URLS).filter(|other| site::group_tag(*other) == group);
                (vec![group.clone()], vec![], members.collect())
            }
            _ => (vec!["item:*".to_owned()], vec![], (0..URLS).collect()),
        };
        self.keys += 1;
        let waits = self.random.random_bool(0.8);
        let wait = Duration::from_millis(self.random.random_range(1_000..6_000));
        let intent = Intent {
            tags,
            urls,
            mode: match self.random.random_bool(0.1) {
                true => Mode::Soft,
                false => Mode::Hard,
            },
            key: format!("backend-{}-{}", self.name, self.keys),
            wait: waits.then_some(wait),
        };
        (intent, changed)
    }

    /// Calls until there is an answer, or it is not worth it any more. Now and then
    /// once more after that.
    async fn insist(&mut self, intent: &Intent) -> Answer {
        let mut attempt = 0;
        let answer = loop {
            attempt += 1;
            let answer = self.call(intent).await;
            if answer.status != Status::Unknown || attempt == ATTEMPTS {
                break answer;
            }
            self.rig.tally.add("invalidations: tried again");
            let pause = self.random.random_range(50..300);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        };
        if answer.position.is_some() && self.random.random_bool(0.1) {
            self.rig
                .tally
                .add("invalidations: repeated after the answer");
            self.call(intent).await;
        }
        answer
    }

    async fn call(&mut self, intent: &Intent) -> Answer {
        let rig = self.rig.clone();
        let was_troubled = rig.is_troubled();
        let was_full = rig.is_disk_full.load(Ordering::SeqCst);
        let mut cache = self.calls.cache();
        let patience = intent.wait.unwrap_or_default() + GRACE;
        let invoked = rig.recorder.now();
        let called = cache.invalidate(request(intent));
        let answered = tokio::time::timeout(patience, called).await;
        let completed = rig.recorder.now();
        let (answer, is_fenced) = match answered {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let place = position(&answer.cursor);
                let fenced = v1::EdgeOutcomeKind::Fenced;
                let is_fenced = answer.edges.iter().any(|edge| edge.outcome() == fenced);
                if let Some(place) = place {
                    *rig.newest.lock() = Some((answer.cursor.clone(), place));
                }
                let status = match answer.status() {
                    v1::CompletionStatus::Complete => Status::Complete,
                    v1::CompletionStatus::Partial => Status::Partial,
                    _ => Status::Accepted,
                };
                let answer = Answer {
                    position: place,
                    status,
                };
                (answer, is_fenced)
            }
            Ok(Err(status)) => (refused_or_unknown(&rig, &status), false),
            Err(_) => {
                // A connection whose packets are lost may stay silent for long.
                self.calls = calls();
                (UNKNOWN, false)
            }
        };
        let is_complete = answer.status == Status::Complete;
        rig.tally
            .add(format!("invalidations: {:?}", answer.status).to_lowercase());
        if is_complete && (was_troubled || rig.is_troubled()) {
            rig.tally.add("invalidations: complete under faults");
        }
        if is_complete && is_fenced {
            rig.tally.add("invalidations: complete with an edge fenced");
        }
        if was_full && answer.status == Status::Unknown {
            rig.tally
                .add("invalidations: failed while the disk was full");
        }
        rig.recorder.add(&Record::Invalidate(Invalidate {
            site: site::NAME.to_owned(),
            tags: intent.tags.clone(),
            urls: intent.urls.clone(),
            mode: intent.mode,
            key: Some(intent.key.clone()),
            position: answer.position,
            status: answer.status,
            invoked,
            completed,
        }));
        answer
    }

    /// Pushes a URL, by when its data may have changed.
    async fn push(&mut self) {
        let rig = self.rig.clone();
        let url = site::pushed(self.random.random_range(0..URLS));
        let mut cache = self.calls.cache();
        let asked = tokio::time::timeout(GRACE, cache.get_head(v1::GetHeadRequest {})).await;
        let Ok(Ok(head)) = asked else { return };
        let version = rig.content.version(url);
        let reading = Duration::from_millis(self.random.random_range(0..READING_MS));
        tokio::time::sleep(reading).await;
        let request = v1::PutEntryRequest {
            site: site::NAME.to_owned(),
            entry: Some(entry(url, version)),
            read_as_of: head.into_inner().cursor,
        };
        let invoked = rig.recorder.now();
        let pushed = tokio::time::timeout(GRACE, cache.put_entry(request)).await;
        let completed = rig.recorder.now();
        let place = match pushed {
            Ok(Ok(answer)) => position(&answer.into_inner().cursor),
            Ok(Err(status)) if status.code() == Code::Aborted => {
                rig.tally.add("pushes: refused as outdated");
                None
            }
            Ok(Err(_)) | Err(_) => None,
        };
        if let Some(position) = place {
            rig.tally.add("pushes: taken");
            rig.recorder.add(&Record::Ack(Ack {
                what: format!("{} at version {version}", site::path(url)),
                position,
                invoked,
                completed,
            }));
        }
    }

    /// Looks at once at what was changed.
    async fn look(&mut self, answer: &Answer, intent: &Intent, changed: &[usize]) {
        let url = changed[self.random.random_range(0..changed.len())];
        if answer.status == Status::Complete && intent.mode == Mode::Hard {
            let [a, b, c] = [0, 1, 2].map(|edge| read(&self.rig, edge, What::Url(url), None));
            tokio::join!(a, b, c);
        } else if answer.position.is_some() {
            let newest = self.rig.newest.lock().clone();
            let edge = self.random.random_range(0..EDGES.len());
            read(&self.rig, edge, What::Url(url), newest).await;
        }
    }
}

const UNKNOWN: Answer = Answer {
    position: None,
    status: Status::Unknown,
};

/// Refusals are none of the faults that are made here: a site that is not found was
/// lost.
fn refused_or_unknown(rig: &Rig, status: &tonic::Status) -> Answer {
    let refusals = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::Unimplemented,
    ];
    if !refusals.contains(&status.code()) {
        return UNKNOWN;
    }
    rig.recorder
        .note(format!("an invalidation was refused: {status}"));
    Answer {
        position: None,
        status: Status::Refused,
    }
}

fn entry(url: usize, version: u64) -> v1::Entry {
    let (body, etag) = site::content(url, version);
    v1::Entry {
        url: site::path(url),
        status: 200,
        headers: vec![v1::HeaderField {
            name: "etag".to_owned(),
            value: etag.into_bytes().into(),
        }],
        body: body.into_bytes().into(),
        tags: vec![site::own_tag(url), site::group_tag(url)],
        ttl: Duration::from_secs(PUSHED_FOR).try_into().ok(),
        vary: Vec::new(),
    }
}

fn request(intent: &Intent) -> v1::InvalidateRequest {
    let wait_for = match intent.wait {
        Some(_) => v1::WaitFor::AllEdges,
        None => v1::WaitFor::None,
    };
    let mode = match intent.mode {
        Mode::Hard => v1::InvalidationMode::Hard,
        Mode::Soft => v1::InvalidationMode::Soft,
    };
    v1::InvalidateRequest {
        site: site::NAME.to_owned(),
        tags: intent.tags.clone(),
        urls: intent.urls.clone(),
        mode: mode.into(),
        wait_for: wait_for.into(),
        wait_timeout: intent.wait.and_then(|wait| wait.try_into().ok()),
        reason: "content changed".to_owned(),
        idempotency_key: intent.key.clone(),
        ..v1::InvalidateRequest::default()
    }
}

/// Changes and invalidates everything, once all is well again. Returns where that is in
/// the order.
///
/// # Errors
/// It does not complete.
pub async fn invalidate_everything(rig: &Arc<Rig>) -> anyhow::Result<Position> {
    let mut backend = Backend::new(rig.clone(), usize::MAX, 0);
    (0..URLS).for_each(|url| rig.content.write(url));
    let intent = Intent {
        tags: vec!["item:*".to_owned()],
        urls: Vec::new(),
        mode: Mode::Hard,
        key: "the-last".to_owned(),
        wait: Some(Duration::from_secs(15)),
    };
    let answer = backend.insist(&intent).await;
    match answer.position {
        Some(position) if answer.status == Status::Complete => Ok(position),
        _ => bail!(
            "all faults have gone, and an invalidation is {:?}",
            answer.status
        ),
    }
}
