//! What a site's file may say. The text is for people; the tests hold it to what is read.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::super::Session;
use crate::failure::{Exit, Failure};
use crate::output::{Report, Style};

/// The text, as Markdown.
const REFERENCE: &str = include_str!("reference.md");

/// The reference. As JSON it is the same text in a field.
#[derive(Debug, Serialize)]
struct Reference {
    reference: &'static str,
}

impl Report for Reference {
    fn text(&self, _: Style) -> String {
        self.reference.to_owned()
    }
}

/// Prints it. Nobody is asked.
pub(super) fn show(session: &mut Session<'_>) -> Result<Exit, Failure> {
    session.show(&Reference {
        reference: REFERENCE,
    })
}
