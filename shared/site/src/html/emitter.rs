//! Tells where the tokenizer finds what, and which state it goes to next.

use std::convert::Infallible;

use html5gum::emitters::callback::{Callback, CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, ForwardingEmitter, Span, State};

/// Takes what is found, roughly in order: an element comes behind what is in it.
pub(super) trait Sink {
    /// Something that occupies these bytes.
    fn piece(&mut self, piece: Piece<'_>, span: Span<usize>);

    /// The text of a comment, and the element it is in if nothing may be cut there.
    fn comment(&mut self, text: &[u8], span: Span<usize>, inside: Option<&str>);

    /// The document has ended.
    fn end(&mut self);
}

/// What occupies some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text,
    Tag,
    Comment,
    Doctype,
    /// An element inside which nothing may be cut, with its tags. One that is not
    /// closed reaches behind the end of the document.
    Element(&'a str),
}

/// A tokenizer's emitter that knows positions and switches states.
pub(super) struct PositionEmitter<'s, S: Sink> {
    inner: CallbackEmitter<Positions<'s, S>, Infallible, usize>,
}

impl<'s, S: Sink> PositionEmitter<'s, S> {
    pub(super) fn new(sink: &'s mut S) -> Self {
        Self {
            inner: CallbackEmitter::new(Positions {
                sink,
                tag: String::new(),
                tag_start: 0,
                uncut: None,
                next_state: None,
            }),
        }
    }
}

impl<S: Sink> ForwardingEmitter for PositionEmitter<'_, S> {
    type Token = Infallible;

    fn inner(&mut self) -> &mut impl Emitter<Token = Infallible> {
        &mut self.inner
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        // The inner emitter does not switch states; its callback decides.
        let _ = self.inner.emit_current_tag();
        self.inner.callback_mut().next_state.take()
    }

    /// Decides between a CDATA section and a comment.
    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        let uncut = self.inner.callback_mut().uncut.as_ref();
        uncut.is_some_and(|element| element.is_foreign)
    }

    fn emit_error(&mut self, _error: html5gum::Error) {}

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn emit_eof(&mut self) {
        self.inner.emit_eof();
        self.inner.callback_mut().finish();
    }
}

struct Positions<'s, S: Sink> {
    sink: &'s mut S,
    /// Name of the start tag that is being read.
    tag: String,
    tag_start: usize,
    uncut: Option<Uncut>,
    next_state: Option<State>,
}

/// The open element inside which nothing may be cut.
struct Uncut {
    name: String,
    start: usize,
    /// Elements of this name that are open.
    depth: usize,
    is_foreign: bool,
}

impl<S: Sink> Positions<'_, S> {
    fn start_tag(&mut self, self_closing: bool) {
        match &mut self.uncut {
            Some(element) if element.is_foreign => {
                if element.name == self.tag && !self_closing {
                    element.depth += 1;
                }
            }
            // Raw text has no start tags.
            Some(_) => {}
            None => {
                let is_foreign = matches!(self.tag.as_str(), "svg" | "math");
                self.next_state = raw_state(&self.tag);
                if self.next_state.is_some() || (is_foreign && !self_closing) {
                    self.uncut = Some(Uncut {
                        name: self.tag.clone(),
                        start: self.tag_start,
                        depth: 1,
                        is_foreign,
                    });
                }
            }
        }
    }

    fn end_tag(&mut self, name: &[u8], end: usize) {
        let Some(element) = self.uncut.as_mut().filter(|e| e.name.as_bytes() == name) else {
            return;
        };
        element.depth -= 1;
        if element.depth == 0 {
            self.close(end);
        }
    }

    fn close(&mut self, end: usize) {
        if let Some(Uncut { name, start, .. }) = self.uncut.take() {
            self.sink.piece(Piece::Element(&name), Span { start, end });
        }
    }

    fn finish(&mut self) {
        self.close(usize::MAX);
        self.sink.end();
    }
}

impl<S: Sink> Callback<Infallible, usize> for Positions<'_, S> {
    fn handle_event(&mut self, event: CallbackEvent<'_>, span: Span<usize>) -> Option<Infallible> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = String::from_utf8_lossy(name).into_owned();
                self.tag_start = span.start;
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                let start = self.tag_start;
                let end = span.end;
                self.sink.piece(Piece::Tag, Span { start, end });
                self.start_tag(self_closing);
            }
            CallbackEvent::EndTag { name } => {
                self.sink.piece(Piece::Tag, span);
                self.end_tag(name, span.end);
            }
            CallbackEvent::Comment { value } => {
                self.sink.piece(Piece::Comment, span);
                let inside = self.uncut.as_ref().map(|element| element.name.as_str());
                self.sink.comment(value, span, inside);
            }
            CallbackEvent::Doctype { .. } => self.sink.piece(Piece::Doctype, span),
            CallbackEvent::String { .. } => self.sink.piece(Piece::Text, span),
            CallbackEvent::AttributeName { .. }
            | CallbackEvent::AttributeValue { .. }
            | CallbackEvent::Error(_) => {}
        }
        None
    }
}

/// The state in which the content of an element is read that holds no markup.
/// `noscript` is such an element where scripts run, as in a browser.
fn raw_state(name: &str) -> Option<State> {
    match name {
        "title" | "textarea" => Some(State::RcData),
        "script" => Some(State::ScriptData),
        "plaintext" => Some(State::PlainText),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" | "noscript" => Some(State::RawText),
        _ => None,
    }
}
