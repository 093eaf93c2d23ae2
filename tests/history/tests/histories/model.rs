//! A tiny reference model of a correct system: one clock, one operation at a time, each
//! recorded with times around the moment of its effect. Whatever it does is right.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_history::{
    Connected, Event, Invalidate, Listed, Listing, Mode, Read, Record, Reset, Status, Write,
};

use crate::make::at;

/// Edges, each with one listener.
const EDGES: usize = 2;
const URLS: u64 = 3;
/// Time between two effects. No time around one reaches the next but one.
const STEP: u64 = 100;

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The origin changes a URL.
    Write(u64),
    /// A URL, or everything, is invalidated; and it is heard of or not.
    Invalidate { url: Option<u64>, fate: Fate },
    /// The last call with a key is repeated.
    Repeat,
    /// An edge is asked.
    Read {
        edge: usize,
        url: u64,
        with_token: bool,
    },
    /// An edge catches up.
    Catch { edge: usize },
    /// An edge's listener goes and comes back, or is reset.
    Reconnect { edge: usize, is_reset: bool },
}

/// What becomes of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All edges apply it before the call returns.
    Complete,
    /// It returns at once.
    Accepted,
    /// It happens, and nobody hears of it.
    Lost,
}

/// How far before and after its effect an operation begins and ends.
pub(crate) type Around = (u64, u64);

pub(crate) fn acts() -> impl Strategy<Value = Vec<(Act, Around)>> {
    let url = 0..URLS;
    let fate = prop_oneof![Just(Fate::Complete), Just(Fate::Accepted), Just(Fate::Lost)];
    let act = prop_oneof![
        4 => url.clone().prop_map(Act::Write),
        4 => (proptest::option::weighted(0.8, url.clone()), fate)
            .prop_map(|(url, fate)| Act::Invalidate { url, fate }),
        1 => Just(Act::Repeat),
        8 => (0..EDGES, url, any::<bool>())
            .prop_map(|(edge, url, with_token)| Act::Read { edge, url, with_token }),
        2 => (0..EDGES).prop_map(|edge| Act::Catch { edge }),
        1 => (0..EDGES, any::<bool>())
            .prop_map(|(edge, is_reset)| Act::Reconnect { edge, is_reset }),
    ];
    proptest::collection::vec((act, (1..150_u64, 1..150_u64)), 20..120)
}

#[derive(Default)]
struct Edge {
    applied: u64,
    copies: BTreeMap<u64, u64>,
}

/// Runs the acts.
pub(crate) fn run(acts: &[(Act, Around)]) -> Vec<Record> {
    let mut model = Model::start();
    for (act, around) in acts {
        model.now += STEP;
        model.act(act, *around);
    }
    model.finish()
}

struct Model {
    now: u64,
    versions: BTreeMap<u64, u64>,
    /// What each revision invalidates, from 1.
    log: Vec<Option<u64>>,
    listed: Vec<Listed>,
    edges: [Edge; EDGES],
    repeatable: Option<Invalidate>,
    records: Vec<Record>,
    calls: usize,
}

fn path(url: u64) -> String {
    format!("/{url}")
}

fn patterns(url: Option<u64>) -> Vec<String> {
    vec![url.map_or("*".to_owned(), |url| format!("item:{url}"))]
}

impl Model {
    fn start() -> Self {
        let mut model = Self {
            now: 1_000,
            versions: BTreeMap::new(),
            log: Vec::new(),
            listed: Vec::new(),
            edges: Default::default(),
            repeatable: None,
            records: Vec::new(),
            calls: 0,
        };
        for url in 0..URLS {
            model.write(url, (1, 1));
        }
        for edge in 0..EDGES {
            model.connect(edge, None, Some(0));
        }
        model
    }

    fn act(&mut self, act: &Act, around: Around) {
        match *act {
            Act::Write(url) => self.write(url, around),
            Act::Invalidate { url, fate } => self.invalidate(url, fate, around),
            Act::Repeat => self.repeat(around),
            Act::Read {
                edge,
                url,
                with_token,
            } => self.read(edge, url, with_token, around),
            Act::Catch { edge } => self.catch_up(edge),
            Act::Reconnect { edge, is_reset } => {
                let applied = self.edges[edge].applied;
                self.connect(edge, Some(applied), (!is_reset).then_some(applied));
                if is_reset {
                    self.records.push(Record::Reset(Reset {
                        listener: listener(edge),
                        position: at(applied),
                        at: self.now + 1,
                    }));
                }
            }
        }
    }

    fn write(&mut self, url: u64, (before, after): Around) {
        let version = self.versions.entry(url).or_default();
        *version += 1;
        self.records.push(Record::Write(Write {
            url: path(url),
            version: *version,
            tags: vec![format!("item:{url}")],
            invoked: self.now - before,
            completed: self.now + after,
        }));
    }

    fn invalidate(&mut self, url: Option<u64>, fate: Fate, (before, after): Around) {
        self.log.push(url);
        let revision = self.log.len() as u64;
        self.listed.push(Listed {
            revision,
            patterns: patterns(url),
        });
        if fate == Fate::Complete {
            (0..EDGES).for_each(|edge| self.catch_up(edge));
        }
        self.calls += 1;
        let call = Invalidate {
            site: "shop".into(),
            tags: patterns(url),
            urls: Vec::new(),
            mode: Mode::Hard,
            key: Some(format!("k{}", self.calls)),
            position: (fate != Fate::Lost).then(|| at(revision)),
            status: match fate {
                Fate::Complete => Status::Complete,
                Fate::Accepted => Status::Accepted,
                Fate::Lost => Status::Unknown,
            },
            invoked: self.now - before,
            completed: self.now + after,
        };
        self.repeatable = Some(Invalidate {
            position: Some(at(revision)),
            ..call.clone()
        });
        self.records.push(Record::Invalidate(call));
    }

    fn repeat(&mut self, (before, after): Around) {
        let Some(first) = self.repeatable.clone() else {
            return;
        };
        self.records.push(Record::Invalidate(Invalidate {
            status: Status::Accepted,
            // It is repeated because the first one has ended.
            invoked: self.now.max(first.completed + before),
            completed: self.now.max(first.completed + before) + after,
            ..first
        }));
    }

    fn read(&mut self, edge: usize, url: u64, with_token: bool, (before, after): Around) {
        // It waits until it is there.
        let token = with_token.then_some(self.log.len() as u64);
        if with_token {
            self.catch_up(edge);
        }
        let current = self.versions[&url];
        let there = &mut self.edges[edge];
        let version = *there.copies.entry(url).or_insert(current);
        self.records.push(Record::Read(Read {
            edge: format!("edge-{edge}"),
            url: path(url),
            status: 200,
            version: Some(version),
            position: Some(at(there.applied)),
            token: token.map(at),
            cache: String::new(),
            sent: self.now - before,
            completed: self.now + after,
        }));
    }

    fn catch_up(&mut self, edge: usize) {
        let there = &mut self.edges[edge];
        let from = usize::try_from(there.applied).expect("it counts what is in memory");
        for (index, url) in self.log.iter().enumerate().skip(from) {
            match url {
                Some(url) => drop(there.copies.remove(url)),
                None => there.copies.clear(),
            }
            self.records.push(Record::Event(Event {
                listener: listener(edge),
                kind: "invalidate".into(),
                tags: patterns(*url),
                position: at(index as u64 + 1),
                at: self.now,
            }));
        }
        there.applied = self.log.len() as u64;
    }

    fn connect(&mut self, edge: usize, resumes: Option<u64>, position: Option<u64>) {
        self.records.push(Record::Connected(Connected {
            listener: listener(edge),
            edge: format!("edge-{edge}"),
            interests: vec!["*".into()],
            resumes: resumes.map(at),
            position: position.map(at),
            at: self.now,
        }));
    }

    /// Everyone catches up, and the audit trail is read.
    fn finish(mut self) -> Vec<Record> {
        self.now += 10 * STEP;
        let head = self.log.len() as u64;
        for edge in 0..EDGES {
            self.catch_up(edge);
            self.records.push(Record::Event(Event {
                listener: listener(edge),
                kind: "heartbeat".into(),
                tags: Vec::new(),
                position: at(head),
                at: self.now + 1,
            }));
        }
        self.records.push(Record::Listing(Listing {
            site: "shop".into(),
            head: at(head),
            invalidations: self.listed,
            invoked: self.now,
            completed: self.now + 1,
        }));
        self.records
    }
}

fn listener(edge: usize) -> String {
    format!("listener-{edge}")
}
