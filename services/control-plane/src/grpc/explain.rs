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
    let mut tags = BTreeSet::from([
        url_tag(&url).as_str().to_owned(),
        host_tag(&host).as_str().to_owned(),
    ]);
    for explanation in &explanations {
        let copy = explanation.answer.as_ref().and_then(|a| a.copy.as_ref());
        let of_copy = copy.into_iter().flat_map(|copy| &copy.tags);
        tags.extend(of_copy.cloned());
    }
    let tags: Vec<String> = tags.into_iter().take(MAX_TAGS).collect();
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
    tags: &[String],
) -> Result<Option<v1::InvalidationRecord>, ReaderError> {
    let (mut token, mut seen) = (String::new(), 0);
    while seen < LOOK_BACK {
        let page = reader.audit(site, &PageRequest::parse(STEP, &token)?)?;
        seen += page.items.len();
        let found = page.items.into_iter().find(|record| matches(record, tags));
        if found.is_some() || page.next_page_token.is_empty() {
            return Ok(found);
        }
        token = page.next_page_token;
    }
    Ok(None)
}

fn matches(record: &v1::InvalidationRecord, tags: &[String]) -> bool {
    record.patterns.iter().any(|pattern| {
        // What cannot be read may match.
        TagPattern::parse(pattern)
            .map_or(true, |pattern| tags.iter().any(|tag| pattern.matches(tag)))
    })
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
