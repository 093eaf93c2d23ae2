//! Arguments that several calls share.

use std::str::FromStr;

use tidegate_domain::site::CheckedSite;
use tidegate_domain::{
    FieldError, MAX_PATTERNS, MAX_TAGS, Mode, PathAndQuery, TagPattern, cascade, normalize_host,
    url_tag,
};

use crate::v1;

/// Reads `text` by its own rule and names the field if it breaks it.
///
/// # Errors
/// What the rule says, with the field.
pub fn parse_field<T: FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, FieldError> {
    text.parse()
        .map_err(|e: T::Err| FieldError::new(field, text, e.to_string()))
}

/// Reads what an invalidation selects: patterns, widened if `widen`, and literal
/// URLs, normalised as the site's cache keys are.
///
/// # Errors
/// The element that breaks a rule, none at all, or more than 1,000 after widening.
pub fn parse_patterns(
    site: &CheckedSite,
    tags: &[String],
    urls: &[String],
    widen: bool,
) -> Result<Vec<TagPattern>, FieldError> {
    if tags.is_empty() && urls.is_empty() {
        return Err(FieldError::new(
            "tags",
            "",
            "at least one tag pattern or URL",
        ));
    }
    check_count(tags.len() + urls.len())?;
    let mut patterns = each(tags, "tags", TagPattern::parse)?;
    if widen {
        patterns = cascade(&patterns).map_err(|e| e.within("tags"))?;
    }
    let urls = each(urls, "urls", |url| parse_url(site, url))?;
    patterns.extend(urls.iter().map(|url| url_tag(url).to_pattern()));
    patterns.sort_unstable();
    patterns.dedup();
    check_count(patterns.len())?;
    Ok(patterns)
}

/// Reads a path with an optional query, or an absolute URL on a host of the site,
/// normalised as the site's cache keys are.
///
/// # Errors
/// It is neither.
pub fn parse_url(site: &CheckedSite, text: &str) -> Result<PathAndQuery, FieldError> {
    parse_path(site, text).map(|url| site.normalize(&url))
}

/// Reads the same, whatever the site's cache keys make of it: what is kept for later
/// is normalised by the rules of then.
///
/// # Errors
/// It is neither.
pub fn parse_path(site: &CheckedSite, text: &str) -> Result<PathAndQuery, FieldError> {
    let after_scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let path = match after_scheme {
        Some(rest) => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(at);
            let host = normalize_host(authority)?;
            if !site.hosts().iter().any(|pattern| pattern.matches(&host)) {
                return Err(FieldError::new("", text, "a URL on a host of the site"));
            }
            if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            }
        }
        None => text.to_owned(),
    };
    PathAndQuery::parse(&path)
}

/// Reads the audience of a hint or an event.
///
/// # Errors
/// The pattern that breaks the rule, or more than 64.
pub fn parse_audience(audience: &[String]) -> Result<Vec<TagPattern>, FieldError> {
    if audience.len() > MAX_TAGS {
        return Err(FieldError::new(
            "audience",
            format!("{} elements", audience.len()),
            "at most 64 elements",
        ));
    }
    each(audience, "audience", TagPattern::parse)
}

/// Reads a mode; none means hard.
///
/// # Errors
/// A number this version does not know.
pub fn mode_from_wire(mode: i32) -> Result<Mode, FieldError> {
    match v1::InvalidationMode::try_from(mode) {
        Ok(v1::InvalidationMode::Unspecified | v1::InvalidationMode::Hard) => Ok(Mode::Hard),
        Ok(v1::InvalidationMode::Soft) => Ok(Mode::Soft),
        Err(_) => Err(FieldError::new("mode", mode, "HARD or SOFT")),
    }
}

/// Writes a mode.
#[must_use]
pub fn mode_to_wire(mode: Mode) -> v1::InvalidationMode {
    match mode {
        Mode::Hard => v1::InvalidationMode::Hard,
        Mode::Soft => v1::InvalidationMode::Soft,
    }
}

fn check_count(count: usize) -> Result<(), FieldError> {
    if count <= MAX_PATTERNS {
        return Ok(());
    }
    Err(FieldError::new(
        "tags",
        format!("{count} tags and URLs"),
        "at most 1,000 tags and URLs together, after cascade has widened them",
    ))
}

fn each<T>(
    texts: &[String],
    field: &str,
    parse: impl Fn(&str) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            parse(text).map_err(|e| {
                FieldError {
                    field: String::new(),
                    ..e
                }
                .within(format!("{field}[{index}]"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::site::{KeyPolicy, QueryMode, SiteConfig};

    fn site() -> CheckedSite {
        SiteConfig {
            hosts: vec!["example.com".into()],
            key: KeyPolicy {
                query_mode: QueryMode::Drop,
                query_params: vec!["utm".into()],
                ..KeyPolicy::default()
            },
            ..SiteConfig::default()
        }
        .check()
        .unwrap()
    }

    fn texts(strings: &[&str]) -> Vec<String> {
        strings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls_select_what_requests_are_keyed_by() {
        let urls = texts(&[
            "/a?utm=1",
            "https://EXAMPLE.com/a",
            "http://example.com?x=*",
        ]);
        let patterns = parse_patterns(&site(), &[], &urls, false).unwrap();
        let patterns: Vec<_> = patterns.iter().map(TagPattern::as_str).collect();
        assert_eq!(patterns, ["url:/?x=%2A", "url:/a"]);
    }

    #[test]
    fn errors_name_the_element() {
        let field = |tags: &[&str], urls: &[&str]| {
            parse_patterns(&site(), &texts(tags), &texts(urls), false)
                .unwrap_err()
                .field
        };
        assert_eq!(field(&["ok", "a b"], &[]), "tags[1]");
        assert_eq!(field(&[], &["relative"]), "urls[0]");
        assert_eq!(field(&[], &["http://other.example/"]), "urls[0]");
        assert_eq!(field(&[], &["http://bad host/"]), "urls[0]");
        assert_eq!(field(&[], &[]), "tags");
    }

    #[test]
    fn a_thousand_patterns_are_the_most_also_when_widened() {
        let tags: Vec<_> = (0..1_001).map(|n| format!("t{n}")).collect();
        assert!(parse_patterns(&site(), &tags, &[], false).is_err());
        assert!(parse_patterns(&site(), &tags[..1_000], &[], false).is_ok());
        assert!(parse_patterns(&site(), &tags[..501], &[], true).is_err());
        assert_eq!(
            parse_patterns(&site(), &tags[..500], &[], true)
                .unwrap()
                .len(),
            1_000
        );
    }
}
