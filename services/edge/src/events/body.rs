//! One connection: a place in its group's ring.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::caps::Permit;
use super::group::{Group, Reader, Taken};
use super::site::SiteEvents;

/// The body of an answer of [`SiteEvents::serve`]: a stream of events, or a short
/// text.
pub struct EventsBody(Inner);

enum Inner {
    Text(Bytes),
    Live(Live),
}

/// An open stream. Everything a connection costs here is this struct, its slot
/// among the group's sleepers and its part in the counts of open connections.
pub(super) struct Live {
    member: Member,
    reader: Reader,
    /// The pulse up to which everything was taken.
    seen: u64,
    /// What is sent before all else.
    opening: Bytes,
    /// When its life ends, in nanoseconds since boot.
    ends: u64,
    slot: Option<u32>,
    waker: Option<Waker>,
    is_over: bool,
    _permit: Permit,
}

/// Membership of a group; left when dropped.
pub(super) struct Member {
    pub(super) site: Arc<SiteEvents>,
    pub(super) group: Arc<Group>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.site.leave(&self.group);
    }
}

impl EventsBody {
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self(Inner::Text(text.into()))
    }

    pub(super) fn live(live: Live) -> Self {
        Self(Inner::Live(live))
    }
}

impl Live {
    pub(super) fn new(
        member: Member,
        reader: Reader,
        seen: u64,
        opening: Bytes,
        ends: u64,
        permit: Permit,
    ) -> Self {
        Self {
            member,
            reader,
            seen,
            opening,
            ends,
            slot: None,
            waker: None,
            is_over: false,
            _permit: permit,
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if !self.opening.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.opening)));
        }
        let mut registered = self.is_registered(cx);
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let pulse = self.member.group.pulse();
            if pulse != self.seen {
                if let Some(bytes) = self.take(pulse) {
                    return Poll::Ready(Some(bytes));
                }
                continue;
            }
            if self.ends <= self.member.site.tick_time() {
                self.is_over = true;
                continue;
            }
            if registered {
                return Poll::Pending;
            }
            // Whatever happened before the waker was there is looked for once more.
            self.register(cx);
            registered = true;
        }
    }

    /// Takes what is ready. If that is nothing, everything up to `pulse` is seen.
    fn take(&mut self, pulse: u64) -> Option<Bytes> {
        let Member { site, group } = &self.member;
        match group.take(&mut self.reader) {
            Taken::Chunk(bytes) => Some(bytes),
            Taken::Behind => Some(site.catch_up(group, &mut self.reader)).filter(|b| !b.is_empty()),
            Taken::Last(bytes) => {
                self.is_over = true;
                Some(bytes)
            }
            Taken::Nothing => {
                self.seen = pulse;
                None
            }
        }
    }

    /// It may say no of a waker that is registered, so it is asked once.
    fn is_registered(&self, cx: &Context<'_>) -> bool {
        self.waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    fn register(&mut self, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        self.waker = Some(waker.clone());
        self.slot = Some(self.member.group.register(self.slot, waker, self.ends));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.member.group.unregister(slot);
        }
    }
}

impl Body for EventsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.get_mut().0 {
            Inner::Text(text) if text.is_empty() => None,
            Inner::Text(text) => Some(std::mem::take(text)),
            Inner::Live(live) => std::task::ready!(live.poll(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Text(text) => text.is_empty(),
            Inner::Live(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Text(text) => SizeHint::with_exact(text.len() as u64),
            Inner::Live(_) => SizeHint::default(),
        }
    }
}
