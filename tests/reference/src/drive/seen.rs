//! What visitors remember of a URL, for the conditions of their next requests.

use proptest::sample::Index;

use crate::fields::{Fields, write_date};
use crate::history::Answer;
use crate::scenario::{Ask, Condition, IfRange};

/// Validators that were seen, the newest last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    tags: Vec<String>,
    dates: Vec<u64>,
}

impl Seen {
    pub(super) fn note(&mut self, answer: &Answer) {
        if let Some(tag) = answer.fields.first("etag") {
            self.tags.push(tag.to_owned());
        }
        if let Some(date) = answer.fields.date("last-modified") {
            self.dates.push(date);
        }
    }

    /// The conditions of a request.
    pub(super) fn conditions(&self, ask: &Ask, now: u64, fields: &mut Fields) {
        let tag = || one(&self.tags, &ask.seen).unwrap_or_else(|| "\"unseen\"".into());
        let date = || one(&self.dates, &ask.seen).unwrap_or(now / 1_000);
        match ask.condition {
            Condition::None => {}
            Condition::Tag => fields.add("if-none-match", tag()),
            Condition::AnyTag => fields.add("if-none-match", "*"),
            Condition::OtherTag => fields.add("if-none-match", "\"other\", W/\"more\""),
            Condition::Since(off) => {
                let since = date().saturating_add_signed(off);
                fields.add("if-modified-since", write_date(since));
            }
            Condition::OtherTagAndSince => {
                fields.add("if-none-match", "\"other\"");
                fields.add("if-modified-since", write_date(now / 1_000));
            }
            Condition::Match => fields.add("if-match", tag()),
        }
        if !ask.range.is_empty() {
            fields.add("range", ask.range);
            match ask.if_range {
                IfRange::None => {}
                IfRange::Tag => fields.add("if-range", tag()),
                IfRange::Date => fields.add("if-range", write_date(date())),
                IfRange::Other => fields.add("if-range", "\"other\""),
            }
        }
    }
}

/// Mostly the newest.
fn one<T: Clone>(seen: &[T], index: &Index) -> Option<T> {
    let last = seen.len().checked_sub(1)?;
    let back = index.index(4).saturating_sub(1).min(last);
    seen.get(last - back).cloned()
}
