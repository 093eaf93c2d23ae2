//! How what a fetch has brought, or that it has brought nothing, becomes the answer to a
//! request. Whether the request may have it was decided before.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};

use super::answer::{self, Source};
use super::body::Body;
use super::flight::Origin;
use super::lookup::Found;
use super::shared_body::{Reader, SharedBody};
use super::site::ProxySite;
use super::status::{Forwarded, Status};
use super::visit::Ask;
use crate::cache::stored::{Head, Stored};
use crate::origin::OriginError;

impl ProxySite {
    /// A response that a fetch has brought whole.
    pub(super) fn whole(
        &self,
        stored: &Stored,
        origin: Origin,
        ask: &Ask,
        mut said: Forwarded,
    ) -> Response<Body> {
        match origin {
            Origin::Validated => {
                said = said.of(StatusCode::NOT_MODIFIED);
                said.is_first_hand = !said.is_collapsed;
            }
            Origin::Pushed => said.detail = Some("entry"),
            Origin::Shared => said.detail = Some("shared"),
        }
        let age = stored.head.terms.freshness.age(self.shared.now());
        said.ttl = said.is_stored.then(|| self.ttl(&stored.head));
        answer::stored(
            stored,
            &ask.method,
            &ask.fields,
            age,
            Status::Forwarded(said),
        )
    }

    /// A response that arrives; `None` if what is asked for of it cannot be had any more.
    pub(super) fn streaming(
        &self,
        head: &Head,
        body: &Arc<SharedBody>,
        reader: Option<Reader>,
        ask: &Ask,
        mut said: Forwarded,
    ) -> Option<Response<Body>> {
        said.ttl = said.is_stored.then(|| self.ttl(head));
        said.is_first_hand = !said.is_collapsed;
        let age = head.terms.freshness.age(self.shared.now());
        let status = Status::Forwarded(said);
        let source = Source::Arriving(body, reader);
        answer::answer(head, &ask.method, &ask.fields, age, status, source)
    }

    fn ttl(&self, head: &Head) -> i64 {
        let (left, over) = head.terms.freshness.left_and_over(self.shared.now());
        // Both are bounded far below what overflows.
        left.as_secs().cast_signed() - over.as_secs().cast_signed()
    }

    /// What there is where a fetch has brought nothing.
    pub(super) fn failed(
        &self,
        ask: &Ask,
        found: &Found,
        mut said: Forwarded,
        error: &OriginError,
    ) -> Response<Body> {
        // Whatever was to be stored is gone.
        said.is_stored = false;
        if let OriginError::Failing(status) = error {
            said = said.of(*status);
        }
        if let Some(copy) = found.without_answer(error) {
            return self.despite_error(copy, ask, said);
        }
        said.detail = Some(error.reason());
        answer::failed(error, Status::Forwarded(said))
    }

    pub(super) fn forced_too_often(&self, ask: &Ask, found: &Found) -> Response<Body> {
        let said = Forwarded::because(found.why);
        self.failed(ask, found, said, &OriginError::ForcedTooOften)
    }

    /// RFC 5861, section 4, and RFC 9111, section 4.2.4. `said` is what came of asking the
    /// origin.
    pub(super) fn despite_error(
        &self,
        copy: &Stored,
        ask: &Ask,
        mut said: Forwarded,
    ) -> Response<Body> {
        said.detail = Some("stale-if-error");
        let age = copy.head.terms.freshness.age(self.shared.now());
        let status = Status::Forwarded(said);
        answer::stale(copy, &ask.method, &ask.fields, age, status)
    }
}

/// The response with the fields that only the one who asked for it gets.
pub(super) fn with(mut response: Response<Body>, for_one: &HeaderMap) -> Response<Body> {
    for (name, value) in for_one {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// What is said of a request that took part in the fetch of another.
pub(super) fn collapsed(found: &Found) -> Forwarded {
    let mut said = Forwarded::because(found.why);
    said.is_collapsed = true;
    said
}

/// What was brought is not there any more.
pub(super) fn gone() -> OriginError {
    OriginError::Broken {
        upstream: "the origin".into(),
        cause: "the response is gone".into(),
    }
}
