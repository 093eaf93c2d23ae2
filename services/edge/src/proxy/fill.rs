//! The body of a response that is shared: from the origin to those who read it, and
//! into the storage.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::fetch::Errand;
use super::flight::GONE_FOR;
use super::head;
use super::not_shared::NotShared;
use super::part::Content;
use super::share::NotOffered;
use super::shared_body::{Fate, SharedBody};
use crate::cache::fence::Touched;
use crate::cache::stored::{Head, Stored, StoredBody};
use crate::origin::OriginBody;

/// How often a body that others read lets them run.
const YIELD_EVERY: usize = 16;
/// Why a body is not read on.
const NOBODY: &str = "nobody reads it";

/// A response whose body is shared.
pub(super) struct Arriving {
    pub(super) head: Arc<Head>,
    pub(super) shared: Arc<SharedBody>,
    pub(super) body: OriginBody,
    pub(super) content: Content,
}

impl Errand {
    /// Reads the body to its end and stores it, unless it breaks, is too large, finds no
    /// room, or was invalidated meanwhile.
    pub(super) async fn pump(&mut self, arriving: Arriving) {
        let Arriving {
            head,
            shared,
            body,
            content,
        } = arriving;
        if let Err(why) = self.read(&shared, body, &content).await {
            return shared.end(Err(why));
        }
        let Some((chunks, len)) = shared.whole() else {
            return;
        };
        let body = StoredBody::copy_of(chunks.iter(), len);
        if self.store(&head, &content, &body) {
            shared.stored(&body);
        } else {
            shared.not_stored();
        }
    }

    /// Reads the body to its end, with what is here already before and behind it.
    ///
    /// # Errors
    /// Why it broke.
    async fn read(
        &mut self,
        shared: &SharedBody,
        mut body: OriginBody,
        content: &Content,
    ) -> Result<(), Arc<str>> {
        let (before, mut left, behind) = match content {
            Content::Rest {
                before,
                bytes,
                behind,
            } => (&before[..], Some(*bytes), &behind[..]),
            Content::Whole | Content::Part(_) => (&[][..], None, &[][..]),
        };
        for piece in before {
            self.push(shared, piece.clone());
        }
        let mut chunks = 0;
        while let Some(chunk) = self.next_chunk(shared, &mut body).await? {
            if let Some(left) = &mut left {
                // Nobody may take for the end what is only as much as was announced.
                *left = left
                    .checked_sub(chunk.len() as u64)
                    .ok_or("a part is longer than it said")?;
            }
            self.push(shared, chunk);
            chunks += 1;
            if chunks % YIELD_EVERY == 0 {
                tokio::task::yield_now().await;
            }
        }
        if left.is_some_and(|left| left > 0) {
            return Err("a part is not as long as it said".into());
        }
        for piece in behind {
            self.push(shared, piece.clone());
        }
        Ok(())
    }

    /// The next piece from the origin, once there is room for it; `None` at the end.
    ///
    /// # Errors
    /// It broke, or nobody wants it.
    async fn next_chunk(
        &self,
        shared: &SharedBody,
        body: &mut OriginBody,
    ) -> Result<Option<Bytes>, Arc<str>> {
        loop {
            shared.room().await.map_err(|_| NOBODY)?;
            let frame = tokio::select! {
                biased;
                // First: there may be something new at any time.
                () = self.unwanted(shared) => {
                    self.site.flights.remove(&self.flight);
                    if shared.give_up() {
                        return Err(NOBODY.into());
                    }
                    continue;
                }
                frame = body.frame() => frame,
            };
            match frame.transpose() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Ok(Some(chunk));
                    }
                }
                Err(error) => {
                    self.site.warn_of_broken_body(&error);
                    self.site.remember_failure(&self.ask.key);
                    return Err(error.to_string().into());
                }
            }
        }
    }

    /// Stores what is whole. Whether it was.
    fn store(&mut self, head: &Arc<Head>, content: &Content, body: &StoredBody) -> bool {
        let whole = || head::whole(Head::clone(head), body.clone());
        match content {
            Content::Part(place) => self.keep_part(head, *place, body),
            Content::Rest { .. } => self.keep(&whole()),
            Content::Whole => {
                let stored = whole();
                let is_kept = self.keep(&stored);
                self.offer(&stored, is_kept);
                is_kept
            }
        }
    }

    /// Waits until nobody has read a body for a while, if so much of it is left then that
    /// the site does not want it read on for those who may come.
    async fn unwanted(&self, shared: &SharedBody) {
        if self.flight.is_wanted_anyway() || self.finishes(shared.left()) {
            return std::future::pending().await;
        }
        shared.unread_for(GONE_FOR).await;
    }

    /// Whether a fetch that nobody waits for goes on, if so many bytes are left of it, or as
    /// many as there may be. What nobody may store is of no use to those who may come.
    pub(super) fn finishes(&self, left: Option<u64>) -> bool {
        if self.ask.directives.no_store {
            return false;
        }
        let origin = self.setup.site.config().origin.as_ref();
        let left = left.unwrap_or(self.setup.max_object_bytes);
        origin.is_none_or(|origin| left <= origin.finish_fill_bytes)
    }

    fn push(&mut self, shared: &SharedBody, chunk: Bytes) {
        self.count_towards_share(chunk.len() as u64);
        let before = std::mem::replace(&mut self.fate, shared.push(chunk));
        if before == self.fate || self.fate.is_all_here() {
            return;
        }
        // Its readers set the pace from here on.
        self.place = None;
        self.share_nothing(NotOffered::ThisTime);
        self.site.flights.remove(&self.flight);
        // The next response may find room.
        if self.fate == Fate::TooLarge {
            self.site.shared.storage.refuse();
            self.site
                .shared
                .remember_uncacheable(&self.ask.key, &NotShared::lasting("too-large"));
        }
    }

    /// Stores a response, unless the request it answers says that nothing of it may be.
    /// What a hard invalidation has hit by now is not worth the room; every use is judged
    /// anyway. Whether it was stored.
    pub(super) fn keep(&self, stored: &Arc<Stored>) -> bool {
        if self.ask.directives.no_store || stored.head.fence.touched() == Touched::Hard {
            return false;
        }
        if let Some(copy) = &self.copy {
            stored.uses.inherit(&copy.uses);
        }
        let key = &self.ask.key;
        let storage = &self.site.shared.storage;
        storage.put(key, stored, &self.ask.fields, self.setup.max_variants)
    }
}
