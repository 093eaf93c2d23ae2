//! Lists in field values (RFC 9110, sections 5.6.1 and 5.6.4): elements between commas,
//! of which one may hold commas of its own between quotes.

/// The elements of a list, without the white space around them.
#[derive(Debug, Clone)]
pub(super) struct Elements<'a> {
    rest: Option<&'a str>,
    separator: u8,
    keeps_empty: bool,
    is_unclosed: bool,
}

impl<'a> Elements<'a> {
    /// Of a list with commas. Empty elements are left out, as recipients of lists do.
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            rest: Some(text),
            separator: b',',
            keeps_empty: false,
            is_unclosed: false,
        }
    }

    /// Of a list with another separator.
    pub(super) fn between(text: &'a str, separator: u8) -> Self {
        Self {
            separator,
            ..Self::of(text)
        }
    }

    /// Of a list with another separator, whose empty elements are elements.
    pub(super) fn all_between(text: &'a str, separator: u8) -> Self {
        Self {
            separator,
            ..Self::all_of(text)
        }
    }

    /// Of what may be no list at all: empty elements are elements.
    pub(super) fn all_of(text: &'a str) -> Self {
        Self {
            keeps_empty: true,
            ..Self::of(text)
        }
    }

    /// Whether a quote has been met that nothing closes. What follows it cannot be told
    /// apart any more and comes as one element.
    pub(super) fn is_unclosed(&self) -> bool {
        self.is_unclosed
    }

    /// Splits at the next separator outside of quotes.
    fn split(&mut self, text: &'a str) -> &'a str {
        let mut in_quotes = false;
        let mut escaped = false;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_quotes => escaped = true,
                b'"' => in_quotes = !in_quotes,
                byte if byte == self.separator && !in_quotes => {
                    self.rest = Some(&text[at + 1..]);
                    return &text[..at];
                }
                _ => {}
            }
        }
        self.is_unclosed = in_quotes;
        text
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let text = self.rest.take()?;
            let element = self.split(text).trim_matches([' ', '\t']);
            if self.keeps_empty || !element.is_empty() {
                return Some(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_between_quotes_separates_nothing() {
        let of = |text| Elements::of(text).collect::<Vec<_>>();
        assert_eq!(
            of("a, b=\"c, \\\" d\" ,,\te "),
            ["a", "b=\"c, \\\" d\"", "e"]
        );
        assert_eq!(of(" , "), [""; 0]);
        let all: Vec<_> = Elements::all_of("a,, b,").collect();
        assert_eq!(all, ["a", "", "b", ""]);
        let parts: Vec<_> = Elements::between("a;b=\";\"; c", b';').collect();
        assert_eq!(parts, ["a", "b=\";\"", "c"]);
    }

    #[test]
    fn a_quote_that_nothing_closes_is_told() {
        let mut elements = Elements::of("a, b=\"c, d");
        assert_eq!(elements.next(), Some("a"));
        assert!(!elements.is_unclosed());
        assert_eq!(elements.next(), Some("b=\"c, d"));
        assert!(elements.is_unclosed());
    }
}
