//! An origin that does what its scenario says, and writes down what it was asked and what
//! it said. What it answers with is settled when it is asked; while it is held it keeps the
//! answers back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::Request;
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tidegate_clock::{Clock as _, ManualClock};
use tokio::sync::oneshot;

use super::lie::Lie;
use super::reply::{
    self, OriginResponse, Part, Said, content, described, is_unchanged, part, preconditions_hold,
    said, validators,
};
use crate::fields::{Fields, write_date};
use crate::history::{Exchange, Heard, History, Invalidation, Outcome, Target, Version};
use crate::scenario::{Health, OnChange, Profile, URLS, Validator};

/// The field in which a request carries the number of its visit.
pub(super) const VISIT: &str = "x-visit";

/// See the module.
#[derive(Debug)]
pub(super) struct Origin {
    clock: Arc<ManualClock>,
    lie: Lie,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) history: History,
    pub(super) profiles: Vec<Profile>,
    pub(super) health: Health,
    /// How often each URL has changed.
    changes: [u64; URLS.len()],
    /// When each URL changed last.
    changed_at: [u64; URLS.len()],
    /// What each URL shows to whom, by the change and the profile it is of.
    shown: Vec<(Selector, Arc<Version>)>,
    /// It keeps its answers back.
    is_held: bool,
    /// Those that wait, in the order in which they were asked for.
    held: VecDeque<oneshot::Sender<()>>,
}

/// An answer that has not left.
struct Settled {
    number: usize,
    /// `None` hangs up.
    said: Option<(Said, Arc<Version>)>,
    /// What is ended by it in caches that see it.
    ends: Vec<Target>,
    is_head: bool,
    is_change: bool,
    broke: bool,
}

/// What decides which version is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selector {
    url: usize,
    change: u64,
    status: u16,
    length: usize,
    validator: Validator,
    selected_by: Vec<Option<String>>,
}

impl Origin {
    pub(super) fn new(clock: Arc<ManualClock>, lie: Lie, profiles: Vec<Profile>) -> Arc<Self> {
        let now = millis(&clock);
        Arc::new(Self {
            clock,
            lie,
            state: Mutex::new(State {
                history: History::default(),
                profiles,
                health: Health::Well(0),
                changes: [0; URLS.len()],
                changed_at: [now; URLS.len()],
                shown: Vec::new(),
                is_held: false,
                held: VecDeque::new(),
            }),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn change(&self, url: usize) {
        let now = millis(&self.clock);
        self.state().change(url, now);
    }

    pub(super) fn takes_connections(&self) -> bool {
        let mut state = self.state();
        if state.health == Health::Gone {
            let order = state.history.order();
            state.history.unreachable.push(order);
            return false;
        }
        true
    }

    /// Keeps answers back from here on.
    pub(super) fn hold(&self) {
        self.state().is_held = true;
    }

    /// Lets one of the answers go that were kept back, the first or the last, and keeps no
    /// more of them back. Whether there was one.
    pub(super) fn let_go(&self, last: bool) -> bool {
        let mut state = self.state();
        state.is_held = false;
        let next = match last {
            true => state.held.pop_back(),
            false => state.held.pop_front(),
        };
        // Whoever asked may have left.
        next.map(|held| held.send(())).is_some()
    }

    /// An error hangs up.
    pub(super) async fn answer(
        &self,
        edge: usize,
        request: &Request<Incoming>,
    ) -> std::io::Result<OriginResponse> {
        let settled = self.settle(edge, request);
        let turn = {
            let mut state = self.state();
            state.is_held.then(|| {
                let (sender, turn) = oneshot::channel();
                state.held.push_back(sender);
                turn
            })
        };
        if let Some(turn) = turn {
            let _ = turn.await;
        }
        self.send(settled)
    }

    fn settle(&self, edge: usize, request: &Request<Incoming>) -> Settled {
        let mut state = self.state();
        let number = state.history.exchanges.len();
        let fields = Lie::uncovered(read(request.headers()));
        let exchange = Exchange {
            number,
            edge,
            visit: fields.first(VISIT).and_then(|number| number.parse().ok()),
            order: state.history.order(),
            at: millis(&self.clock),
            url: request.uri().to_string(),
            method: request.method().to_string(),
            request: fields,
            outcome: Outcome::Open,
            ended: None,
        };
        state.history.exchanges.push(exchange.clone());
        let is_head = exchange.method == "HEAD";
        let mut settled = Settled {
            number,
            said: None,
            ends: Vec::new(),
            is_head,
            is_change: exchange.method != "GET" && !is_head,
            broke: false,
        };
        let url = URLS.iter().position(|url| *url == exchange.url);
        let Some(url) = url.filter(|_| !matches!(state.health, Health::HangsUp | Health::Gone))
        else {
            return settled;
        };
        if let Health::Well(delay) = state.health {
            self.clock.advance(Duration::from_millis(delay));
        }
        let now = millis(&self.clock);
        if settled.is_change {
            settled.ends = state.carry_out(url, now);
        }
        let version = state.version(url, &exchange.request, now);
        let mut said = state.say(url, &exchange, &version, now);
        said.fields.add(&format!("x-exchange-{number}"), "1");
        let is_bare = is_head || said.status == 304 || said.body.is_empty();
        settled.broke = state.health == Health::Breaks && !is_bare;
        settled.said = Some((said, version));
        settled
    }

    fn send(&self, settled: Settled) -> std::io::Result<OriginResponse> {
        let mut state = self.state();
        let (number, at) = (settled.number, millis(&self.clock));
        let order = state.history.order();
        let exchange = &mut state.history.exchanges[number];
        exchange.ended = Some(order);
        let Some((mut said, version)) = settled.said else {
            exchange.outcome = Outcome::NoAnswer;
            return Err(std::io::Error::other("hangs up on purpose"));
        };
        exchange.outcome = Outcome::Answered {
            status: said.status,
            fields: said.fields.clone(),
            version,
            at,
            broke: settled.broke,
        };
        let (edge, request) = (exchange.edge, exchange.request.clone());
        for target in settled.ends {
            let invalidation = Invalidation {
                order: state.history.order(),
                at,
                revision: None,
                target,
                heard: Heard::By(edge),
                hard: true,
            };
            state.history.invalidations.push(invalidation);
        }
        if settled.is_change {
            said.status = self.lie.status_of_change(said.status);
        }
        let said = self.lie.about_versions(&request, said);
        Ok(reply::response(
            said,
            settled.broke,
            settled.is_head,
            self.lie,
        ))
    }
}

impl State {
    fn change(&mut self, url: usize, now: u64) {
        self.changes[url] += 1;
        self.changed_at[url] = now;
    }

    /// An unsafe request. Returns what it ends in caches that see it (RFC 9111, section 4.4;
    /// RFC 9875, section 3).
    fn carry_out(&mut self, url: usize, now: u64) -> Vec<Target> {
        let on_change = self.profiles[url].on_change;
        let mut ended = vec![Target::Url(URLS[url].to_owned())];
        match on_change {
            OnChange::Refused => return Vec::new(),
            OnChange::Done => {}
            OnChange::Location(other) => {
                self.change(other, now);
                ended.push(Target::Url(URLS[other].to_owned()));
            }
            OnChange::Group => ended.push(Target::Group("g".to_owned())),
        }
        self.change(url, now);
        if matches!(self.health, Health::Failing(_)) {
            ended.clear();
        }
        ended
    }

    /// What a URL shows to a request.
    fn version(&mut self, url: usize, request: &Fields, now: u64) -> Arc<Version> {
        let profile = self.profiles[url].clone();
        let names = profile
            .vary
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase());
        let status = match self.health {
            Health::Failing(status) => status,
            _ => profile.status,
        };
        let selector = Selector {
            url,
            change: self.changes[url],
            status,
            length: profile.length,
            validator: profile.validator,
            selected_by: names
                .map(|name| request.has(&name).then(|| request.list(&name).join(",")))
                .collect(),
        };
        if let Some((_, version)) = self.shown.iter().find(|(known, _)| *known == selector) {
            return version.clone();
        }
        let number = self.history.versions.len();
        let (mut etag, mut modified) = match profile.validator {
            Validator::None => (None, false),
            Validator::Strong => (Some(format!("\"v{number}\"")), false),
            Validator::Weak => (Some(format!("W/\"v{number}\"")), false),
            Validator::Lax => (Some(format!("W/\"u{url}\"")), false),
            Validator::Date => (None, true),
            Validator::Both => (Some(format!("\"v{number}\"")), true),
        };
        if status >= 500 {
            (etag, modified) = (None, false);
        }
        let shown_since = self.changed_at[url].max(now.saturating_sub(1_000)) / 1_000;
        let version = Arc::new(Version {
            number,
            url: URLS[url].to_owned(),
            status,
            body: content(number, profile.length),
            etag,
            modified: modified.then(|| shown_since - profile.modified_before),
        });
        self.history.versions.push(version.clone());
        self.shown.push((selector, version.clone()));
        version
    }

    fn say(&self, url: usize, exchange: &Exchange, version: &Version, now: u64) -> Said {
        let profile = &self.profiles[url];
        let is_read = exchange.method == "GET" || exchange.method == "HEAD";
        let mut fields = validators(version);
        let request = &exchange.request;
        if is_read && version.status == 200 && !preconditions_hold(request, version) {
            return said(412, fields, Vec::new());
        }
        if is_read && version.status == 200 && is_unchanged(request, version) {
            if !profile.terse {
                fields = described(profile, fields, now);
            }
            return said(304, fields, Vec::new());
        }
        if is_read && version.status < 500 {
            fields = described(profile, fields, now);
        } else if let Some(date) = profile.date {
            fields.add("date", write_date(now / 1_000 - date));
        }
        // Those who are told the fields alone may hold another version with the same
        // validators.
        if exchange.method != "HEAD" {
            fields.add("x-version", version.number.to_string());
            fields.add("x-kind", format!("of {}", version.number));
        }
        if !is_read {
            return self.done(profile, version, fields);
        }
        if profile.cookie {
            fields.add("set-cookie", "who=me");
        }
        fields.add("x-secret", "for one");
        fields.add("connection", "x-hop");
        fields.add("x-hop", "1");
        fields.add("content-type", "text/plain");
        if profile.ranges && version.status == 200 && exchange.method == "GET" {
            match part(request, version, now) {
                Part::Whole => {}
                Part::Nothing => {
                    fields.add("content-range", format!("bytes */{}", version.body.len()));
                    return said(416, fields, Vec::new());
                }
                Part::Of(first, last) => {
                    let place = format!("bytes {first}-{last}/{}", version.body.len());
                    fields.add("content-range", place);
                    return said(206, fields, version.body[first..=last].to_vec());
                }
            }
        }
        said(version.status, fields, version.body.clone())
    }

    fn done(&self, profile: &Profile, version: &Version, mut fields: Fields) -> Said {
        let status = match (profile.on_change, self.health) {
            (_, Health::Failing(status)) => status,
            (OnChange::Refused, _) => 403,
            (OnChange::Location(other), _) => {
                fields.add("location", URLS[other]);
                201
            }
            (OnChange::Group, _) => {
                fields.add("cache-group-invalidation", "\"g\"");
                200
            }
            (OnChange::Done, _) => 200,
        };
        said(status, fields, version.body.clone())
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(clock: &ManualClock) -> u64 {
    let since = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Fields as lines of text.
pub(super) fn read(map: &http::HeaderMap) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in map {
        fields.add(name.as_str(), String::from_utf8_lossy(value.as_bytes()));
    }
    fields
}
