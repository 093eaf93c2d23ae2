//! One thing that is wrong with one page or asset.

use std::fmt;

use tidegate_domain::FieldError;

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

    /// The same as a field error, for callers that report fields: the field is the
    /// file with the offset, the value is the URL.
    #[must_use]
    pub fn to_field_error(&self) -> FieldError {
        let field = match self.offset {
            Some(offset) => format!("{}@{offset}", self.file),
            None => self.file.clone(),
        };
        FieldError::new(field, &self.url, &self.reason)
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
