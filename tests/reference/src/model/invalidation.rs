//! What has ended or outdated a copy since the origin last vouched for it.

use super::{Source, merged, vary};
use crate::history::{History, Invalidation, Target, Token, Visit};

/// The host that all visitors ask for.
pub const HOST: &str = "www.example.com";

/// What has hit a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// It may not be used without the origin's word.
    pub(super) hard: bool,
    /// It is stale since then.
    pub(super) soft_since: Option<u64>,
}

/// What has hit a copy that is made of these exchanges, by the time of a visit.
pub(super) fn hit(history: &History, visit: &Visit, sources: &[Source<'_>]) -> Hit {
    let vouched = vouched(visit, sources);
    let mut hit = Hit::default();
    for invalidation in &history.invalidations {
        let heard = invalidation.heard_by(visit.edge);
        let Some((_, since)) = heard.filter(|(order, _)| *order < visit.order) else {
            continue;
        };
        if invalidation.order < vouched || !names(invalidation, visit, sources) {
            continue;
        }
        let counts_as_hard = match (visit.token, invalidation.revision) {
            (Token::AtLeast(token), Some(revision)) => revision <= token,
            _ => false,
        };
        if invalidation.hard || counts_as_hard {
            hit.hard = true;
        } else {
            // With each further one the visitors are known to put up with it.
            hit.soft_since = Some(since);
        }
    }
    hit
}

/// When the origin last vouched for the content: with a response of its own, or with a 304
/// to one who asked like the one who brought it, or like this visitor. A HEAD does not.
fn vouched(visit: &Visit, sources: &[Source<'_>]) -> u64 {
    let Some(first) = sources.first() else {
        return 0;
    };
    let names = merged(sources).list("vary");
    sources
        .iter()
        .filter(|source| source.exchange.method == "GET")
        .filter(|source| {
            source.status != 304
                || [&first.exchange.request, &visit.request]
                    .iter()
                    .any(|asked| vary::selects(&names, asked, &source.exchange.request))
        })
        .map(Source::order)
        .max()
        .unwrap_or(0)
}

fn names(invalidation: &Invalidation, visit: &Visit, sources: &[Source<'_>]) -> bool {
    match &invalidation.target {
        Target::Everything => true,
        Target::Url(url) => *url == visit.url,
        Target::Group(group) => sources.iter().any(|source| groups(source).contains(group)),
        Target::Pattern(pattern) => {
            let own = sources.iter().flat_map(|source| {
                let words = source
                    .fields
                    .all("cache-tag")
                    .flat_map(str::split_whitespace);
                words.map(str::to_owned).collect::<Vec<_>>()
            });
            let implicit = [format!("url:{}", visit.url), format!("host:{HOST}")];
            own.chain(implicit).any(|tag| matches(pattern, &tag))
        }
    }
}

fn groups(source: &Source<'_>) -> Vec<String> {
    let groups = source.fields.list("cache-groups");
    groups
        .iter()
        .map(|group| group.trim_matches('"').to_owned())
        .collect()
}

/// Whether a pattern matches a tag; `*` stands for any run of characters.
fn matches(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == tag,
        Some((before, after)) => tag.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, tag, expected) in [
            ("*", "", true),
            ("item:*", "item:1", true),
            ("item:*", "item", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "abc", false),
        ] {
            assert_eq!(matches(pattern, tag), expected, "{pattern} {tag}");
        }
    }
}
