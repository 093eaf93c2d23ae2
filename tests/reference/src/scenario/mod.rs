//! What is tried, as plain values: they are printed when something fails, and they shrink.
//!
//! Few URLs, short lifetimes and small bodies, so that much meets in a few steps.

mod ask;
mod profile;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub use ask::{Ask, AskToken, Condition, IfRange};
pub use profile::{OnChange, Profile, Validator};

use crate::model::Settings;
use ask::{ask, plain_ask};
use profile::{profile, shareable_profile};

/// URLs that are asked for.
pub const URLS: [&str; 3] = ["/a", "/b?x=1", "/c"];

/// A site and what happens to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where its responses are kept.
    pub house: House,
    /// What the site says of responses that say nothing.
    pub settings: Settings,
    /// What the origin says of each URL in the beginning.
    pub profiles: Vec<Profile>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Where responses are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct House {
    /// How many edges there are: one, or two that share what they fetch.
    pub edges: usize,
    /// Whether each has a disk.
    pub disk: bool,
}

/// What scenarios are about most. Each seed has one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// One edge without a disk, which is asked one thing after the other.
    Memory,
    /// What memory had no room for, and is on disk.
    Disk,
    /// What is asked while the same is being fetched.
    Together,
    /// What one edge shares with the other.
    Tier,
    /// All of that.
    All,
}

impl Focus {
    const EACH: [Self; 5] = [
        Self::Memory,
        Self::Disk,
        Self::Together,
        Self::Tier,
        Self::All,
    ];

    /// That of a seed: five that follow each other have all.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let index = seed % Self::EACH.len() as u64;
        Self::EACH[usize::try_from(index).unwrap_or(0)]
    }

    fn house(self) -> House {
        House {
            edges: match self {
                Self::Memory | Self::Disk | Self::Together => 1,
                Self::Tier | Self::All => 2,
            },
            disk: matches!(self, Self::Disk | Self::All),
        }
    }
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
        /// The first of two edges hears of it behind what is asked next.
        late: bool,
    },
    /// The edges begin another history.
    Reset,
    /// Several ask, and other things happen, before the origin answers what reaches it
    /// meanwhile. What it answers with is as of when it was asked.
    Together {
        /// What happens; who visits is not waited for.
        steps: Vec<Step>,
        /// It answers in the opposite order.
        last_first: bool,
        /// What edges look for of what others share is settled when they do, and told to them
        /// after all that.
        late_look_ups: bool,
    },
    /// Memory has no room any more for what is in it. Without a disk nothing happens.
    PushOut,
    /// An edge ends, and begins again with the same folder. Without one nothing happens.
    Restart(usize),
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

/// Scenarios of a moderate length.
pub fn scenarios(focus: Focus) -> impl Strategy<Value = Scenario> {
    let profiles = vec(profile_for(focus), URLS.len());
    let steps = vec(step(focus), 4..40);
    (settings(), profiles, steps).prop_map(move |(settings, profiles, steps)| Scenario {
        house: focus.house(),
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

fn profile_for(focus: Focus) -> BoxedStrategy<Profile> {
    match focus {
        Focus::Memory | Focus::Disk | Focus::Together => profile().boxed(),
        Focus::Tier | Focus::All => shareable_profile().boxed(),
    }
}

fn step(focus: Focus) -> BoxedStrategy<Step> {
    let restart = || (0..2_usize).prop_map(Step::Restart);
    match focus {
        Focus::Memory => simple_step(focus).boxed(),
        Focus::Disk => prop_oneof![
            44 => simple_step(focus),
            9 => Just(Step::PushOut),
            1 => restart(),
        ]
        .boxed(),
        Focus::Together => prop_oneof![30 => simple_step(focus), 14 => together(focus)].boxed(),
        Focus::Tier => prop_oneof![36 => simple_step(focus), 7 => together(focus)].boxed(),
        Focus::All => prop_oneof![
            40 => simple_step(focus),
            8 => together(focus),
            5 => Just(Step::PushOut),
            1 => restart(),
        ]
        .boxed(),
    }
}

fn simple_step(focus: Focus) -> impl Strategy<Value = Step> {
    let visit = ask().prop_map(|ask| Step::Visit(Box::new(ask)));
    prop_oneof![24 => visit, 17 => event(focus), 3 => health().prop_map(Step::Origin)]
}

/// What nobody gets an answer to.
fn event(focus: Focus) -> impl Strategy<Value = Step> {
    let url = || 0..URLS.len();
    prop_oneof![
        7 => select(&[500, 1_000, 2_000, 5_000, 8_000, 11_000, 31_000][..]).prop_map(Step::Wait),
        3 => url().prop_map(Step::Change),
        3 => (url(), profile_for(focus)).prop_map(|(url, profile)| Step::Say(url, Box::new(profile))),
        3 => invalidate(),
        1 => Just(Step::Reset),
    ]
}

/// Mostly visits to one URL.
fn together(focus: Focus) -> impl Strategy<Value = Step> {
    let visit = || {
        let ask = prop_oneof![3 => plain_ask(), 2 => ask()];
        (ask, prop::bool::weighted(0.9))
    };
    let other = prop_oneof![4 => event(focus), 4 => invalidate(), 1 => Just(Step::PushOut)];
    let more = vec(
        prop_oneof![3 => visit().prop_map(Ok), 1 => other.prop_map(Err)],
        1..5,
    );
    let how = (any::<bool>(), any::<bool>());
    (0..URLS.len(), visit(), more, how).prop_map(|(url, first, more, how)| {
        let (last_first, late_look_ups) = how;
        let all = std::iter::once(Ok(first)).chain(more);
        let steps = all.map(|one| match one {
            Ok((mut ask, is_of_it)) => {
                if is_of_it {
                    ask.url = url;
                }
                Step::Visit(Box::new(ask))
            }
            Err(other) => other,
        });
        Step::Together {
            steps: steps.collect(),
            last_first,
            late_look_ups,
        }
    })
}

const PATTERNS: [&str; 7] = [
    "item:1", "item:2", "item:*", "news", "url:/a", "url:/b*", "*",
];

fn invalidate() -> impl Strategy<Value = Step> {
    (select(&PATTERNS[..]), any::<bool>(), any::<bool>()).prop_map(|(pattern, hard, late)| {
        Step::Invalidate {
            pattern,
            hard,
            late,
        }
    })
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
