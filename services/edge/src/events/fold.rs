//! Many events told as few, to a browser that was away or could not keep up.
//!
//! Invalidations become one, with the union of their patterns and the stricter
//! mode. Events of own types cannot be merged: they stay, in order, and the
//! invalidations between two of them are folded for themselves, so that every id
//! still stands for all before it. Preloads are hints, and are dropped.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Cursor, MAX_PATTERNS, Mode, TagPattern};

use super::event::{Kind, SiteEvent};
use super::frame::{Detail, Encoder, Invalidation};
use super::hearing::{Hearing, distinct};

/// A fold is larger than it may be: a reset is cheaper for both sides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Collects events, in order, for one group.
pub(super) struct Fold<'a> {
    hearing: &'a Hearing,
    detail: Detail,
    spread: Duration,
    max_bytes: usize,
    out: Vec<u8>,
    open: Option<Open>,
}

/// The invalidations since the last event that stays.
struct Open {
    at: Cursor,
    tags: Vec<TagPattern>,
    mode: Mode,
    spread: Duration,
    traceparent: String,
}

impl<'a> Fold<'a> {
    /// `spread` is that of the site, for events that state none.
    pub(super) fn new(
        hearing: &'a Hearing,
        detail: Detail,
        spread: Duration,
        max_bytes: usize,
    ) -> Self {
        Self {
            hearing,
            detail,
            spread,
            max_bytes,
            out: Vec::new(),
            open: None,
        }
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// The fold became too large.
    pub(super) fn add(&mut self, event: &SiteEvent) -> Result<(), TooMuch> {
        match &event.kind {
            Kind::Invalidate {
                patterns,
                mode,
                spread,
            } => {
                let tags = self.hearing.narrow(patterns);
                self.merge(event.cursor, tags, *mode, *spread, &event.traceparent);
            }
            Kind::Preload { .. } => {}
            Kind::Custom { .. } => {
                let frame = Encoder::new(event, self.spread).encode(self.hearing, self.detail);
                if let Some(frame) = frame {
                    self.flush()?;
                    self.append(&frame)?;
                }
            }
        }
        Ok(())
    }

    /// Adds invalidations that were already folded elsewhere, up to `at`.
    pub(super) fn add_folded(&mut self, at: Cursor, patterns: &[TagPattern]) {
        let tags = self.hearing.narrow(patterns);
        self.merge(at, tags, Mode::Hard, Duration::ZERO, "");
    }

    /// The frames, empty if nothing of it is heard.
    ///
    /// # Errors
    /// The fold is too large.
    pub(super) fn finish(mut self) -> Result<Bytes, TooMuch> {
        self.flush()?;
        Ok(self.out.into())
    }

    fn merge(
        &mut self,
        at: Cursor,
        tags: Vec<TagPattern>,
        mode: Mode,
        spread: Duration,
        traceparent: &str,
    ) {
        if tags.is_empty() {
            return;
        }
        let spread = if spread.is_zero() {
            self.spread
        } else {
            spread
        };
        let Some(open) = &mut self.open else {
            self.open = Some(Open {
                at,
                tags,
                mode,
                spread,
                traceparent: traceparent.to_owned(),
            });
            return;
        };
        open.at = at;
        open.mode = open.mode.max(mode);
        open.spread = open.spread.max(spread);
        // One frame has one trace; of several causes none is the one.
        if open.traceparent != traceparent {
            open.traceparent.clear();
        }
        open.tags.extend(tags);
        if open.tags.len() > 2 * MAX_PATTERNS {
            open.tags = distinct(std::mem::take(&mut open.tags));
            if open.tags.len() > MAX_PATTERNS {
                open.tags = self.hearing.everything().to_vec();
            }
        }
    }

    fn flush(&mut self) -> Result<(), TooMuch> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let mut frame = Vec::new();
        Invalidation {
            at: &open.at,
            has_id: true,
            tags: &distinct(open.tags),
            mode: open.mode,
            spread: open.spread,
            traceparent: &open.traceparent,
        }
        .write(&mut frame, self.detail);
        self.append(&frame)
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), TooMuch> {
        if self.out.len() + frame.len() > self.max_bytes {
            return Err(TooMuch);
        }
        self.out.extend_from_slice(frame);
        Ok(())
    }
}
