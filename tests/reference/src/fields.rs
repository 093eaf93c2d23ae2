//! Header fields as a list of lines, and the little that reading them needs. Written for
//! this crate alone: what the edge reads with must not judge it.

/// Lines in their order; names are lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Appends a line.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_ascii_lowercase(), value.into()));
    }

    /// Whether there is such a line.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The first such line.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// All such lines.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The elements of all such lines, which commas part; white space around them is gone.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|line| split_outside_quotes(line, ','))
            .collect()
    }

    /// A date, in seconds since 1970; `None` if it is absent, cannot be read, or is there
    /// more than once.
    #[must_use]
    pub fn date(&self, name: &str) -> Option<u64> {
        let mut lines = self.all(name);
        let first = lines.next()?;
        match lines.next() {
            None => read_date(first),
            Some(_) => None,
        }
    }

    /// Without these lines.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// These lines, and of names that they lack those of `older`: what RFC 9111, section
    /// 3.2, makes of a stored response that a 304 updates.
    #[must_use]
    pub fn over(&self, older: &Self) -> Self {
        let kept = older.0.iter().filter(|(name, _)| !self.has(name));
        Self(self.0.iter().chain(kept).cloned().collect())
    }
}

/// A date as HTTP writes it, in seconds since 1970.
#[must_use]
pub fn read_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

/// Writes one.
#[must_use]
pub fn write_date(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    httpdate::fmt_http_date(time)
}

/// The pieces between marks that stand outside of quoted strings, without white space
/// around them and without empty ones.
#[must_use]
pub fn split_outside_quotes(text: &str, mark: char) -> Vec<String> {
    let (mut pieces, mut piece, mut quoted, mut escaped) =
        (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        if c == mark && !quoted {
            pieces.push(std::mem::take(&mut piece));
            continue;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        piece.push(c);
    }
    pieces.push(piece);
    pieces
        .into_iter()
        .map(|piece| piece.trim().to_owned())
        .filter(|piece| !piece.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_within_quotes_part_nothing() {
        let pieces = split_outside_quotes(r#"a="x, \"y", b ,, c"#, ',');
        assert_eq!(pieces, [r#"a="x, \"y""#, "b", "c"]);
    }

    #[test]
    fn a_newer_line_takes_the_place_of_all_older_ones_of_its_name() {
        let line = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let older = Fields(vec![line("a", "1"), line("a", "2"), line("b", "3")]);
        let newer = Fields(vec![line("a", "4")]);
        assert_eq!(newer.over(&older).0, [line("a", "4"), line("b", "3")]);
    }
}
