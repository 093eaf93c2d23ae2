//! The edge, its site, and the hands that work them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use parking_lot::{MappedMutexGuard, MutexGuard};
use tidegate_clock::{Clock as _, ManualClock};
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{
    Cursor, Epoch, Mode, PathAndQuery, Revision, SiteFilter, SiteName, TagPattern, Term,
};
use tidegate_edge::faults::Faults;
use tidegate_edge::origin::BodyLimits;
use tidegate_edge::proxy::{
    Body, Demand, ProxySite, RevalidationLimits, Shared, SharedConfig, Visit as EdgeVisit,
};
use tidegate_edge::standing::Standing;
use tidegate_net::Dialer;

use super::lie::Lie;
use super::network::Network;
use super::origin::{Origin, millis, read};
use super::seen::Seen;
use crate::fields::Fields;
use crate::history::{Answer, History, Invalidation, Target, Token, Visit};
use crate::model::{HOST, Settings};
use crate::scenario::{Ask, AskToken, Scenario, Step, URLS};

/// Longer than any scenario.
const LEASE: Duration = Duration::from_secs(864_000);
/// Nothing in memory takes so many turns.
const MAX_TURNS: usize = 10_000;

/// See the module.
pub(super) struct Rig {
    clock: Arc<ManualClock>,
    standing: Arc<Standing>,
    shared: Arc<Shared>,
    site: Arc<ProxySite>,
    origin: Arc<Origin>,
    seen: [Seen; URLS.len()],
    lie: Lie,
    epoch: u64,
    revision: u64,
}

impl Rig {
    pub(super) fn new(scenario: &Scenario, lie: Lie) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(5_000));
        let origin = Origin::new(clock.clone(), lie, scenario.profiles.clone());
        let standing = Arc::new(Standing::new(clock.clone()));
        let shared = Shared::new(
            SharedConfig {
                capacity_bytes: 64 << 20,
                dialer: Dialer::Other(Arc::new(Network(origin.clone()))),
                revalidations: RevalidationLimits::default(),
                bodies: BodyLimits::default(),
                disk: None,
                faults: Faults::default(),
            },
            standing.clone(),
        );
        let name = SiteName::parse("dev").expect("a plain name");
        let mut rig = Self {
            clock,
            standing,
            site: ProxySite::new(name, config(&scenario.settings), shared.clone()),
            shared,
            origin,
            seen: std::array::from_fn(|_| Seen::default()),
            lie,
            epoch: 1,
            revision: 0,
        };
        rig.advance();
        rig.grant();
        rig
    }

    /// What has happened so far.
    pub(super) fn history(&self) -> MappedMutexGuard<'_, History> {
        MutexGuard::map(self.origin.state(), |state| &mut state.history)
    }

    /// Takes a step. Returns the visit, if it is one.
    pub(super) async fn step(&mut self, step: &Step) -> Option<Visit> {
        match step {
            Step::Visit(ask) => return Some(self.visit(ask).await),
            Step::Wait(time) => self.clock.advance(Duration::from_millis(*time)),
            Step::Change(url) => self.origin.change(*url),
            Step::Say(url, profile) => {
                self.origin.state().profiles[*url] = Box::as_ref(profile).clone();
            }
            Step::Origin(health) => self.origin.state().health = *health,
            Step::Invalidate { pattern, hard } => self.invalidate(pattern, *hard),
            Step::Reset => self.reset(),
        }
        None
    }

    /// As the link does: first the effect, then the position.
    fn invalidate(&mut self, pattern: &str, hard: bool) {
        self.revision += 1;
        let is_hidden = match self.lie {
            Lie::Invalidations => true,
            Lie::SoftInvalidations => !hard,
            _ => false,
        };
        if !is_hidden {
            let patterns = [TagPattern::parse(pattern).expect("a plain pattern")];
            let mode = if hard { Mode::Hard } else { Mode::Soft };
            self.site
                .apply_invalidation(Revision(self.revision), &patterns, mode)
                .now_or_never()
                .expect("few tags are applied at once");
        }
        self.note(
            Target::Pattern(pattern.to_owned()),
            hard,
            Some(self.revision),
        );
        self.move_position();
    }

    fn note(&self, target: Target, hard: bool, revision: Option<u64>) {
        let at = millis(&self.clock);
        let mut history = self.history();
        let order = history.order();
        history.invalidations.push(Invalidation {
            order,
            at,
            revision,
            target,
            hard,
        });
    }

    /// Another history: everything needs revalidation.
    fn reset(&mut self) {
        if self.lie != Lie::Resets {
            self.standing.raise_era();
            // Revisions go on: what is noted of older ones is hard by now in any case.
            self.epoch += 1;
            self.advance();
            self.grant();
        }
        self.note(Target::Everything, true, None);
    }

    fn advance(&mut self) {
        self.revision += 1;
        self.move_position();
    }

    fn move_position(&self) {
        self.standing.advance(Cursor {
            epoch: Epoch(self.epoch),
            term: Term(1),
            revision: Revision(self.revision),
            filter: SiteFilter::ALL,
        });
    }

    fn grant(&self) {
        let ends = self.clock.boot() + LEASE;
        let era = self.standing.now().era;
        self.standing.grant(era, ends, Revision::ZERO);
    }

    async fn visit(&mut self, ask: &Ask) -> Visit {
        let at = millis(&self.clock);
        let url = URLS[ask.url];
        let mut fields = Fields::default();
        for (name, value) in &ask.fields {
            if !fields.has(name) {
                fields.add(name, *value);
            }
        }
        if !ask.cache_control.is_empty() {
            fields.add("cache-control", ask.cache_control);
        }
        self.seen[ask.url].conditions(ask, at, &mut fields);
        let token = match ask.token {
            AskToken::None => Token::None,
            AskToken::Newest => Token::AtLeast(self.revision),
            AskToken::Unknown => Token::Unknown,
        };
        let order = self.history().order();
        let answer = self.ask(ask.method, url, &fields, token).await;
        let answered_at = millis(&self.clock);
        self.settle().await;
        self.seen[ask.url].note(&answer);
        Visit {
            order,
            at,
            answered_at,
            url: url.to_owned(),
            method: ask.method.to_owned(),
            request: fields,
            token,
            answer,
        }
    }

    async fn ask(&self, method: &str, url: &str, fields: &Fields, token: Token) -> Answer {
        let demand = match token {
            _ if self.lie == Lie::Tokens => Demand::None,
            Token::None => Demand::None,
            Token::AtLeast(revision) => Demand::AtLeast(Revision(revision)),
            Token::Unknown => Demand::Revalidate,
        };
        let target = PathAndQuery::parse(url).expect("a plain URL");
        let visit = EdgeVisit {
            url: &target,
            host: HOST,
            client: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            secure: true,
            moment: self.standing.now(),
            demand,
            never_store: false,
            interim: None,
        };
        let request = request(method, url, &self.lie.request(fields.clone()));
        let (parts, body) = self.site.handle(request, visit).await.into_parts();
        Answer {
            status: parts.status.as_u16(),
            fields: read(&parts.headers),
            body: whole(body).await,
        }
    }

    /// Waits until nothing is under way: what is begun in the background belongs to the
    /// visit that began it.
    async fn settle(&self) {
        for _ in 0..MAX_TURNS {
            let is_busy = self.site.stats().in_flight > 0 || self.shared.stats().revalidating > 0;
            if !is_busy {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The end of a connection is told to both of its sides.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// What had happened to the URL of a visit, for a person to read.
    pub(super) fn story(&self, visit: &Visit) -> String {
        let history = self.history();
        let mut lines = Vec::new();
        for e in history.exchanges.iter().filter(|e| e.url == visit.url) {
            let line = format!(
                "{:>4} {} exchange {} {} {:?}\n       -> {:?}",
                e.order, e.at, e.number, e.method, e.request.0, e.outcome
            );
            lines.push((e.order, line));
        }
        for i in &history.invalidations {
            lines.push((i.order, format!("{:>4} {} {i:?}", i.order, i.at)));
        }
        for order in &history.unreachable {
            lines.push((*order, format!("{order:>4} no connection")));
        }
        lines.sort();
        let mut story = String::new();
        for (_, line) in lines {
            let _ = writeln!(story, "{line}");
        }
        let _ = writeln!(story, "judged: {visit:?}");
        story
    }
}

async fn whole(mut body: Body) -> Result<Vec<u8>, Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(_) => return Err(bytes),
        }
    }
    Ok(bytes)
}

fn request(method: &str, url: &str, fields: &Fields) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::try_from(method).expect("a method of the scenario");
    *request.uri_mut() = url.parse().expect("a URL of the scenario");
    for (name, value) in &fields.0 {
        let name = HeaderName::try_from(name).expect("a name of the scenario");
        let value = HeaderValue::try_from(value).expect("a value of the scenario");
        request.headers_mut().append(name, value);
    }
    request
}

fn config(settings: &Settings) -> Arc<CheckedSite> {
    let mut config: SiteConfig = serde_json::from_value(serde_json::json!({
        "hosts": [HOST],
        "origin": { "upstreams": [{ "url": "http://192.0.2.2:80" }], "breaker": { "failures": 1000 } },
    }))
    .expect("a plain site");
    config.cache.default_ttl = Duration::from_millis(settings.default_ttl);
    config.cache.negative_ttl = Duration::from_millis(settings.negative_ttl);
    config.cache.stale_while_revalidate = Duration::from_millis(settings.stale_while_revalidate);
    config.cache.stale_if_error = Duration::from_millis(settings.stale_if_error);
    config.cache.stale_if_unreachable = Duration::from_millis(settings.stale_if_unreachable);
    Arc::new(config.check().expect("a site that can be"))
}
