//! Browsers that listen: they resume on any edge from the last id they heard, and in
//! the end everything the log holds is held against what they were told.

use std::time::Duration;

use http::header::HOST as HOST_FIELD;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::sync::Arc;
use tidegate_domain::{Cursor, Revision, TagPattern, glob_matches};

use crate::cast::{EDGE_PORT, EDGES, HOST, Stage, VISITORS, edge};
use crate::rng::Rng;

/// A stream that is silent for so long is given up: heartbeats come every second.
const SILENCE: Duration = Duration::from_secs(4);

/// One browser.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    interest: &'static str,
    heard: Mutex<Vec<Heard>>,
}

/// One event with an id.
#[derive(Debug, Clone)]
struct Heard {
    kind: String,
    at: Cursor,
    tags: Vec<String>,
}

/// An event as it is on the wire.
#[derive(Debug, Default)]
struct Frame {
    id: Option<String>,
    kind: String,
    data: String,
}

impl Listener {
    /// A browser with one interest.
    #[must_use]
    pub fn new(name: String, rng: &mut Rng) -> Arc<Self> {
        let interests = ["*", "item:*", "item:3", "colour:*"];
        Arc::new(Self {
            name,
            interest: interests[rng.index(interests.len())],
            heard: Mutex::default(),
        })
    }

    /// Listens until everything settles and `stop` is reached.
    pub async fn listen(self: Arc<Self>, stage: Stage, mut rng: Rng) {
        let mut last: Option<String> = None;
        loop {
            let at = rng.index(EDGES);
            // Most streams end because someone goes on to another page.
            let stays = match stage.truth.is_settling() {
                true => Duration::from_secs(3_600),
                false => rng.around(Duration::from_secs(6)),
            };
            let listened = self.stream(&stage, at, &mut last);
            let ended = match tokio::time::timeout(stays, listened).await {
                Ok(Ok(())) => "ended".to_owned(),
                Ok(Err(error)) => format!("broke: {error}"),
                Err(_) => "left".to_owned(),
            };
            stage
                .trace
                .note(&self.name, &format!("edge-{} {ended}", at + 1));
            tokio::time::sleep(rng.between(Duration::from_millis(50), Duration::from_secs(2)))
                .await;
        }
    }

    async fn stream(
        &self,
        stage: &Stage,
        at: usize,
        last: &mut Option<String>,
    ) -> anyhow::Result<()> {
        let open = async {
            let stream = stage.net.connect(VISITORS, edge(at), EDGE_PORT).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let path = format!("/_tidegate/events?interest={}", self.interest);
            let mut request = Request::get(path).header(HOST_FIELD, HOST);
            if let Some(last) = last.as_deref() {
                request = request.header("last-event-id", last);
            }
            let request = request.body(Empty::<bytes::Bytes>::new())?;
            let response = sender.send_request(request).await?;
            anyhow::Ok((sender, response))
        };
        let (_sender, response) = tokio::time::timeout(SILENCE, open).await??;
        if response.status() != StatusCode::OK {
            anyhow::bail!("status {}", response.status());
        }
        if last.is_some() {
            stage.trace.count("resumed");
        }
        let mut body = response.into_body();
        let mut text = String::new();
        loop {
            let Some(frame) = tokio::time::timeout(SILENCE, body.frame()).await? else {
                return Ok(());
            };
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            text.push_str(&String::from_utf8_lossy(&data));
            while let Some(end) = text.find("\n\n") {
                let frame = read_frame(&text[..end]);
                text.drain(..end + 2);
                self.hear(stage, at, &frame, last);
            }
        }
    }

    fn hear(&self, stage: &Stage, at: usize, frame: &Frame, last: &mut Option<String>) {
        match frame.kind.as_str() {
            "reset" => stage.trace.count("reset heard"),
            "invalidate" => stage.trace.count("event heard"),
            "reconnect" => stage.trace.count("reconnect heard"),
            _ => {}
        }
        let Some(id) = &frame.id else {
            return;
        };
        let Ok(cursor) = id.parse::<Cursor>() else {
            stage
                .trace
                .violated(&self.name, &format!("an id that is none: {id}"));
            return;
        };
        *last = Some(id.clone());
        let tags = match frame.kind.as_str() {
            "invalidate" => serde_json::from_str(&frame.data).unwrap_or_default(),
            _ => Vec::new(),
        };
        let line = format!(
            "edge-{} {} at {} {tags:?}",
            at + 1,
            frame.kind,
            cursor.revision
        );
        stage.trace.note(&self.name, &line);
        self.heard.lock().push(Heard {
            kind: frame.kind.clone(),
            at: cursor,
            tags,
        });
    }

    /// The newest position it heard of.
    #[must_use]
    pub fn newest(&self) -> Option<Cursor> {
        self.heard.lock().last().map(|heard| heard.at)
    }

    /// Holds what the log says against what was heard: whenever the position moves past
    /// an invalidation of its interest, that event names it, or is a reset.
    pub fn judge(&self, stage: &Stage) {
        let heard = self.heard.lock();
        let mut position: Option<Cursor> = None;
        for event in heard.iter() {
            let before = position.replace(event.at);
            let Some(before) = before else {
                continue;
            };
            if event.kind == "reset" {
                continue;
            }
            if before.epoch != event.at.epoch {
                let told = format!("another history at {} without a reset", event.at.revision);
                stage.trace.violated(&self.name, &told);
                continue;
            }
            if event.at.revision < before.revision {
                let told = format!("{} after {}", event.at.revision, before.revision);
                stage.trace.violated(&self.name, &told);
            }
            self.judge_step(stage, before.revision, event);
        }
    }

    fn judge_step(&self, stage: &Stage, after: Revision, event: &Heard) {
        for logged in stage.truth.log(after, &event.at) {
            let revision = logged.at.revision;
            let patterns = logged.patterns.iter();
            for pattern in patterns.filter(|pattern| self.listens_to(pattern)) {
                let is_named = event
                    .tags
                    .iter()
                    .any(|tag| covers(tag, pattern, self.interest));
                if !is_named {
                    let told = format!(
                        "moved from {after} past {revision} ({pattern}) by {} at {} {:?}",
                        event.kind, event.at.revision, event.tags
                    );
                    stage.trace.violated(&self.name, &told);
                }
            }
        }
    }

    fn listens_to(&self, pattern: &str) -> bool {
        let parse = |text: &str| TagPattern::parse(text).ok();
        match (parse(self.interest), parse(pattern)) {
            (Some(interest), Some(pattern)) => interest.intersects(&pattern),
            _ => false,
        }
    }
}

/// Whether what is shown covers what both the pattern and the interest match.
fn covers(shown: &str, pattern: &str, interest: &str) -> bool {
    glob_matches(shown, pattern) || glob_matches(shown, interest)
}

fn read_frame(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        match field {
            "id" => frame.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut frame.kind),
            "data" => frame.data.push_str(value),
            _ => {}
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::NAMES;
    use crate::net::Net;
    use crate::truth::Logged;
    use tidegate_domain::{Epoch, SiteFilter, Term};

    fn at(revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    /// How many violations there are if the log invalidates `item:3` at 5.
    fn violations(heard: &[(&str, u64, &[&str])]) -> usize {
        let stage = Stage {
            net: Net::new(&NAMES, Rng::new(1, 1)),
            truth: Arc::default(),
            trace: Arc::default(),
            calm: Arc::default(),
        };
        let patterns = vec!["item:3".to_owned()];
        stage.truth.logged(Logged {
            at: at(5),
            patterns,
        });
        let listener = Listener {
            name: "listener".to_owned(),
            interest: "item:*",
            heard: Mutex::default(),
        };
        let heard = heard.iter().map(|(kind, revision, tags)| Heard {
            kind: (*kind).to_owned(),
            at: at(*revision),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        });
        listener.heard.lock().extend(heard);
        listener.judge(&stage);
        stage.trace.violations().len()
    }

    #[test]
    fn an_id_that_moves_past_what_was_not_heard_is_a_violation() {
        let connected = ("connected", 4, &[][..]);
        let named = ("invalidate", 5, &["item:3"][..]);
        assert_eq!(violations(&[connected, named]), 0);
        assert_eq!(violations(&[connected, ("reset", 6, &[])]), 0);
        assert_eq!(violations(&[connected, ("invalidate", 6, &["item:*"])]), 0);
        assert_eq!(violations(&[connected, ("heartbeat", 5, &[]), named]), 1);
        assert_eq!(violations(&[connected, ("invalidate", 6, &["item:4"])]), 1);
        assert_eq!(violations(&[named, connected]), 1);
    }
}
