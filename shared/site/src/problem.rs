//! One thing that is wrong with one page or asset.

use std::fmt;

/// What is wrong with a page or an asset, and where: enough to open the file and
/// mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// URL path of the page or asset.
    pub url: String,
    /// The file it came from, relative to the site's folder. Empty if unknown.
    pub file: String,
    /// Offset in the file, in bytes, where that makes sense.
    pub offset: Option<u64>,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl Problem {
    pub(crate) fn new(
        url: impl Into<String>,
        file: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            url: url.into(),
            file: file.into(),
            offset: None,
            reason: reason.into(),
        }
    }

    #[must_use]
    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Where it is wrong, for callers that report fields: the file and the offset, or
    /// the URL if no file is known. The text of the error says the rest.
    #[must_use]
    pub fn field(&self) -> String {
        match (self.file.as_str(), self.offset) {
            ("", _) => self.url.clone(),
            (file, Some(offset)) => format!("{file}@{offset}"),
            (file, None) => file.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url.escape_debug())?;
        if !self.file.is_empty() {
            write!(f, " (file {})", self.file.escape_debug())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Problem {}
