//! Short words for records.

use tidegate_history::{
    Ack, Connected, Event, Invalidate, Listed, Listing, Mode, Position, Read, Record, Reset,
    Status, Write,
};

/// The epoch of everything here.
pub(crate) const EPOCH: u64 = 7;

pub(crate) fn at(revision: u64) -> Position {
    Position {
        epoch: EPOCH,
        revision,
    }
}

/// Version `version` of `/a`, tagged `item:1` and `all`.
pub(crate) fn write(version: u64, invoked: u64, completed: u64) -> Record {
    Record::Write(Write {
        url: "/a".into(),
        version,
        tags: vec!["item:1".into(), "all".into()],
        invoked,
        completed,
    })
}

/// A hard invalidation of `item:1` that completes.
pub(crate) fn call(revision: u64, invoked: u64, completed: u64) -> Invalidate {
    Invalidate {
        site: "shop".into(),
        tags: vec!["item:1".into()],
        urls: Vec::new(),
        mode: Mode::Hard,
        key: None,
        position: Some(at(revision)),
        status: Status::Complete,
        invoked,
        completed,
    }
}

pub(crate) fn invalidate(revision: u64, invoked: u64, completed: u64) -> Record {
    Record::Invalidate(call(revision, invoked, completed))
}

/// `/a` at `version` from `edge-a`.
pub(crate) fn got(version: u64, sent: u64, completed: u64) -> Read {
    Read {
        edge: "edge-a".into(),
        url: "/a".into(),
        status: 200,
        version: Some(version),
        position: None,
        token: None,
        cache: "tidegate; hit".into(),
        sent,
        completed,
    }
}

pub(crate) fn read(version: u64, sent: u64, completed: u64) -> Record {
    Record::Read(got(version, sent, completed))
}

pub(crate) fn ack(revision: u64, invoked: u64, completed: u64) -> Record {
    Record::Ack(Ack {
        what: "site".into(),
        position: at(revision),
        invoked,
        completed,
    })
}

pub(crate) fn connected(resumes: Option<u64>, position: Option<u64>, when: u64) -> Record {
    Record::Connected(Connected {
        listener: "l".into(),
        edge: "edge-a".into(),
        interests: vec!["*".into()],
        resumes: resumes.map(at),
        position: position.map(at),
        at: when,
    })
}

pub(crate) fn event(tags: &[&str], revision: u64, when: u64) -> Record {
    Record::Event(Event {
        listener: "l".into(),
        kind: "invalidate".into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        position: at(revision),
        at: when,
    })
}

pub(crate) fn heartbeat(revision: u64, when: u64) -> Record {
    Record::Event(Event {
        listener: "l".into(),
        kind: "heartbeat".into(),
        tags: Vec::new(),
        position: at(revision),
        at: when,
    })
}

pub(crate) fn reset(revision: u64, when: u64) -> Record {
    Record::Reset(Reset {
        listener: "l".into(),
        position: at(revision),
        at: when,
    })
}

/// The audit trail with `item:1` at these revisions.
pub(crate) fn listing(head: u64, revisions: &[u64], invoked: u64) -> Record {
    let listed = |revision: &u64| Listed {
        revision: *revision,
        patterns: vec!["item:1".into()],
    };
    Record::Listing(Listing {
        site: "shop".into(),
        head: at(head),
        invalidations: revisions.iter().map(listed).collect(),
        invoked,
        completed: invoked + 1,
    })
}
