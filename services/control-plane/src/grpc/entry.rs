//! Pushed entries on the wire.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue};
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{FieldError, MAX_TAGS, PathAndQuery, Tag};
use tidegate_proto::{duration_from_wire, parse_url, v1};

use super::fields;
use crate::command::{EntryBody, PushedEntry};

/// With its fields such an entry stays below 4 MiB, the largest message that gRPC
/// clients take unless they are told otherwise.
pub(crate) const MAX_BODY_BYTES: usize = 4_000_000;
/// Bodies above this are blobs.
pub(crate) const MAX_INLINE_BYTES: usize = 4 << 10;
const MAX_FIELDS: usize = 100;
const MAX_FIELD_BYTES: usize = 16 << 10;
const MIN_TTL: Duration = Duration::from_secs(1);
pub(crate) const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Fields that a pushed response may not carry: those of one connection (RFC 9110
/// section 7.6.1), those an edge computes, and `Set-Cookie`, which is nobody else's.
const REFUSED: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "age",
    "date",
    "set-cookie",
];
/// Fields that carry tags, besides those the site names.
const TAG_FIELDS: [&str; 4] = ["cache-tag", "surrogate-key", "xkey", "cache-groups"];

/// Reads a pushed entry. Its body is inline; the caller stores a large one.
///
/// # Errors
/// The first field that breaks a rule, as `entry.…`.
pub(crate) fn read(site: &CheckedSite, entry: v1::Entry) -> Result<PushedEntry, FieldError> {
    read_inner(site, entry, false).map_err(|e| e.within("entry"))
}

/// Reads what an edge shares: the same, and `Date` may be there.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_shared(site: &CheckedSite, entry: v1::Entry) -> Result<PushedEntry, FieldError> {
    read_inner(site, entry, true).map_err(|e| e.within("entry"))
}

fn read_inner(
    site: &CheckedSite,
    entry: v1::Entry,
    is_shared: bool,
) -> Result<PushedEntry, FieldError> {
    let url = url_in("url", site, &entry.url)?;
    let status = u16::try_from(entry.status).ok();
    let status = status
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| FieldError::new("status", entry.status, "200 to 599"))?;
    let headers = header_fields("headers", &entry.headers)?;
    for (index, (name, _)) in headers.iter().enumerate() {
        if is_refused(site, name) && !(is_shared && name == "date") {
            return Err(FieldError::new(
                format!("headers[{index}].name"),
                name,
                "a field other than those of one connection, Content-Length, Age, Date, \
                 Set-Cookie and tag fields (use tags)",
            ));
        }
    }
    if entry.body.len() > MAX_BODY_BYTES {
        let found = format!("{} bytes", entry.body.len());
        return Err(FieldError::new("body", found, "at most 4,000,000 bytes"));
    }
    fields::at_most_elements("tags", entry.tags.len(), MAX_TAGS)?;
    let tags = entry.tags.iter().enumerate();
    let tags =
        tags.map(|(index, tag)| Tag::parse(tag).map_err(|e| named(e, &format!("tags[{index}]"))));
    let ttl = duration_from_wire("ttl", entry.ttl.as_ref(), Duration::ZERO)?;
    if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Err(FieldError::new(
            "ttl",
            format!("{ttl:?}"),
            "1 s to 1 year (365 days)",
        ));
    }
    Ok(PushedEntry {
        url,
        status,
        headers,
        vary: vary(&entry.vary)?,
        body: EntryBody::Inline(entry.body),
        tags: tags.collect::<Result<_, _>>()?,
        ttl,
        age: Duration::ZERO,
    })
}

/// Reads request fields to choose a variant by, sorted by name.
pub(crate) fn vary(wire: &[v1::HeaderField]) -> Result<Vec<(String, Bytes)>, FieldError> {
    let mut vary = header_fields("vary", wire)?;
    vary.sort();
    if let Some(twice) = vary.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(FieldError::new("vary", &twice[0].0, "each field once"));
    }
    if let Some((name, _)) = vary.iter().find(|(name, _)| name == "*") {
        return Err(FieldError::new("vary", name, "names of request fields"));
    }
    if let Some((name, _)) = vary.iter().find(|(name, _)| names_visitor(name)) {
        let allowed = "no field that names a visitor: an entry is for everybody";
        return Err(FieldError::new("vary", name, allowed));
    }
    Ok(vary)
}

/// Whether a request field says who asks. Edges keep such fields to themselves.
fn names_visitor(name: &str) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE]
        .iter()
        .any(|field| field == name)
}

/// Reads header fields, names in lower case.
pub(crate) fn header_fields(
    field: &str,
    wire: &[v1::HeaderField],
) -> Result<Vec<(String, Bytes)>, FieldError> {
    fields::at_most_elements(field, wire.len(), MAX_FIELDS)?;
    let bytes: usize = wire.iter().map(|h| h.name.len() + h.value.len()).sum();
    if bytes > MAX_FIELD_BYTES {
        return Err(FieldError::new(
            field,
            format!("{bytes} bytes"),
            "at most 16 KiB",
        ));
    }
    wire.iter()
        .enumerate()
        .map(|(index, header)| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| {
                let allowed = "a field name (RFC 9110, section 5.1)";
                FieldError::new(format!("{field}[{index}].name"), &header.name, allowed)
            })?;
            HeaderValue::from_bytes(&header.value).map_err(|_| {
                let found = String::from_utf8_lossy(&header.value);
                let allowed = "a field value (RFC 9110, section 5.5)";
                FieldError::new(format!("{field}[{index}].value"), found, allowed)
            })?;
            Ok((name.as_str().to_owned(), header.value.clone()))
        })
        .collect()
}

fn is_refused(site: &CheckedSite, name: &str) -> bool {
    let of_site = &site.config().cache.tag_headers;
    REFUSED.contains(&name)
        || TAG_FIELDS.contains(&name)
        || of_site.iter().any(|tag| tag.eq_ignore_ascii_case(name))
}

/// Reads a URL of the site; an error names `field`.
pub(crate) fn url_in(
    field: &str,
    site: &CheckedSite,
    url: &str,
) -> Result<PathAndQuery, FieldError> {
    parse_url(site, url).map_err(|error| named(error, field))
}

/// The same error about this field, whatever field it named before.
fn named(error: FieldError, field: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use tidegate_domain::site::SiteConfig;

    use super::*;

    fn site() -> CheckedSite {
        let config = SiteConfig {
            hosts: vec!["*".into()],
            ..SiteConfig::default()
        };
        config.check().unwrap()
    }

    fn header(name: &str, value: &str) -> v1::HeaderField {
        v1::HeaderField {
            name: name.into(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        }
    }

    fn good() -> v1::Entry {
        v1::Entry {
            url: "/a?b=1".into(),
            status: 200,
            headers: vec![header("Content-Type", "text/plain")],
            body: Bytes::from_static(b"hello"),
            tags: vec!["item:1".into()],
            ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            vary: vec![header("B", "2"), header("A", "1")],
        }
    }

    #[test]
    fn names_are_lowered_and_variants_sorted() {
        let entry = read(&site(), good()).unwrap();
        assert_eq!(entry.headers[0].0, "content-type");
        let vary: Vec<_> = entry.vary.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(vary, ["a", "b"]);
    }

    #[test]
    fn every_limit_of_the_contract_is_kept() {
        type Change = fn(&mut v1::Entry);
        let cases: [(&str, Change); 14] = [
            ("entry.url", |e| {
                e.url = "a".into();
            }),
            ("entry.status", |e| {
                e.status = 199;
            }),
            ("entry.status", |e| {
                e.status = 70_000;
            }),
            ("entry.headers[0].name", |e| {
                e.headers = vec![header("Set-Cookie", "a=b")];
            }),
            ("entry.headers[0].name", |e| {
                e.headers = vec![header("XKEY", "a")];
            }),
            ("entry.headers[0].name", |e| {
                e.headers = vec![header("a b", "a")];
            }),
            ("entry.headers[0].value", |e| {
                e.headers = vec![header("a", "b\n")];
            }),
            ("entry.headers", |e| {
                e.headers = vec![header("a", ""); 101];
            }),
            ("entry.body", |e| {
                e.body = Bytes::from(vec![0; MAX_BODY_BYTES + 1]);
            }),
            ("entry.tags[0]", |e| {
                e.tags = vec!["a b".into()];
            }),
            ("entry.tags", |e| {
                e.tags = vec!["a".into(); 65];
            }),
            ("entry.ttl", |e| {
                e.ttl = None;
            }),
            ("entry.vary", |e| {
                e.vary = vec![header("Cookie", "id=1")];
            }),
            ("entry.vary", |e| {
                e.vary = vec![header("a", "1"), header("A", "2")];
            }),
        ];
        for (field, change) in cases {
            let mut entry = good();
            change(&mut entry);
            assert_eq!(read(&site(), entry).unwrap_err().field, field);
        }
    }
}
