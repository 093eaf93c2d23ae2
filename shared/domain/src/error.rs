//! What is wrong with something that came from outside.

use std::fmt;

/// How much of an offending value is repeated to the caller.
const SHOWN_BYTES: usize = 80;

/// A field that breaks a rule: which field, what it held, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field as the caller wrote it, such as `tags[3]`.
    pub field: String,
    /// The offending value, shortened and with control characters escaped.
    pub value: String,
    /// What is allowed, as a phrase that follows "allowed:".
    pub allowed: String,
}

impl FieldError {
    /// Describes `value` in `field`, which may hold what `allowed` says.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: shorten(&value.to_string()),
            allowed: allowed.into(),
        }
    }

    /// The same error of a field that lies inside `outer`.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.field = if self.field.is_empty() {
            outer.to_string()
        } else if self.field.starts_with('[') {
            format!("{outer}{}", self.field)
        } else {
            format!("{outer}.{}", self.field)
        };
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(
                f,
                "\"{}\" is not allowed; allowed: {}",
                self.value, self.allowed
            )
        } else {
            write!(
                f,
                "{}: \"{}\" is not allowed; allowed: {}",
                self.field, self.value, self.allowed
            )
        }
    }
}

impl std::error::Error for FieldError {}

fn shorten(value: &str) -> String {
    let mut shown: String = value
        .chars()
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .take(SHOWN_BYTES)
        .collect();
    if value.len() > SHOWN_BYTES {
        shown.push_str(&format!("… ({} bytes)", value.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_field_value_and_what_is_allowed() {
        let error = FieldError::new("[3]", "a b", "visible ASCII").within("tags");
        assert_eq!(
            error.to_string(),
            "tags[3]: \"a b\" is not allowed; allowed: visible ASCII"
        );
    }

    #[test]
    fn long_values_and_control_characters_are_tamed() {
        let error = FieldError::new("f", format!("a\n{}", "x".repeat(500)), "less");
        assert!(error.value.len() < 120, "{}", error.value);
        assert!(!error.value.contains('\n'));
    }
}
