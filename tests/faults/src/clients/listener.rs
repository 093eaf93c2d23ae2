//! Listeners of events: they reconnect to any edge, from where they left off.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidegate_e2e::{Events, ServerSentEvent};
use tidegate_history::{Connected, Event, Position, Record, Reset};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::recorder::position;
use crate::rig::{EDGES, Rig};

/// Heartbeats come each second: whoever hears nothing for so long goes elsewhere.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the beginning of a stream may take; an edge may wait for what it lacks.
const OPENING: Duration = Duration::from_secs(12);

/// Up to where a listener was told everything.
pub type Heard = watch::Receiver<Option<Position>>;

/// A listener.
pub struct Listener {
    rig: Arc<Rig>,
    name: String,
    random: StdRng,
    /// The last id it heard.
    last: Option<String>,
    heard: watch::Sender<Option<Position>>,
}

impl Listener {
    /// A listener that does what `seed` says.
    #[must_use]
    pub fn new(rig: Arc<Rig>, number: usize, seed: u64) -> (Self, Heard) {
        let (heard, follow) = watch::channel(None);
        let listener = Self {
            rig,
            name: format!("listener-{number}"),
            random: StdRng::seed_from_u64(seed),
            last: None,
            heard,
        };
        (listener, follow)
    }

    /// Listens until `stop`.
    pub async fn listen(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let edge = self.random.random_range(0..EDGES.len());
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.follow(edge) => {}
            }
            let pause = Duration::from_millis(self.random.random_range(20..300));
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, to its end or to where the listener leaves it.
    async fn follow(&mut self, edge: usize) {
        if self.random.random_bool(0.1) {
            // A browser whose page was closed.
            self.last = None;
        }
        let http = &self.rig.edges[edge].http;
        let opening = Events::try_open(http, "/_tidegate/events", self.last.as_deref());
        let Ok(Ok(mut events)) = tokio::time::timeout(OPENING, opening).await else {
            self.rig.tally.add("events: no stream");
            return;
        };
        if events.status != StatusCode::OK {
            self.rig.tally.add("events: no stream");
            return;
        }
        let leaves_after: u32 = self.random.random_range(20..400);
        for _ in 0..leaves_after {
            match tokio::time::timeout(SILENCE, events.next()).await {
                Ok(Ok(Some(event))) => self.take(&event, edge),
                Ok(Ok(None) | Err(_)) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, event: &ServerSentEvent, edge: usize) {
        let at = self.rig.recorder.now();
        let listener = self.name.clone();
        let place = position(&event.id);
        self.rig.tally.add(format!("events: {}", event.event));
        if event.event == "connected" {
            if self.last.is_some() {
                self.rig.tally.add("events: resumed");
            }
            self.rig.recorder.add(&Record::Connected(Connected {
                listener,
                edge: EDGES[edge].name.to_owned(),
                interests: vec!["*".to_owned()],
                resumes: self.last.as_deref().and_then(position),
                position: place,
                at,
            }));
        } else if let Some(place) = place {
            let record = match event.event.as_str() {
                "reset" => Record::Reset(Reset {
                    listener,
                    position: place,
                    at,
                }),
                kind => Record::Event(Event {
                    listener,
                    kind: kind.to_owned(),
                    tags: serde_json::from_str(&event.data).unwrap_or_default(),
                    position: place,
                    at,
                }),
            };
            self.rig.recorder.add(&record);
            self.heard.send_replace(Some(place));
        }
        if place.is_some() {
            self.last = Some(event.id.clone());
        }
    }
}
