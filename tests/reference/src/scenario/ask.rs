//! What visitors ask for.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::URLS;

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// By its number, of which edge; if there is only one, of that.
    pub edge: usize,
    /// Of which URL.
    pub url: usize,
    /// The method.
    pub method: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// Fields that are sent as they are.
    pub fields: Vec<(&'static str, &'static str)>,
    /// Conditions.
    pub condition: Condition,
    /// `Range`.
    pub range: &'static str,
    /// `If-Range`.
    pub if_range: IfRange,
    /// Its consistency token.
    pub token: AskToken,
    /// Which of the versions it has seen its conditions speak of.
    pub seen: Index,
}

/// Conditions of a request. What they speak of is something that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// `If-None-Match`.
    Tag,
    /// `If-None-Match: *`.
    AnyTag,
    /// `If-None-Match` with a tag that never was.
    OtherTag,
    /// `If-Modified-Since`, so many seconds off.
    Since(i64),
    /// `If-None-Match` with a tag that never was, and `If-Modified-Since` that holds.
    OtherTagAndSince,
    /// `If-Match`.
    Match,
}

/// `If-Range` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfRange {
    /// None.
    None,
    /// An entity tag that was seen.
    Tag,
    /// A date that was seen.
    Date,
    /// A tag that never was.
    Other,
}

/// The consistency token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskToken {
    /// None.
    None,
    /// Of what was invalidated last.
    Newest,
    /// Of another history.
    Unknown,
}

/// What is asked for where several ask at once: mostly what others may have, and half of the
/// time without anything besides.
pub(super) fn plain_ask() -> impl Strategy<Value = Ask> {
    let fields = vec(select(&SENT[..]), 0..2);
    let token = prop_oneof![8 => Just(AskToken::None), 1 => Just(AskToken::Newest)];
    (edge(), fields, token, any::<Index>()).prop_map(|(edge, fields, token, seen)| Ask {
        edge,
        url: 0,
        method: "GET",
        cache_control: "",
        fields,
        condition: Condition::None,
        range: "",
        if_range: IfRange::None,
        token,
        seen,
    })
}

/// Mostly the first.
fn edge() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 2 => Just(1)]
}

pub(super) fn ask() -> impl Strategy<Value = Ask> {
    let what = (
        (edge(), 0..URLS.len()),
        prop_oneof![
            16 => Just("GET"),
            2 => Just("HEAD"),
            1 => select(&["POST", "PUT", "DELETE"][..]),
        ],
        prop_oneof![12 => Just(""), 6 => select(&ASKED[..])],
        vec(select(&SENT[..]), 0..3),
    );
    let how = (
        prop_oneof![
            12 => Just(Condition::None),
            2 => Just(Condition::Tag),
            3 => select(
                &[
                    Condition::AnyTag,
                    Condition::OtherTag,
                    Condition::Since(0),
                    Condition::Since(-1),
                    Condition::Since(1_000),
                    Condition::OtherTagAndSince,
                    Condition::Match,
                ][..],
            ),
        ],
        prop_oneof![10 => Just(""), 6 => select(&RANGES[..])],
        prop_oneof![
            6 => Just(IfRange::None),
            3 => select(&[IfRange::Tag, IfRange::Date, IfRange::Other][..]),
        ],
        prop_oneof![
            12 => Just(AskToken::None),
            2 => Just(AskToken::Newest),
            1 => Just(AskToken::Unknown),
        ],
        any::<Index>(),
    );
    (what, how).prop_map(|(what, how)| Ask {
        edge: what.0.0,
        url: what.0.1,
        method: what.1,
        cache_control: what.2,
        fields: what.3,
        condition: how.0,
        range: how.1,
        if_range: how.2,
        token: how.3,
        seen: how.4,
    })
}

const ASKED: [&str; 11] = [
    "no-cache",
    "no-store",
    "max-age=0",
    "max-age=4",
    "min-fresh=4",
    "max-stale",
    "max-stale=6",
    "only-if-cached",
    "stale-if-error=30",
    "only-if-cached, max-stale=20",
    "no-cache, stale-if-error=30",
];

const SENT: [(&str, &str); 18] = [
    ("accept-encoding", "gzip"),
    ("accept-encoding", "*"),
    ("accept-encoding", "gzip;q=0"),
    ("accept-encoding", "identity"),
    ("accept-encoding", "gzip;q=0, *"),
    ("accept-encoding", "*;q=0"),
    ("accept-encoding", "identity, *;q=0"),
    ("accept-encoding", "br, gzip"),
    ("accept-encoding", "gzip;q=1.0,br"),
    ("accept-language", "en"),
    ("accept-language", "de, en;q=0.5"),
    ("x-device", "phone"),
    ("x-device", "desk"),
    ("x-device", "desk"),
    ("authorization", "Basic eDp5"),
    ("authorization", "Basic ejp6"),
    ("cookie", "who=me"),
    ("cookie", "who=you"),
];

const RANGES: [&str; 9] = [
    "bytes=0-9",
    "bytes=10-19",
    "bytes=20-",
    "bytes=-12",
    "bytes=5-40",
    "bytes=0-4,10-14",
    "bytes=0-4,3-9, 40-50",
    "bytes=500-",
    "bytes=9-2",
];
