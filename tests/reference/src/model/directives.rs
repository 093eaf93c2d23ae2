//! `Cache-Control` and the fields that take its place (RFC 9111, section 5.2; RFC 9213).

use crate::fields::{Fields, split_outside_quotes};

/// Directives by name, in their order, with their arguments out of quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// Those of all lines of a field.
    pub(super) fn read(fields: &Fields, name: &str) -> Self {
        Self(
            fields
                .list(name)
                .iter()
                .map(|text| directive(text))
                .collect(),
        )
    }

    /// Whether a directive is there at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// Whether it is there without field names, so that it is about the whole response.
    pub(super) fn whole(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(n, argument)| n == name && argument.is_none())
    }

    /// The fields that it names.
    pub(super) fn named(&self, name: &str) -> Vec<String> {
        let of_it = self.0.iter().filter(|(n, _)| n == name);
        of_it
            .filter_map(|(_, argument)| argument.as_ref())
            .flat_map(|argument| split_outside_quotes(argument, ','))
            .map(|field| field.to_ascii_lowercase())
            .collect()
    }

    /// The seconds it states: of several the first. What is not a number is zero, so that
    /// the response is stale (RFC 9111, section 4.2.1).
    pub(super) fn seconds(&self, name: &str) -> Option<u64> {
        let (_, argument) = self.0.iter().find(|(n, _)| n == name)?;
        let digits = argument.as_deref().unwrap_or_default();
        Some(digits.parse().unwrap_or(0))
    }
}

fn directive(text: &str) -> (String, Option<String>) {
    let (name, argument) = match text.split_once('=') {
        Some((name, argument)) => (name, Some(unquoted(argument))),
        None => (text, None),
    };
    (name.to_ascii_lowercase(), argument)
}

fn unquoted(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    inner.replace('\\', "")
}

/// What a response says to this cache.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Its directives.
    pub(super) directives: Directives,
    /// They are those of a targeted field, so `Expires` does not count.
    pub(super) is_targeted: bool,
}

/// The first targeted field that is there and valid, else `Cache-Control` (RFC 9213,
/// section 2.2).
pub(super) fn said(fields: &Fields) -> Said {
    for name in ["cdn-cache-control", "surrogate-control"] {
        if fields.has(name) && (name == "surrogate-control" || is_dictionary(fields, name)) {
            return Said {
                directives: Directives::read(fields, name),
                is_targeted: true,
            };
        }
    }
    Said {
        directives: Directives::read(fields, "cache-control"),
        is_targeted: false,
    }
}

/// Whether every member is a key alone or with a number: of what scenarios make, what else
/// there is makes the field invalid.
fn is_dictionary(fields: &Fields, name: &str) -> bool {
    let members = fields.list(name);
    !members.is_empty()
        && members.iter().all(|member| {
            let (key, value) = member.split_once('=').unwrap_or((member, "1"));
            let is_key = key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
            is_key && value.bytes().all(|b| b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.add(name, *value);
        }
        fields
    }

    #[test]
    fn arguments_are_read_out_of_their_quotes() {
        let read = fields(&[("cache-control", r#"Private="a, B", max-age="5""#)]);
        let directives = Directives::read(&read, "cache-control");
        assert_eq!(directives.named("private"), ["a", "b"]);
        assert!(directives.has("private") && !directives.whole("private"));
        assert_eq!(directives.seconds("max-age"), Some(5));
        assert_eq!(directives.seconds("s-maxage"), None);
    }

    #[test]
    fn a_targeted_field_speaks_alone_unless_it_is_invalid() {
        let said_by = |cdn| {
            said(&fields(&[
                ("cache-control", "no-store"),
                ("cdn-cache-control", cdn),
            ]))
        };
        assert!(said_by("max-age=5").is_targeted);
        assert!(!said_by("max-age=\"5\"").is_targeted);
        assert!(!said_by("&&").is_targeted);
    }
}
