//! What is tried, as plain values: they are printed when something fails, and they shrink.
//!
//! Few URLs, short lifetimes and small bodies, so that much meets in a few steps.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::model::Settings;

/// URLs that are asked for.
pub const URLS: [&str; 3] = ["/a", "/b?x=1", "/c"];

/// A site and what happens to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What the site says of responses that say nothing.
    pub settings: Settings,
    /// What the origin says of each URL in the beginning.
    pub profiles: Vec<Profile>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// Somebody asks.
    Visit(Box<Ask>),
    /// So many milliseconds pass.
    Wait(u64),
    /// The content of a URL changes.
    Change(usize),
    /// The origin says something else of a URL from now on.
    Say(usize, Box<Profile>),
    /// The origin is well or not from now on.
    Origin(Health),
    /// A backend invalidates.
    Invalidate {
        /// What.
        pattern: &'static str,
        /// Whether copies may not be used any more.
        hard: bool,
    },
    /// The edge begins another history.
    Reset,
}

/// How the origin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers, after so many milliseconds.
    Well(u64),
    /// It answers everything with this status.
    Failing(u16),
    /// It hangs up on every request.
    HangsUp,
    /// It takes no connection.
    Gone,
    /// Its bodies break off in the middle.
    Breaks,
}

/// How versions are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validator {
    /// Not at all.
    None,
    /// By a strong entity tag.
    Strong,
    /// By a weak one.
    Weak,
    /// By a weak one that stays when the content changes.
    Lax,
    /// By their date.
    Date,
    /// By a strong entity tag and their date.
    Both,
}

/// What the origin says of a URL.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Status.
    pub status: u16,
    /// `Cache-Control`.
    pub cache_control: Vec<&'static str>,
    /// A targeted field and its value.
    pub targeted: Option<(&'static str, &'static str)>,
    /// `Expires`, in seconds from now; `None` in it is a date that cannot be read.
    pub expires: Option<Option<i64>>,
    /// `Age`.
    pub age: Option<u64>,
    /// `Date`, in seconds before now; none at all otherwise.
    pub date: Option<u64>,
    /// `Vary`.
    pub vary: &'static str,
    /// How versions are told apart.
    pub validator: Validator,
    /// How long before it is shown a version says that it was modified, in seconds.
    pub modified_before: u64,
    /// Bytes.
    pub length: usize,
    /// Whether ranges are heeded.
    pub ranges: bool,
    /// `Set-Cookie`.
    pub cookie: bool,
    /// `Cache-Tag`.
    pub tags: &'static str,
    /// `Cache-Groups`.
    pub groups: bool,
    /// Whether a 304 says nothing but its validators.
    pub terse: bool,
    /// What an unsafe request does besides, by its response.
    pub on_change: OnChange,
}

/// What the response to an unsafe request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// That it was done.
    Done,
    /// That it was refused.
    Refused,
    /// That another URL of the site is concerned too.
    Location(usize),
    /// That a group is concerned.
    Group,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
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

/// Scenarios of a moderate length.
pub fn scenarios() -> impl Strategy<Value = Scenario> {
    let profiles = vec(profile(), URLS.len());
    (settings(), profiles, vec(step(), 4..40)).prop_map(|(settings, profiles, steps)| Scenario {
        settings,
        profiles,
        steps,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let time = |values: &'static [u64]| select(values);
    (
        time(&[0, 0, 6_000]),
        time(&[0, 0, 4_000]),
        time(&[0, 0, 8_000]),
        time(&[0, 0, 15_000]),
        time(&[0, 10_000, 60_000]),
    )
        .prop_map(
            |(default_ttl, negative_ttl, swr, sie, unreachable)| Settings {
                default_ttl,
                negative_ttl,
                stale_while_revalidate: swr,
                stale_if_error: sie,
                stale_if_unreachable: unreachable,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let url = || 0..URLS.len();
    prop_oneof![
        24 => ask().prop_map(|ask| Step::Visit(Box::new(ask))),
        7 => select(&[500, 1_000, 2_000, 5_000, 8_000, 11_000, 31_000][..]).prop_map(Step::Wait),
        3 => url().prop_map(Step::Change),
        3 => (url(), profile()).prop_map(|(url, profile)| Step::Say(url, Box::new(profile))),
        3 => health().prop_map(Step::Origin),
        3 => (patterns(), any::<bool>())
            .prop_map(|(pattern, hard)| Step::Invalidate { pattern, hard }),
        1 => Just(Step::Reset),
    ]
}

fn patterns() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "item:1", "item:2", "item:*", "news", "url:/a", "url:/b*", "*",
        ][..],
    )
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        14 => Just(Health::Well(0)),
        2 => select(&[400, 1_000, 3_000][..]).prop_map(Health::Well),
        2 => select(&[500, 503, 504][..]).prop_map(Health::Failing),
        1 => Just(Health::HangsUp),
        1 => Just(Health::Gone),
        1 => Just(Health::Breaks),
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    let said = (
        prop_oneof![10 => Just(200), 2 => select(&[404, 203, 500, 302, 299][..])],
        directives(),
        prop_oneof![8 => Just(None), 2 => select(&TARGETED[..]).prop_map(Some)],
        prop_oneof![
            8 => Just(None),
            2 => select(&[None, Some(-5), Some(10), Some(40)][..]).prop_map(Some)
        ],
        prop_oneof![8 => Just(None), 2 => select(&[2_u64, 20][..]).prop_map(Some)],
        prop_oneof![7 => Just(Some(0)), 2 => select(&[None, Some(3), Some(25)][..])],
    );
    let shown = (
        prop_oneof![6 => Just(""), 4 => select(&VARY[..])],
        select(
            &[
                Validator::None,
                Validator::Strong,
                Validator::Strong,
                Validator::Weak,
                Validator::Lax,
                Validator::Date,
                Validator::Both,
            ][..],
        ),
        select(&[0, 1, 50, 600][..]),
        select(&[0, 1, 30, 64, 90][..]),
        prop::bool::weighted(0.8),
    );
    let besides = (
        prop::bool::weighted(0.08),
        select(&["", "", "item:1", "item:1 news", "item:2"][..]),
        prop::bool::weighted(0.3),
        any::<bool>(),
        prop_oneof![
            Just(OnChange::Done),
            Just(OnChange::Refused),
            (0..URLS.len()).prop_map(OnChange::Location),
            Just(OnChange::Group),
        ],
    );
    (said, shown, besides).prop_map(|(said, shown, besides)| Profile {
        status: said.0,
        cache_control: said.1,
        targeted: said.2,
        expires: said.3,
        age: said.4,
        date: said.5,
        vary: shown.0,
        validator: shown.1,
        modified_before: shown.2,
        length: shown.3,
        ranges: shown.4,
        cookie: besides.0,
        tags: besides.1,
        groups: besides.2,
        terse: besides.3,
        on_change: besides.4,
    })
}

const VARY: [&str; 4] = [
    "accept-encoding",
    "Accept-Language, x-device",
    "x-device",
    "*",
];

const TARGETED: [(&str, &str); 8] = [
    ("cdn-cache-control", "max-age=12"),
    ("cdn-cache-control", "max-age=0"),
    ("cdn-cache-control", "no-store"),
    ("cdn-cache-control", "no-cache"),
    ("cdn-cache-control", "max-age=5, stale-while-revalidate=9"),
    ("cdn-cache-control", "max-age=\"60\""),
    ("surrogate-control", "max-age=15"),
    ("surrogate-control", "no-store"),
];

fn directives() -> impl Strategy<Value = Vec<&'static str>> {
    let lifetime = prop_oneof![
        6 => select(&["max-age=5", "max-age=10", "max-age=30", "s-maxage=8"][..]).prop_map(Some),
        2 => select(&["max-age=0", "max-age=\"20\"", "max-age=x", "s-maxage=0"][..]).prop_map(Some),
        2 => Just(None),
    ];
    (lifetime, vec(select(&DIRECTIVES[..]), 0..3)).prop_map(|(lifetime, rest)| {
        let mut all: Vec<_> = lifetime.into_iter().chain(rest).collect();
        all.dedup();
        all
    })
}

const DIRECTIVES: [&str; 17] = [
    "public",
    "public",
    "must-revalidate",
    "must-revalidate",
    "proxy-revalidate",
    "no-cache",
    "no-store",
    "private",
    "stale-while-revalidate=10",
    "stale-while-revalidate=10",
    "stale-if-error=20",
    "stale-if-error=20",
    "immutable",
    "must-understand",
    "private=\"x-secret\"",
    "no-cache=\"x-secret\"",
    "max-age=3",
];

fn ask() -> impl Strategy<Value = Ask> {
    let what = (
        0..URLS.len(),
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
        url: what.0,
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

const SENT: [(&str, &str); 14] = [
    ("accept-encoding", "gzip"),
    ("accept-encoding", "*"),
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
    ("cookie", "who=me"),
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
