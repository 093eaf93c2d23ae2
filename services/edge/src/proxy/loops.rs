//! Fetches that come back as requests for what they fetch: whoever joined the fetch would wait
//! for himself.
//!
//! Of loops that nobody waits in, the number of visits is bounded:
//! [`is_in_a_loop`](crate::origin::fields::is_in_a_loop).

use http::header::{Entry, VIA};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::answer;
use super::flight::FlightKey;
use super::lately::Fingerprints;
use super::rounds::Round;
use super::site::ProxySite;
use super::status::Status;
use super::visit::Ask;
use crate::cache::key::Key;

/// Marks fetches in the comment of their `Via` (RFC 9110, section 7.6.3) by what they fetch.
/// Another edge, and this one after a restart, makes other marks: edges may stand one behind
/// the other and be asked for the same. Who removes the comment is noticed by the visits.
#[derive(Debug, Default)]
pub(super) struct Loops(Fingerprints);

impl Loops {
    /// Marks a fetch. The last `Via` is this edge's own.
    pub(super) fn mark(&self, request: &mut HeaderMap, key: &Key) {
        let Entry::Occupied(mut lines) = request.entry(VIA) else {
            return;
        };
        let Some(own) = lines.iter_mut().last() else {
            return;
        };
        let marked = [own.as_bytes(), b" ", self.comment(key).as_bytes()].concat();
        if let Ok(marked) = HeaderValue::from_bytes(&marked) {
            *own = marked;
        }
    }

    /// Whether a request came by a fetch of the same.
    fn lead_to(&self, request: &HeaderMap, key: &Key) -> bool {
        let mut lines = request.get_all(VIA).iter().peekable();
        // Few requests came by a proxy.
        lines.peek().is_some() && {
            let comment = self.comment(key);
            lines.any(|line| contains(line.as_bytes(), comment.as_bytes()))
        }
    }

    fn comment(&self, key: &Key) -> String {
        format!("({:032x})", self.0.of(key))
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

impl ProxySite {
    /// Refuses a request that would have to wait for a fetch that waits for it.
    pub(super) fn refused_as_loop(&self, ask: &Ask, key: &FlightKey) -> Option<Round> {
        if !self.loops.lead_to(&ask.fields, &ask.key) {
            return None;
        }
        let is_without_head = |key: &FlightKey| {
            let flight = self.flights.find(key);
            flight.is_some_and(|flight| flight.known().is_none())
        };
        let for_others = || FlightKey {
            may_store: true,
            ..key.clone()
        };
        let waits = is_without_head(key) || (!key.may_store && is_without_head(&for_others()));
        waits.then(|| {
            Round::Answered(answer::text(
                StatusCode::LOOP_DETECTED,
                "The request came back to the fetch that it would wait for.\n",
                Status::Refused("loop"),
            ))
        })
    }
}
