//! The edges, their origin and what they share, and the hands that work them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{MappedMutexGuard, MutexGuard};
use tempfile::TempDir;
use tidegate_clock::ManualClock;
use tidegate_domain::site::{CheckedSite, SecondTier, SiteConfig};
use tidegate_domain::{Cursor, Epoch, Mode, Revision, SiteFilter, TagPattern, Term};
use tidegate_edge::proxy::Demand;
use tokio::task::JoinHandle;

use super::edge::{Edge, Surroundings};
use super::lie::Lie;
use super::origin::{Origin, VISIT, millis};
use super::plane::Plane;
use super::seen::Seen;
use crate::fields::Fields;
use crate::history::{Answer, Heard, History, Invalidation, Order, Target, Token, Visit};
use crate::model::{HOST, Settings};
use crate::scenario::{Ask, AskToken, Scenario, Step, URLS};

/// Nothing in memory takes so many turns.
const MAX_TURNS: usize = 10_000;
/// After so many, what was asked of an edge has come to where it waits: at the origin, or
/// for another.
const TURNS_TO_ARRIVE: usize = 64;

/// See the module.
pub(super) struct Rig {
    clock: Arc<ManualClock>,
    origin: Arc<Origin>,
    plane: Option<Arc<Plane>>,
    edges: Vec<Edge>,
    seen: [Seen; URLS.len()],
    lie: Lie,
    epoch: u64,
    revision: u64,
    visits: usize,
    /// Edges that have begun; one that begins anew is another.
    runs: usize,
    /// What the first edge has yet to hear of, and its place among what was invalidated.
    late: Vec<(usize, Told)>,
    /// Goes after the disks in it.
    _folder: Option<TempDir>,
}

/// What edges are told of an invalidation.
#[derive(Debug, Clone)]
struct Told {
    position: Cursor,
    pattern: TagPattern,
    mode: Mode,
}

/// A visit whose answer is not there yet.
struct UnderWay {
    /// Without its answer.
    visit: Visit,
    url: usize,
    answering: JoinHandle<(Answer, bool)>,
}

impl Rig {
    pub(super) fn new(scenario: &Scenario, lie: Lie) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(5_000));
        let origin = Origin::new(clock.clone(), lie, scenario.profiles.clone());
        let house = scenario.house;
        let plane = (house.edges > 1).then(|| Plane::new(clock.clone(), lie));
        let folder = house
            .disk
            .then(|| tempfile::tempdir().expect("there is room for a folder"));
        let mut rig = Self {
            clock: clock.clone(),
            origin: origin.clone(),
            plane: plane.clone(),
            edges: Vec::new(),
            seen: std::array::from_fn(|_| Seen::default()),
            lie,
            epoch: 1,
            revision: 1,
            visits: 0,
            runs: 0,
            late: Vec::new(),
            _folder: None,
        };
        rig.history().shares = plane.is_some();
        let config = config(&scenario.settings, plane.is_some());
        rig.begin_history();
        for number in 0..house.edges {
            let of_edge = |folder: &TempDir| folder.path().join(number.to_string());
            let surroundings = Surroundings {
                clock: clock.clone(),
                origin: origin.clone(),
                plane: plane.clone(),
                config: config.clone(),
                folder: folder.as_ref().map(of_edge),
            };
            let run = rig.next_run();
            rig.edges.push(Edge::new(surroundings, run, rig.position()));
        }
        rig._folder = folder;
        rig
    }

    /// What has happened so far.
    pub(super) fn history(&self) -> MappedMutexGuard<'_, History> {
        MutexGuard::map(self.origin.state(), |state| &mut state.history)
    }

    /// Takes a step. Returns the visits in it, all of which have their answers.
    pub(super) async fn step(&mut self, step: &Step) -> Vec<Visit> {
        let visits = match step {
            Step::Visit(ask) => {
                let under_way = self.visit(ask, None);
                vec![self.answered(under_way).await]
            }
            Step::Together {
                steps,
                last_first,
                late_look_ups,
            } => self.together(steps, *last_first, *late_look_ups).await,
            other => {
                self.happen(other);
                return Vec::new();
            }
        };
        self.settle().await;
        self.tell_late();
        visits
    }

    /// What nobody gets an answer to.
    fn happen(&mut self, step: &Step) {
        match step {
            Step::Wait(time) => self.clock.advance(Duration::from_millis(*time)),
            Step::Change(url) => self.origin.change(*url),
            Step::Say(url, profile) => {
                self.origin.state().profiles[*url] = Box::as_ref(profile).clone();
            }
            Step::Origin(health) => self.origin.state().health = *health,
            Step::Invalidate {
                pattern,
                hard,
                late,
            } => self.invalidate(pattern, *hard, *late && self.edges.len() > 1),
            Step::Reset => self.reset(),
            Step::PushOut => self.edges.iter().for_each(Edge::push_out),
            Step::Restart(edge) => self.restart(edge % self.edges.len()),
            // Neither is made within another step.
            Step::Visit(_) | Step::Together { .. } => {}
        }
    }

    async fn together(
        &mut self,
        steps: &[Step],
        last_first: bool,
        late_look_ups: bool,
    ) -> Vec<Visit> {
        let since = self.history().order();
        self.origin.hold();
        let plane = self.plane.clone().filter(|_| late_look_ups);
        if let Some(plane) = &plane {
            plane.hold();
        }
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Visit(ask) => under_way.push(self.visit(ask, Some(since))),
                other => self.happen(other),
            }
            turns(TURNS_TO_ARRIVE).await;
        }
        // Who finds nothing there asks the origin then.
        if let Some(plane) = plane {
            plane.let_go();
            turns(TURNS_TO_ARRIVE).await;
        }
        while self.origin.let_go(last_first) {
            turns(TURNS_TO_ARRIVE).await;
        }
        let mut visits = Vec::new();
        for one in under_way {
            visits.push(self.answered(one).await);
        }
        visits
    }

    fn invalidate(&mut self, pattern: &str, hard: bool, is_late: bool) {
        self.revision += 1;
        let told = Told {
            position: self.position(),
            pattern: TagPattern::parse(pattern).expect("a plain pattern"),
            mode: if hard { Mode::Hard } else { Mode::Soft },
        };
        if let Some(plane) = &self.plane {
            plane.invalidate(told.position.revision, &told.pattern);
        }
        // What comes later is heard later.
        let is_late = is_late || !self.late.is_empty();
        for edge in self.edges.iter().skip(usize::from(is_late)) {
            self.tell(edge, &told);
        }
        let heard = match is_late {
            true => Heard::Late(self.edges[0].number(), None),
            false => Heard::ByAll,
        };
        let target = Target::Pattern(pattern.to_owned());
        let number = self.note(target, heard, hard, Some(self.revision));
        if is_late {
            self.late.push((number, told));
        }
    }

    /// As the link does: first the effect, then the position.
    fn tell(&self, edge: &Edge, told: &Told) {
        let is_hidden = match self.lie {
            Lie::Invalidations => true,
            Lie::SoftInvalidations => told.mode == Mode::Soft,
            _ => false,
        };
        if !is_hidden {
            edge.invalidate(told.position.revision, &told.pattern, told.mode);
        }
        edge.advance(told.position);
    }

    /// The first edge hears of what the other knows already.
    fn tell_late(&mut self) {
        for (number, told) in std::mem::take(&mut self.late) {
            let edge = &self.edges[0];
            self.tell(edge, &told);
            let at = millis(&self.clock);
            let mut history = self.history();
            let order = history.order();
            history.invalidations[number].heard = Heard::Late(edge.number(), Some((order, at)));
        }
    }

    /// Returns its number.
    fn note(&self, target: Target, heard: Heard, hard: bool, revision: Option<u64>) -> usize {
        let at = millis(&self.clock);
        let mut history = self.history();
        let order = history.order();
        history.invalidations.push(Invalidation {
            order,
            at,
            revision,
            target,
            heard,
            hard,
        });
        history.invalidations.len() - 1
    }

    /// Another history: everything needs revalidation. What is noted of older ones is hard by
    /// then in any case, so revisions go on.
    fn reset(&mut self) {
        self.tell_late();
        if self.lie != Lie::Resets {
            self.epoch += 1;
            self.revision += 1;
            self.begin_history();
            for edge in &self.edges {
                edge.reset(self.position());
            }
        }
        self.note(Target::Everything, Heard::ByAll, true, None);
    }

    fn begin_history(&self) {
        if let Some(plane) = &self.plane {
            plane.begin(Epoch(self.epoch));
            plane.advance(Revision(self.revision));
        }
    }

    /// A restart begins empty. What another edge shares may have been fetched before it.
    fn restart(&mut self, number: usize) {
        if !self.edges[number].has_disk() {
            return;
        }
        self.tell_late();
        let position = self.position();
        if self.lie != Lie::Restarts {
            let run = self.next_run();
            self.edges[number].restart(run, position);
        }
        if self.plane.is_none() {
            self.note(Target::Everything, Heard::ByAll, true, None);
        }
    }

    fn next_run(&mut self) -> usize {
        self.runs += 1;
        self.runs - 1
    }

    fn position(&self) -> Cursor {
        Cursor {
            epoch: Epoch(self.epoch),
            term: Term(1),
            revision: Revision(self.revision),
            filter: SiteFilter::ALL,
        }
    }

    /// Somebody asks. `since` is when the first of those did with whom he does.
    fn visit(&mut self, ask: &Ask, since: Option<Order>) -> UnderWay {
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
        let number = self.visits;
        self.visits += 1;
        fields.add(VISIT, number.to_string());
        let edge = &self.edges[ask.edge % self.edges.len()];
        let token = match ask.token {
            AskToken::None => Token::None,
            AskToken::Newest => Token::AtLeast(edge.position().0),
            AskToken::Unknown => Token::Unknown,
        };
        let demand = match token {
            _ if self.lie == Lie::Tokens => Demand::None,
            Token::None => Demand::None,
            Token::AtLeast(revision) => Demand::AtLeast(Revision(revision)),
            Token::Unknown => Demand::Revalidate,
        };
        let order = self.history().order();
        let told = self.lie.request(fields.clone());
        let answering = edge.ask(ask.method, url, &told, demand);
        UnderWay {
            visit: Visit {
                number,
                edge: edge.number(),
                order,
                since: since.unwrap_or(order),
                at,
                answered_at: at,
                url: url.to_owned(),
                method: ask.method.to_owned(),
                request: fields,
                token,
                answer: Answer {
                    status: 0,
                    fields: Fields::default(),
                    body: Ok(Vec::new()),
                },
                is_from_disk: false,
            },
            url: ask.url,
            answering: tokio::spawn(answering),
        }
    }

    async fn answered(&mut self, under_way: UnderWay) -> Visit {
        let (answer, is_from_disk) = under_way
            .answering
            .await
            .expect("an edge answers and does not panic");
        self.seen[under_way.url].note(&answer);
        Visit {
            answered_at: millis(&self.clock),
            answer,
            is_from_disk,
            ..under_way.visit
        }
    }

    /// Waits until nothing is under way: what is begun in the background belongs to the
    /// visit that began it.
    async fn settle(&self) {
        for _ in 0..MAX_TURNS {
            if !self.edges.iter().any(Edge::is_busy) {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The end of a connection is told to both of its sides, and what is shared leaves
        // behind the answer.
        turns(8).await;
    }

    /// What had happened to the URL of a visit, for a person to read.
    pub(super) fn story(&self, visit: &Visit) -> String {
        let history = self.history();
        let mut lines = Vec::new();
        for e in history.exchanges.iter().filter(|e| e.url == visit.url) {
            let line = format!(
                "{:>4} {} exchange {} of edge {} for visit {:?}, {} {:?}\n       -> {:?} {:?}",
                e.order, e.at, e.number, e.edge, e.visit, e.method, e.request.0, e.ended, e.outcome
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

async fn turns(so_many: usize) {
    for _ in 0..so_many {
        tokio::task::yield_now().await;
    }
}

fn config(settings: &Settings, shares: bool) -> Arc<CheckedSite> {
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
    config.cache.second_tier = shares.then(|| SecondTier {
        min_fresh: Duration::from_secs(5),
        ..SecondTier::default()
    });
    Arc::new(config.check().expect("a site that can be"))
}
