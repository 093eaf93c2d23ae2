//! What this edge would do with a GET, and why, for people: the same decisions as for a
//! request, in the same order, with nothing done.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_domain::{FieldError, Mode, PathAndQuery, normalize_host};
use tidegate_proto::{duration_to_wire, mode_to_wire, v1};

use super::front::OWN_PATHS;
use super::min_revision::{Asked, asked_now};
use crate::pages::PageRequest;
use crate::proxy::{CopyFacts, Explanation, LastHit, Visit, Would};
use crate::sites::{Site, Sites};

/// The most request fields that a question may bring.
const MAX_FIELDS: usize = 16;

/// Answers a question about a URL.
pub(crate) fn explain(sites: &Sites, query: &v1::ExplainQuery) -> v1::ExplainAnswer {
    let standing = &sites.parts().standing;
    let answer = answer(sites, query).unwrap_or_else(|reason| v1::ExplainAnswer {
        verdict: v1::ExplainVerdict::Refuse.into(),
        reason,
        ..v1::ExplainAnswer::default()
    });
    v1::ExplainAnswer {
        applied: standing.now().applied.0,
        lease_left: standing.lease_left().map(duration_to_wire),
        ..answer
    }
}

/// The error: a sentence on why such a request is refused.
fn answer(sites: &Sites, query: &v1::ExplainQuery) -> Result<v1::ExplainAnswer, String> {
    let refused = |error: FieldError| error.to_string();
    let url = PathAndQuery::parse(&query.url).map_err(|e| refused(e.within("url")))?;
    let host = normalize_host(&query.host).map_err(refused)?;
    let fields = fields(query).map_err(refused)?;
    let site = sites
        .by_host(&host)
        .filter(|site| site.name.as_str() == query.site)
        .ok_or_else(|| format!("this edge serves no site {} at {host}", query.site))?;
    if url.path().starts_with(OWN_PATHS) {
        return Err("the edge answers this path by itself".to_owned());
    }
    let standing = &sites.parts().standing;
    let asked = asked_now(&fields, standing).map_err(refused)?;
    let visit = Visit {
        url: &url,
        host: &host,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        secure: false,
        moment: standing.now(),
        demand: asked.demand(),
        never_store: false,
        interim: None,
    };
    Ok(of_site(&site, &fields, &visit, asked))
}

/// The release answers what it holds, the cache and the origin the rest.
fn of_site(site: &Site, fields: &HeaderMap, visit: &Visit<'_>, asked: Asked) -> v1::ExplainAnswer {
    let rules = site.rules();
    let page = PageRequest {
        method: &Method::GET,
        headers: fields,
        url: visit.url,
        site: &rules.config,
        is_behind: asked.is_behind(),
    };
    let page = site.pages.explain(page, site.proxy.has_origin());
    let may_be_pushed = site.proxy.has_entries();
    let page = match page {
        Some(page) if !(page.is_missing && may_be_pushed) => Some(page),
        page => {
            let explained = site.proxy.explain(fields, named_port(fields), visit);
            if page.is_none() || explained.would != Would::Nothing {
                return of_proxy(explained);
            }
            page
        }
    };
    page.map_or_else(v1::ExplainAnswer::default, |page| v1::ExplainAnswer {
        verdict: match page.refuses {
            true => v1::ExplainVerdict::Refuse.into(),
            false => v1::ExplainVerdict::Release.into(),
        },
        reason: page.reason,
        release: page.release.to_string(),
        ..v1::ExplainAnswer::default()
    })
}

fn of_proxy(explained: Explanation) -> v1::ExplainAnswer {
    v1::ExplainAnswer {
        verdict: match explained.would {
            Would::Hit => v1::ExplainVerdict::Hit,
            Would::Stale => v1::ExplainVerdict::Stale,
            Would::Revalidate => v1::ExplainVerdict::Revalidate,
            Would::Fetch => v1::ExplainVerdict::Fetch,
            Would::Pass => v1::ExplainVerdict::Pass,
            Would::Refuse | Would::Nothing => v1::ExplainVerdict::Refuse,
        }
        .into(),
        reason: explained.reason,
        copy: explained.copy.map(copy),
        variants: u32::try_from(explained.variants).unwrap_or(u32::MAX),
        key: explained.key,
        ..v1::ExplainAnswer::default()
    }
}

fn copy(facts: CopyFacts) -> v1::StoredCopy {
    v1::StoredCopy {
        status: facts.status.as_u16().into(),
        stored_ago: Some(duration_to_wire(facts.stored_ago)),
        fill_revision: facts.filled.0,
        earlier_era: facts.earlier_era,
        tags: facts.tags.iter().map(ToString::to_string).collect(),
        fresh_for: Some(match facts.left_and_over {
            (left, over) if over.is_zero() => duration_to_wire(left),
            (_, over) => negative(duration_to_wire(over)),
        }),
        size: facts.size as u64,
        etag: facts.etag.unwrap_or_default(),
        last_invalidation: facts.last_hit.map(last_invalidation),
    }
}

fn last_invalidation(hit: LastHit) -> v1::LastInvalidation {
    let mode: Mode = hit.mode;
    v1::LastInvalidation {
        revision: hit.revision.0,
        mode: mode_to_wire(mode).into(),
        tag: hit.tag,
        after_fill: hit.after_fill,
    }
}

fn negative(duration: prost_types::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: -duration.seconds,
        nanos: -duration.nanos,
    }
}

/// The fields of the request, with its host among them, as a browser sends it.
fn fields(query: &v1::ExplainQuery) -> Result<HeaderMap, FieldError> {
    let given = &query.request_headers;
    if given.len() > MAX_FIELDS {
        let allowed = format!("at most {MAX_FIELDS}");
        let count = given.len().to_string();
        return Err(FieldError::new("request_headers", count, allowed));
    }
    let mut fields = HeaderMap::new();
    for field in given {
        let wrong = || FieldError::new("request_headers", &field.name, "header fields of HTTP");
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(&field.value).map_err(|_| wrong())?;
        fields.append(name, value);
    }
    let host = HeaderValue::from_str(&query.host)
        .map_err(|_| FieldError::new("host", &query.host, "a host name"))?;
    fields.insert(HOST, host);
    Ok(fields)
}

/// The port that the host names, or 0.
fn named_port(fields: &HeaderMap) -> u16 {
    crate::proxy::port(&http::Uri::default(), fields)
}
