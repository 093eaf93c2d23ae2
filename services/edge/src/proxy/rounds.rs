//! What a request does that takes part in the fetches of others: it is answered, takes part
//! in another one, or goes alone. However it goes on, it ends.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::time::Instant;

use super::body::Body;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::vary::Selection;
use crate::origin::OriginError;

/// How often a request takes part in a common fetch whose response does not hold for it
/// before it goes alone, or is an error before it fails.
const MAX_ROUNDS: usize = 3;

/// What came of taking part in a fetch.
pub(super) enum Round {
    Answered(Response<Body>),
    /// Its response does not hold for this request. The next fetch is for requests like this
    /// one: it is known what the response varies on.
    OfOthers(Selection),
    /// It takes long, or was given up. Once in a while another one begins, for all who wait.
    Late,
    /// The origin answered with an error of its own, which is for nobody else, to one who is known
    /// by this.
    Failing(StatusCode, Asked),
    /// Its connection broke before there was a response: that may be because of what the
    /// one who began it has sent.
    Broken(Arc<OriginError>),
    /// Its response is for the one who began it, by this of what he is known by, if it is by
    /// that.
    Private(Asked),
    /// Its response cannot be shared with this request.
    Alone,
    /// No entry answers it, and there was no origin.
    Nothing,
}

/// What follows from it.
pub(super) enum Next {
    Answer(Response<Body>),
    Fail(Arc<OriginError>),
    /// Another fetch, of others or of its own that others may join.
    Again,
    /// A fetch of its own that nobody joins.
    Alone,
    /// What does without entries.
    Nothing,
}

/// The way of one request.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Until when it waits for others.
    ends: Instant,
    /// What it is known by.
    asked: Asked,
    /// Responses that did not hold for it, or were errors.
    taken: usize,
    /// A connection broke.
    has_broken: bool,
    /// See [`avoided`](Self::avoided).
    avoided: Asked,
    /// What its next fetch varies by, as far as that is known.
    pub(super) selection: Selection,
}

impl Rounds {
    pub(super) fn new(asked: Asked, selection: Selection, ends: Instant) -> Self {
        Self {
            ends,
            asked,
            taken: 0,
            has_broken: false,
            avoided: Asked::default(),
            selection,
        }
    }

    /// It waits no more for the head of what somebody has begun who is known by this: one of
    /// them was given what is for him. So of those who come one after the other none but the
    /// first holds it up.
    pub(super) fn avoided(&self) -> Asked {
        self.avoided
    }

    /// Counts a response that was of no use. Whether to wait for one more.
    fn may_take_another(&mut self) -> bool {
        self.taken += 1;
        self.taken < MAX_ROUNDS
    }

    pub(super) fn after(&mut self, round: Round) -> Next {
        match round {
            Round::Answered(response) => Next::Answer(response),
            Round::OfOthers(selection) => {
                self.selection = selection;
                match self.may_take_another() {
                    true => Next::Again,
                    false => Next::Alone,
                }
            }
            // That he is known by something may be why. Who is not known by that hears more.
            Round::Failing(_, by) if by.is_known() && !by.overlaps(self.asked) => {
                self.avoided = self.avoided.union(by);
                Next::Again
            }
            // Alone, each of those who wait would ask an origin that fails, all at once.
            Round::Failing(status, _) => match self.may_take_another() {
                true => Next::Again,
                false => Next::Fail(Arc::new(OriginError::Failing(status))),
            },
            Round::Late if Instant::now() < self.ends => Next::Again,
            Round::Late => Next::Fail(Arc::new(too_late())),
            Round::Broken(error) if self.has_broken => Next::Fail(error),
            Round::Broken(_) => {
                self.has_broken = true;
                Next::Again
            }
            // Who is not known by that shares what may be for all.
            Round::Private(by) if by.is_known() && !by.overlaps(self.asked) => {
                self.avoided = self.avoided.union(by);
                Next::Again
            }
            Round::Private(_) | Round::Alone => Next::Alone,
            Round::Nothing => Next::Nothing,
        }
    }
}

fn too_late() -> OriginError {
    OriginError::FirstByteTimeout("the origin".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_error_counts_for_who_is_known_by_the_same_alone() {
        let nobody = Asked::default();
        let by_cookie = Asked {
            cookie: true,
            ..nobody
        };
        let went = |asked, by| {
            let ends = Instant::now() + Duration::from_secs(60);
            let mut rounds = Rounds::new(asked, Selection::default(), ends);
            let error = || Round::Failing(StatusCode::INTERNAL_SERVER_ERROR, by);
            let is_again = |next| matches!(next, Next::Again);
            let again = (0..9)
                .take_while(|_| is_again(rounds.after(error())))
                .count();
            (again, rounds.avoided())
        };
        assert_eq!(went(nobody, nobody), (2, nobody));
        assert_eq!(went(by_cookie, by_cookie), (2, nobody));
        assert_eq!(went(by_cookie, nobody), (2, nobody));
        assert_eq!(went(nobody, by_cookie), (9, by_cookie));
    }
}
