//! Which lies have to be found, and how.

use super::lie::{Lie, OfShare};
use crate::model::Place;
use crate::scenario::Focus;

/// A lie that has to be found.
#[derive(Debug, Clone, Copy)]
pub struct Sought {
    /// It.
    pub lie: Lie,
    /// By what scenarios.
    pub focus: Focus,
    /// In an answer that was there; anywhere if it is none.
    pub place: Option<Place>,
    /// By one of these rules.
    pub rules: &'static [&'static str],
}

const fn memory(lie: Lie, rules: &'static [&'static str]) -> Sought {
    Sought {
        lie,
        focus: Focus::Memory,
        place: None,
        rules,
    }
}

const fn disk(lie: Lie, rules: &'static [&'static str]) -> Sought {
    Sought {
        lie,
        focus: Focus::Disk,
        place: Some(Place::Disk),
        rules,
    }
}

const fn together(lie: Lie, rules: &'static [&'static str]) -> Sought {
    Sought {
        lie,
        focus: Focus::Together,
        place: Some(Place::UnderWay),
        rules,
    }
}

const fn tier(lie: Lie, rules: &'static [&'static str]) -> Sought {
    Sought {
        lie,
        focus: Focus::Tier,
        place: Some(Place::OtherEdge),
        rules,
    }
}

/// One edge that is asked one thing after the other.
pub const IN_MEMORY: [Sought; 33] = [
    memory(Lie::Directive("must-revalidate"), &["stale"]),
    memory(Lie::Directive("proxy-revalidate"), &["stale"]),
    memory(
        Lie::Directive("no-cache"),
        &["no-cache", "fields for one", "cookie"],
    ),
    memory(Lie::Directive("no-store"), &["no-store"]),
    memory(Lie::Directive("private"), &["private", "fields for one"]),
    memory(Lie::Directive("must-understand"), &["must-understand"]),
    memory(Lie::Directive("max-age"), &["stale", "cookie"]),
    memory(Lie::Directive("s-maxage"), &["stale"]),
    memory(Lie::Field("vary"), &["vary", "fields"]),
    memory(Lie::Field("set-cookie"), &["set-cookie"]),
    memory(Lie::Field("age"), &["age", "stale"]),
    memory(Lie::Field("date"), &["age", "stale"]),
    memory(Lie::Field("expires"), &["stale", "cookie"]),
    memory(Lie::Field("connection"), &["hop-by-hop"]),
    memory(
        Lie::Field("cdn-cache-control"),
        &["stale", "no-store", "no-cache"],
    ),
    memory(
        Lie::Field("surrogate-control"),
        &["stale", "no-store", "no-cache"],
    ),
    memory(Lie::Field("cache-groups"), &["invalidated"]),
    memory(Lie::StaleWindows, &["stale"]),
    memory(
        Lie::Says("content-range", "bytes 0-9/64"),
        &["range", "content"],
    ),
    memory(Lie::RequestDirective("no-cache"), &["request"]),
    memory(Lie::RequestDirective("max-age"), &["request", "stale"]),
    memory(Lie::RequestDirective("min-fresh"), &["request", "stale"]),
    memory(Lie::RequestDirective("only-if-cached"), &["only-if-cached"]),
    memory(Lie::RequestField("authorization"), &["authorization"]),
    memory(Lie::RequestField("cookie"), &["cookie"]),
    memory(Lie::RequestField("if-range"), &["range"]),
    memory(Lie::StrongTags, &["range", "content"]),
    memory(Lie::Changes, &["validation", "condition"]),
    memory(Lie::Invalidations, &["invalidated", "stale"]),
    memory(Lie::SoftInvalidations, &["stale", "invalidated"]),
    memory(Lie::Resets, &["invalidated"]),
    memory(Lie::UnsafeMethods, &["invalidated"]),
    memory(Lie::Tokens, &["token", "invalidated"]),
];

/// What comes from the disk.
pub const ON_DISK: [Sought; 11] = [
    disk(Lie::Field("vary"), &["vary"]),
    disk(Lie::Field("age"), &["age"]),
    disk(Lie::Directive("max-age"), &["stale"]),
    disk(Lie::RequestField("if-range"), &["range"]),
    disk(Lie::Says("etag", "\"one\""), &["fields", "condition"]),
    disk(Lie::Changes, &["validation"]),
    disk(Lie::Invalidations, &["invalidated"]),
    disk(Lie::SoftInvalidations, &["stale"]),
    disk(Lie::UnsafeMethods, &["invalidated"]),
    disk(Lie::Resets, &["invalidated"]),
    disk(Lie::Restarts, &["invalidated"]),
];

/// What is given to those who come while it is being fetched for another.
pub const UNDER_WAY: [Sought; 9] = [
    together(Lie::Directive("private"), &["private"]),
    together(Lie::Directive("no-store"), &["no-store"]),
    together(Lie::Directive("no-cache"), &["no-cache"]),
    together(Lie::Field("set-cookie"), &["set-cookie"]),
    together(Lie::Field("vary"), &["vary"]),
    together(Lie::RequestField("authorization"), &["authorization"]),
    together(Lie::RequestField("cookie"), &["cookie", "own"]),
    together(Lie::Invalidations, &["invalidated"]),
    together(Lie::Resets, &["invalidated"]),
];

/// What another edge shares.
pub const SHARED: [Sought; 9] = [
    tier(Lie::Share(OfShare::Age), &["age", "stale"]),
    tier(Lie::Share(OfShare::Selection), &["vary"]),
    tier(
        Lie::Share(OfShare::Invalidations),
        &["invalidated", "stale"],
    ),
    tier(Lie::Share(OfShare::Fence), &["invalidated", "stale"]),
    tier(Lie::Share(OfShare::Bytes), &["content", "range"]),
    tier(Lie::Directive("private"), &["private"]),
    tier(Lie::Field("set-cookie"), &["set-cookie"]),
    tier(Lie::RequestField("authorization"), &["authorization"]),
    tier(Lie::UnsafeMethods, &["invalidated"]),
];
