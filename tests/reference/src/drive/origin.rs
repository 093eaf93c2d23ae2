//! An origin that does what its scenario says, and writes down what it was asked and what
//! it said.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use parking_lot::{Mutex, MutexGuard};
use tidegate_clock::{Clock as _, ManualClock};

use super::lie::Lie;
use crate::fields::{Fields, write_date};
use crate::history::{Exchange, History, Invalidation, Outcome, Target, Version};
use crate::scenario::{Health, OnChange, Profile, URLS, Validator};

/// After so many, what was written before is with the edge.
const TURNS_TO_LEAVE: usize = 16;

/// What it answers with.
pub(super) type OriginResponse = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

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

/// What an answer consists of.
struct Said {
    status: u16,
    fields: Fields,
    body: Vec<u8>,
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

    /// An error hangs up.
    pub(super) fn answer(&self, request: &Request<Incoming>) -> std::io::Result<OriginResponse> {
        let mut state = self.state();
        let asked_at = millis(&self.clock);
        let number = state.history.exchanges.len();
        let exchange = Exchange {
            number,
            order: state.history.order(),
            at: asked_at,
            url: request.uri().to_string(),
            method: request.method().to_string(),
            request: Lie::uncovered(read(request.headers())),
            outcome: Outcome::NoAnswer,
        };
        state.history.exchanges.push(exchange.clone());
        let url = URLS.iter().position(|url| *url == exchange.url);
        let Some(url) = url.filter(|_| !matches!(state.health, Health::HangsUp | Health::Gone))
        else {
            return Err(std::io::Error::other("hangs up on purpose"));
        };
        if let Health::Well(delay) = state.health {
            self.clock.advance(Duration::from_millis(delay));
        }
        let now = millis(&self.clock);
        if exchange.method != "GET" && exchange.method != "HEAD" {
            state.carry_out(url, now);
        }
        let version = state.version(url, &exchange.request, now);
        let mut said = state.say(url, &exchange, &version, now);
        said.fields.add(&format!("x-exchange-{number}"), "1");
        let is_bare = exchange.method == "HEAD" || said.status == 304 || said.body.is_empty();
        let broke = state.health == Health::Breaks && !is_bare;
        state.history.exchanges[number].outcome = Outcome::Answered {
            status: said.status,
            fields: said.fields.clone(),
            version,
            at: now,
            broke,
        };
        if exchange.method != "GET" && exchange.method != "HEAD" {
            said.status = self.lie.status_of_change(said.status);
        }
        Ok(response(said, broke, exchange.method == "HEAD", self.lie))
    }
}

impl State {
    fn change(&mut self, url: usize, now: u64) {
        self.changes[url] += 1;
        self.changed_at[url] = now;
    }

    /// An unsafe request, and what it ends in caches that see it (RFC 9111, section 4.4;
    /// RFC 9875, section 3).
    fn carry_out(&mut self, url: usize, now: u64) {
        let on_change = self.profiles[url].on_change;
        let mut ended = vec![Target::Url(URLS[url].to_owned())];
        match on_change {
            OnChange::Refused => return,
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
        for target in ended {
            let invalidation = Invalidation {
                order: self.history.order(),
                at: now,
                revision: None,
                target,
                hard: true,
            };
            self.history.invalidations.push(invalidation);
        }
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

fn said(status: u16, fields: Fields, body: Vec<u8>) -> Said {
    Said {
        status,
        fields,
        body,
    }
}

fn validators(version: &Version) -> Fields {
    let mut fields = Fields::default();
    if let Some(tag) = &version.etag {
        fields.add("etag", tag);
    }
    if let Some(modified) = version.modified {
        fields.add("last-modified", write_date(modified));
    }
    fields
}

/// What a profile says to caches.
fn described(profile: &Profile, mut fields: Fields, now: u64) -> Fields {
    let seconds = now / 1_000;
    if !profile.cache_control.is_empty() {
        fields.add("cache-control", profile.cache_control.join(", "));
    }
    if let Some((name, value)) = profile.targeted {
        fields.add(name, value);
    }
    match profile.expires {
        None => {}
        Some(None) => fields.add("expires", "0"),
        Some(Some(off)) => fields.add("expires", write_date(seconds.saturating_add_signed(off))),
    }
    if let Some(age) = profile.age {
        fields.add("age", age.to_string());
    }
    if let Some(date) = profile.date {
        fields.add("date", write_date(seconds - date));
    }
    if !profile.vary.is_empty() {
        fields.add("vary", profile.vary);
    }
    if !profile.tags.is_empty() {
        fields.add("cache-tag", profile.tags);
    }
    if profile.groups {
        fields.add("cache-groups", "\"g\"");
    }
    fields
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

fn preconditions_hold(request: &Fields, version: &Version) -> bool {
    !request.has("if-match")
        || request
            .list("if-match")
            .iter()
            .any(|tag| Some(tag) == version.etag.as_ref() && !tag.starts_with("W/"))
}

fn is_unchanged(request: &Fields, version: &Version) -> bool {
    if request.has("if-none-match") {
        let own = version.etag.as_deref().map(opaque);
        let tags = request.list("if-none-match");
        return tags
            .iter()
            .any(|tag| tag == "*" || Some(opaque(tag)) == own);
    }
    let since = request.date("if-modified-since");
    version
        .modified
        .zip(since)
        .is_some_and(|(modified, since)| modified <= since)
}

enum Part {
    Whole,
    Nothing,
    Of(usize, usize),
}

/// The one range that a request wants; several get the whole.
fn part(request: &Fields, version: &Version, now: u64) -> Part {
    let Some(set) = request
        .first("range")
        .and_then(|set| set.strip_prefix("bytes="))
    else {
        return Part::Whole;
    };
    if let Some(condition) = request.first("if-range") {
        let by_tag = version.etag.as_deref() == Some(condition) && !condition.starts_with("W/");
        let is_strong = version
            .modified
            .is_some_and(|modified| modified + 60 < now / 1_000);
        let by_date = is_strong && version.modified.map(write_date).as_deref() == Some(condition);
        if !by_tag && !by_date {
            return Part::Whole;
        }
    }
    let end = version.body.len().saturating_sub(1);
    let (first, last) = match set.split_once('-') {
        Some((first, last)) if !set.contains(',') => (first.parse(), last.parse()),
        _ => return Part::Whole,
    };
    match (first, last) {
        (Ok(first), Ok(last)) if first > last => Part::Whole,
        (Ok(first), _) if first >= version.body.len() => Part::Nothing,
        (Ok(first), Ok(last)) => Part::Of(first, end.min(last)),
        (Ok(first), Err(_)) => Part::Of(first, end),
        (Err(_), Ok(0)) => Part::Nothing,
        (Err(_), Ok(_)) if version.body.is_empty() => Part::Whole,
        (Err(_), Ok(count)) => Part::Of(version.body.len().saturating_sub(count), end),
        (Err(_), Err(_)) => Part::Whole,
    }
}

/// Bytes that no other version has at the same place.
fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| match at % 4 {
            0 => b'a' + u8::try_from(number % 26).unwrap_or(0),
            1 => b'A' + u8::try_from(number / 26 % 26).unwrap_or(0),
            2 => b'a' + u8::try_from(at / 4 % 26).unwrap_or(0),
            _ => b'.',
        })
        .collect()
}

/// A response as it leaves: told to the edge as the lie has it.
fn response(said: Said, broke: bool, is_head: bool, lie: Lie) -> OriginResponse {
    let (length, bytes) = (said.body.len(), Bytes::from(said.body));
    let mut response = Response::new(match broke {
        false if is_head => Full::default()
            .map_err(|never| match never {})
            .boxed_unsync(),
        false => Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync(),
        true => StreamBody::new(broken_off(bytes.slice(..length / 2))).boxed_unsync(),
    });
    *response.status_mut() = StatusCode::from_u16(said.status).unwrap_or_default();
    for (name, value) in lie.response(said.fields).0 {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    if (broke || is_head) && said.status != 304 {
        response
            .headers_mut()
            .insert("content-length", length.into());
    }
    response
}

/// The beginning of a body, then an error: what is there has left before.
fn broken_off(bytes: Bytes) -> impl Stream<Item = std::io::Result<Frame<Bytes>>> {
    let error = std::io::Error::other("breaks off on purpose");
    stream::iter([Ok(Frame::data(bytes)), Err(error)]).then(|piece| async {
        for _ in 0..TURNS_TO_LEAVE {
            tokio::task::yield_now().await;
        }
        piece
    })
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
