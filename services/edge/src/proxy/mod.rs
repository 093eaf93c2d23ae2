//! Cached and uncached responses of the origin: one request, from the look-up to the
//! last byte.
//!
//! - [`ProxySite`]: what is kept for one site; [`Shared`]: what all sites share.
//! - `decide`: what is to be done with a request; `lookup`: doing it, as far as the cache
//!   can answer at once; `explain`: saying what would be done, and why.
//! - `awaken`: what is stored on disk, back to memory before anything is decided.
//! - `forward`: what it cannot: join a fetch that is under way or start one; `rounds`: what
//!   a request does that has joined one; `loops`: which one it must not; `brought`: what a
//!   fetch has brought, as an answer.
//! - `flight`, `flights`, `shared_body`: a fetch and those who wait for it; `pieces`: what is
//!   kept of a body meanwhile.
//! - `departure`: when a fetch begins; `revalidations`: the places it may need;
//!   `forced`: how often a token may ask for one.
//! - `fetch`: the fetch itself, from the request to the origin to the head of its response;
//!   `tier`: what the control plane holds, looked for before; `fill`: the body, up to the
//!   stored copy; `share`: what other edges get of it, within the bounds of `second_tier`;
//!   `silences`: how often it is said that the control plane gives no answer;
//!   `listing`: for how long it can be joined; `not_shared`: what is only for who began it,
//!   and `uncacheable`: for how long that is remembered.
//! - `freshen`: stored responses that are updated by the answer to something else.
//! - `part`: fetches of parts, and how parts become one.
//! - `failures`: what keeps an origin that is down from being asked at the rate of hits;
//!   `lately`: what was learned of some keys a moment ago.
//! - `pass`: what is passed on as it comes: other methods, upgrades, several ranges;
//!   `tunnel`: what an upgrade leads to.
//! - `posted`: responses to POST that answer a later GET.
//! - `warm`: hints, fetched ahead of those who will ask, `ways`: how they will ask.
//! - `answer`, `status`: how a response leaves.

mod answer;
mod awaken;
mod body;
mod brought;
mod changed;
mod confirm;
mod decide;
mod departure;
mod entries;
mod explain;
mod failures;
mod fetch;
mod fill;
mod flight;
mod flights;
mod forced;
mod forward;
mod freshen;
mod head;
mod lately;
mod listing;
mod lookup;
mod loops;
mod not_shared;
mod part;
mod pass;
mod pieces;
mod posted;
mod promise;
mod revalidations;
mod rounds;
mod second_tier;
mod setup;
mod share;
mod shared;
mod shared_body;
mod silences;
mod site;
mod status;
#[cfg(test)]
mod tests;
mod tier;
mod tunnel;
mod uncacheable;
mod visit;
mod warm;
mod ways;

pub use crate::cache::judge::Demand;
pub use answer::OlderThanPosition;
pub use body::Body;
pub use entries::{EntrySource, PushedEntry, VISITOR};
pub use explain::{CopyFacts, Explanation, LastHit, Would};
pub use revalidations::RevalidationLimits;
pub use second_tier::{
    FetchNumber, SecondTier, TierAnswer, TierPlace, TierQuestion, TierShare, TierStats, TierStored,
    TierTurn, Unanswered,
};
pub use shared::{Shared, SharedConfig, SharedStats};
pub use site::{NothingHere, ProxySite, SiteStats};
pub(crate) use status::status_of_hit_behind;
pub use tunnel::TunnelBounds;
pub use visit::Visit;
pub(crate) use visit::port;
pub use warm::WarmPlace;
