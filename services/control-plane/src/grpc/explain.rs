//! `ExplainUrl`: why a URL is served as it is, edge by edge.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use tidegate_domain::site::HostPattern;
use tidegate_domain::{FieldError, SiteName, TagPattern, host_tag, normalize_host, url_tag};
use tidegate_proto::{Code, v1};

use super::context::Context;
use super::fault::Fault;
use super::page::MAX_PAGE_BYTES;
use super::wait::add_effects;
use super::{entry, fields};
use crate::fleet::Explanation;
use crate::state::{PageRequest, Reader, ReaderError, SiteView};

/// Request fields that a question may bring.
const MAX_FIELDS: usize = 16;
/// Bytes of a URL.
const MAX_URL_BYTES: usize = 8 << 10;
/// Tags that the last invalidation is looked for by.
const MAX_TAGS: usize = 1_000;
/// Records of the audit trail that are looked at for the last invalidation.
const LOOK_BACK: usize = 1_000;
/// Comparisons of a tag with a pattern that this may cost. A record has thousands of
/// patterns at most, and a URL has at most [`MAX_TAGS`] tags: without a bound one question
/// could keep a thread busy for minutes.
const MAX_COMPARISONS: usize = 1_000_000;
/// Records read at once.
const STEP: u32 = 100;

/// Answers `ExplainUrl`.
pub(crate) async fn explain(
    context: &Arc<Context>,
    request: v1::ExplainUrlRequest,
) -> Result<v1::ExplainUrlResponse, Fault> {
    let length = request.url.len();
    fields::at_most("url", &request.url, length, MAX_URL_BYTES, "bytes")?;
    let (view, host) = resolve(&context.reader, &request)?;
    let url = entry::url_in("url", &view.config, &request.url)?;
    let edge = match request.edge_id.as_str() {
        "" => None,
        id => Some(fields::edge_id(id)?),
    };
    let headers = &request.request_headers;
    fields::at_most_elements("request_headers", headers.len(), MAX_FIELDS)?;
    entry::header_fields("request_headers", headers)?;
    let query = v1::ExplainQuery {
        site: view.name.to_string(),
        url: url.to_string(),
        host: host.clone(),
        request_headers: request.request_headers,
    };
    let explanations = context.fleet.explain(&view.name, edge.as_ref(), query);
    let explanations = explanations.await?;
    if let (Some(edge), true) = (&edge, explanations.is_empty()) {
        let text = match context
            .fleet
            .edges()
            .iter()
            .any(|known| known.edge == *edge)
        {
            true => format!("edge_id: edge \"{edge}\" has no open stream that follows the site"),
            false => {
                format!("edge_id: there is no edge \"{edge}\"; ListEdges names those there are")
            }
        };
        return Err(Fault::new(Code::NotFound, text));
    }
    let of_copies = explanations.iter().flat_map(|explanation| {
        let copy = explanation.answer.as_ref().and_then(|a| a.copy.as_ref());
        copy.into_iter().flat_map(|copy| &copy.tags)
    });
    let own = [url_tag(&url).to_string(), host_tag(&host).to_string()];
    let tags = SortedTags::of(own.into_iter().chain(of_copies.cloned()));
    let last_invalidation = {
        let (reader, fleet, site) = (
            context.reader.clone(),
            context.fleet.clone(),
            view.name.clone(),
        );
        let content = fleet.content_of(&site);
        let look = move || -> Result<_, ReaderError> {
            let mut found = last_invalidation(&reader, &site, &tags)?;
            add_effects(&fleet, content, found.as_mut_slice())?;
            Ok(found)
        };
        context.read(look).await??
    };
    Ok(v1::ExplainUrlResponse {
        site: view.name.to_string(),
        url: url.to_string(),
        edges: fitting(explanations),
        last_invalidation,
        head: context.log.head().0,
    })
}

/// The site, by its name or by the URL's host, and the host to ask it by.
fn resolve(
    reader: &Reader,
    request: &v1::ExplainUrlRequest,
) -> Result<(Arc<SiteView>, String), Fault> {
    let host = host_of(&request.url).map(normalize_host).transpose();
    let host = host.map_err(|e| FieldError {
        field: "url".into(),
        ..e
    })?;
    if !request.site.is_empty() {
        let site = fields::site_name(&request.site)?;
        let view = reader
            .site(&site)
            .ok_or_else(|| Fault::no_such_site(&site))?;
        // That the host is one of the site's is checked where the URL is read.
        let host = host.unwrap_or_else(|| own_host(reader, &view));
        return Ok((view, host));
    }
    let Some(host) = host else {
        let allowed = "the name of a site, unless url is absolute";
        return Err(FieldError::new("site", "", allowed).into());
    };
    let view = by_host(reader, &host).ok_or_else(|| {
        let text = format!("url: no site answers for the host \"{host}\"");
        Fault::new(Code::NotFound, text)
    })?;
    Ok((view, host))
}

fn host_of(url: &str) -> Option<&str> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))?;
    rest.split(['/', '?']).next()
}

/// The site that answers for a host: the one that names it, else the one with `*.`
/// before its parent, else the one with `*`.
fn by_host(reader: &Reader, host: &str) -> Option<Arc<SiteView>> {
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(_) => 0,
        HostPattern::Suffix(_) => 1,
        HostPattern::Any => 2,
    };
    let (_, sites) = reader.snapshot(|_| true);
    let ranked = sites.into_iter().filter_map(|site| {
        let hosts = site.config.hosts().iter();
        let best = hosts.filter(|p| p.matches(host)).map(rank).min()?;
        Some((best, site))
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, site)| site)
}

/// A host that the site answers for: the first it names, or one that its patterns
/// cover and no other site's do better.
fn own_host(reader: &Reader, view: &SiteView) -> String {
    let hosts = view.config.hosts();
    let named = hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.clone()),
        HostPattern::Suffix(_) | HostPattern::Any => None,
    });
    let covered = || {
        let labels = ["www", "any", "explain", "any-host"];
        let of = |suffix: String| labels.map(|label| format!("{label}{suffix}"));
        let mut candidates = hosts.iter().flat_map(|host| match host {
            HostPattern::Suffix(suffix) => of(suffix.clone()),
            HostPattern::Exact(_) | HostPattern::Any => of(".invalid".to_owned()),
        });
        candidates.find(|host| by_host(reader, host).is_some_and(|s| s.name == view.name))
    };
    named
        .or_else(covered)
        .unwrap_or_else(|| "any.invalid".to_owned())
}

/// The newest record of the audit trail that matches one of the tags, as far as it is
/// looked for.
fn last_invalidation(
    reader: &Reader,
    site: &SiteName,
    tags: &SortedTags,
) -> Result<Option<v1::InvalidationRecord>, ReaderError> {
    let (mut token, mut seen, mut left) = (String::new(), 0, MAX_COMPARISONS);
    while seen < LOOK_BACK && left > 0 {
        let page = reader.audit(site, &PageRequest::parse(STEP, &token)?)?;
        seen += page.items.len();
        for record in page.items {
            match tags.are_hit_by(&record.patterns, &mut left) {
                Some(true) => return Ok(Some(record)),
                Some(false) => {}
                // What lies further back would not be the newest.
                None => return Ok(None),
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(None);
        }
        token = page.next_page_token;
    }
    Ok(None)
}

/// Tags in their order, so that a pattern is compared with those alone that begin as it
/// does.
struct SortedTags(Vec<String>);

impl SortedTags {
    /// The first [`MAX_TAGS`] of them.
    fn of(tags: impl Iterator<Item = String>) -> Self {
        let mut sorted = BTreeSet::new();
        for tag in tags {
            if sorted.len() == MAX_TAGS {
                break;
            }
            sorted.insert(tag);
        }
        Self(sorted.into_iter().collect())
    }

    /// Whether one of the patterns matches one of the tags; `None` if that would take
    /// more comparisons than are `left`. Each pattern costs one at least.
    fn are_hit_by(&self, patterns: &[String], left: &mut usize) -> Option<bool> {
        for pattern in patterns {
            *left = left.checked_sub(1)?;
            // What cannot be read may match.
            let Ok(pattern) = TagPattern::parse(pattern) else {
                return Some(true);
            };
            let prefix = pattern.literal_prefix();
            let first = self.0.partition_point(|tag| tag.as_str() < prefix);
            let alike = self.0[first..].iter().take_while(|t| t.starts_with(prefix));
            for tag in alike {
                *left = left.checked_sub(1)?;
                if pattern.matches(tag) {
                    return Some(true);
                }
            }
        }
        Some(false)
    }
}

/// By edge and instance. What does not fit into one message is left without an
/// answer; who wants it names the edge.
fn fitting(explanations: Vec<Explanation>) -> Vec<v1::EdgeExplanation> {
    let mut bytes = 0;
    let fitting = explanations.into_iter().map(|explanation| {
        let size = explanation.answer.as_ref().map_or(0, |a| a.encoded_len());
        bytes += size;
        v1::EdgeExplanation {
            edge_id: explanation.edge.to_string(),
            instance_id: explanation.instance.to_string(),
            answer: explanation
                .answer
                .filter(|_| bytes <= MAX_PAGE_BYTES || bytes == size),
        }
    });
    fitting.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(texts: &[&str]) -> SortedTags {
        SortedTags::of(texts.iter().map(ToString::to_string))
    }

    fn patterns(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_finds_the_tags_that_it_matches() {
        let tags = tags(&["url:/a?b", "host:h", "item:1", "item:22", "news"]);
        let hit = |text| tags.are_hit_by(&patterns(&[text]), &mut 100);
        for text in ["item:1", "item:*", "*2", "*", "url:/a*", "i*2", "no, tag"] {
            assert_eq!(hit(text), Some(true), "{text}");
        }
        for text in ["item:2", "item", "url:/b*", "*3", "zebra*", "a"] {
            assert_eq!(hit(text), Some(false), "{text}");
        }
    }

    #[test]
    fn a_question_costs_so_many_comparisons_and_no_more() {
        let many: Vec<_> = (0..2 * MAX_TAGS).map(|n| format!("item:{n}")).collect();
        let tags = SortedTags::of(many.iter().cloned());
        assert_eq!(tags.0.len(), MAX_TAGS);
        // Compared with one tag, however many there are.
        let mut left = 10;
        let literals = patterns(&["other:1", "item:x"]);
        assert_eq!(tags.are_hit_by(&literals, &mut left), Some(false));
        assert_eq!(left, 8);
        // Each of these would have to be compared with every tag.
        let worst: Vec<_> = (0..2_000).map(|n| format!("*:{n}:x")).collect();
        let mut left = MAX_COMPARISONS;
        assert_eq!(tags.are_hit_by(&worst, &mut left), None);
        assert_eq!(left, 0);
    }

    #[test]
    fn the_tags_of_the_url_itself_are_never_those_left_out() {
        let many = (0..2 * MAX_TAGS).map(|n| format!("item:{n}"));
        let own = ["url:/a".to_owned(), "host:h".to_owned()];
        let tags = SortedTags::of(own.into_iter().chain(many));
        let own = patterns(&["url:/a"]);
        assert_eq!(tags.are_hit_by(&own, &mut 10), Some(true));
    }
}
