//! What the origin says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::URLS;

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

pub(super) fn profile() -> impl Strategy<Value = Profile> {
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

/// Half of the time what edges share with each other, unless a directive forbids it.
pub(super) fn shareable_profile() -> impl Strategy<Value = Profile> {
    let lifetime = select(&["max-age=30", "max-age=10", "s-maxage=30"][..]);
    (profile(), lifetime, any::<bool>()).prop_map(|(mut profile, lifetime, is_shareable)| {
        if is_shareable {
            profile.status = 200;
            profile.cache_control.insert(0, lifetime);
            (profile.targeted, profile.groups) = (None, false);
        }
        profile
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
