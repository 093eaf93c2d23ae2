//! Where HTML may be cut, and the markers in it.
//!
//! Tokenising follows the HTML standard (section 13.2.5). Which elements hold raw
//! text is decided by name, and inside `<svg>` and `<math>`, where their rules
//! differ, nothing may be cut.

mod emitter;

use html5gum::{Span, Tokenizer};

use crate::limits::MAX_PARTS;
use crate::resource::Part;
use emitter::{Piece, PositionEmitter, Sink};

/// What a marker looks like in the bytes; most pages hold none.
const MARKER_START: &[u8] = b"<!--@";

/// The longest end of text that can be a character reference still.
const MAX_REFERENCE_BYTES: usize = 40;

/// A position that may not be one, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PositionError {
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

/// A comment that begins with `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) kind: MarkerKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MarkerKind {
    /// `<!--@flush:NAME-->`
    Flush,
    /// `<!--@state-->`
    State,
    /// `<!--@slot:...-->`, and its end.
    Slot,
    /// Another one; the text of the comment, shortened.
    Unknown(String),
    /// A marker in a place where nothing may be cut.
    Ineffective(String),
}

/// Finds the markers in order.
///
/// # Errors
/// There are more than a page can have.
pub(crate) fn markers(html: &[u8]) -> Result<Vec<Marker>, PositionError> {
    if !contains(html, MARKER_START) {
        return Ok(Vec::new());
    }
    let mut found = Markers::default();
    tokenize(html, &mut found);
    if found.list.len() > 2 * MAX_PARTS {
        return Err(PositionError {
            offset: found.list[2 * MAX_PARTS].start,
            reason: format!("allowed: at most {} markers", 2 * MAX_PARTS),
        });
    }
    Ok(found.list)
}

#[derive(Default)]
struct Markers {
    list: Vec<Marker>,
}

impl Sink for Markers {
    fn piece(&mut self, _piece: Piece<'_>, _span: Span<usize>) {}

    fn comment(&mut self, text: &[u8], span: Span<usize>, inside: Option<&str>) {
        // One more than allowed is enough to know.
        if !text.starts_with(b"@") || self.list.len() > 2 * MAX_PARTS {
            return;
        }
        let kind = match (inside, text) {
            (Some(place), _) => MarkerKind::Ineffective(format!("<{place}>")),
            (_, b"@state") => MarkerKind::State,
            (_, text) if is_flush(text) => MarkerKind::Flush,
            (_, text) if text.starts_with(b"@slot:") || text == b"@/slot" => MarkerKind::Slot,
            _ => {
                let text = String::from_utf8_lossy(text);
                MarkerKind::Unknown(text.chars().take(60).collect())
            }
        };
        self.list.push(Marker {
            start: span.start as u64,
            end: span.end as u64,
            kind,
        });
    }

    fn end(&mut self) {}
}

fn is_flush(text: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    text.strip_prefix(b"@flush:")
        .is_some_and(|name| !name.is_empty() && name.iter().all(allowed))
}

/// Checks that a page may be cut where its parts begin and end.
///
/// # Errors
/// The first cut that lies inside something, and inside what.
pub(crate) fn check_cuts(html: &[u8], parts: &[Part]) -> Result<(), PositionError> {
    let mut cuts: Vec<usize> = parts
        .iter()
        .flat_map(|part| match *part {
            Part::Slice { start, end } => [start, end],
            Part::State => [0, 0],
        })
        .filter_map(|at| usize::try_from(at).ok())
        .filter(|at| *at > 0 && *at < html.len())
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    if cuts.is_empty() {
        return Ok(());
    }
    for &at in &cuts {
        if let Some(reason) = split_by(html, at) {
            return Err(refused(at, reason));
        }
    }
    let mut check = CutCheck {
        html,
        cuts: &cuts,
        first: None,
        seen: 0,
    };
    tokenize(html, &mut check);
    match check.first {
        None => Ok(()),
        Some((at, reason)) => Err(refused(at, &reason)),
    }
}

fn refused(at: usize, reason: &str) -> PositionError {
    PositionError {
        offset: at as u64,
        reason: format!("the cut is inside {reason}; allowed: between characters, in text"),
    }
}

struct CutCheck<'a> {
    html: &'a [u8],
    cuts: &'a [usize],
    first: Option<(usize, String)>,
    /// How far pieces have been reported.
    seen: usize,
}

impl CutCheck<'_> {
    /// Cuts strictly inside `start..end` are wrong.
    fn forbid(&mut self, start: usize, end: usize, place: &str) {
        let at = self.cuts.partition_point(|cut| *cut <= start);
        let Some(&cut) = self.cuts.get(at).filter(|cut| **cut < end) else {
            return;
        };
        if self.first.as_ref().is_none_or(|(first, _)| cut < *first) {
            self.first = Some((cut, place.to_owned()));
        }
    }
}

impl Sink for CutCheck<'_> {
    fn piece(&mut self, piece: Piece<'_>, span: Span<usize>) {
        // Bytes that were dropped between two pieces are no text.
        if span.start > self.seen {
            self.forbid(self.seen, span.start, "something that is no text");
        }
        match piece {
            Piece::Text => {}
            Piece::Tag => self.forbid(span.start, span.end, "a tag"),
            Piece::Comment => self.forbid(span.start, span.end, "a comment"),
            Piece::Doctype => self.forbid(span.start, span.end, "the doctype"),
            // The whole element: state before its end tag would be its content.
            Piece::Element(name) => {
                self.forbid(span.start, span.end, &format!("<{name}>"));
            }
        }
        self.seen = self.seen.max(span.end.min(self.html.len()));
    }

    fn comment(&mut self, _text: &[u8], _span: Span<usize>, _inside: Option<&str>) {}

    /// What was not reported is a tag that is not closed.
    fn end(&mut self) {
        self.forbid(self.seen, self.html.len() + 1, "a tag that is not closed");
    }
}

/// What a cut at `at` would split that a tokenizer's positions do not show.
fn split_by(html: &[u8], at: usize) -> Option<&'static str> {
    let (before, after) = html.split_at(at);
    if after.first().is_some_and(|byte| byte & 0xC0 == 0x80) {
        return Some("a UTF-8 sequence");
    }
    if before.ends_with(b"<") || before.ends_with(b"</") {
        return Some("a tag");
    }
    let is_reference = |b: &u8| b.is_ascii_alphanumeric() || *b == b'#';
    let continues = after.first().is_some_and(|b| is_reference(b) || *b == b';');
    let tail = &before[before.len().saturating_sub(MAX_REFERENCE_BYTES)..];
    let name = tail.iter().rev().take_while(|b| is_reference(b)).count();
    let begins = name < tail.len() && tail[tail.len() - name - 1] == b'&';
    (begins && continues).then_some("a character reference")
}

fn tokenize(html: &[u8], sink: &mut impl Sink) {
    let tokenizer = Tokenizer::new_with_emitter(html, PositionEmitter::new(sink));
    match tokenizer.finish() {
        Ok(()) => {}
        // Reading from memory does not fail.
        Err(never) => match never {},
    }
}

fn contains(html: &[u8], needle: &[u8]) -> bool {
    let mut rest = html;
    while let Some(at) = rest.iter().position(|b| *b == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests;
