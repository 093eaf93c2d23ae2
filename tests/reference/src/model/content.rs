//! Whether what a visitor got is what its status says: the bytes of one version, the right
//! part of it, or nothing because he has it already (RFC 9110, sections 13 to 15).

use super::Violation;
use crate::fields::{Fields, read_date};
use crate::history::{Version, Visit};

/// A byte range, both ends included.
type Range = (u64, u64);

/// Checks the answer against the version that it shows. What `is_passed_on` is as the origin
/// has cut it.
pub(super) fn check(visit: &Visit, version: &Version, is_passed_on: bool) -> Result<(), Violation> {
    let answer = &visit.answer;
    let Ok(body) = &answer.body else {
        return Ok(());
    };
    match answer.status {
        304 if !body.is_empty() => Err(Violation::new("content", "a 304 with content")),
        304 if !has_it(&visit.request, version, &answer.fields) => Err(Violation::new(
            "condition",
            format!("a 304, and the visitor does not have version {version:?}"),
        )),
        304 => Ok(()),
        412 if visit.request.has("if-match") => Ok(()),
        206 => check_part(visit, version, body, is_passed_on),
        416 => check_unsatisfied(visit, version),
        status if status != version.status => Err(Violation::new(
            "status",
            format!("{status} for a version of status {}", version.status),
        )),
        _ if visit.method == "HEAD" => {
            check_head(answer.fields.first("content-length"), version, body)
        }
        _ if *body != version.body => Err(Violation::new(
            "content",
            format!("{} bytes that are not those of {version:?}", body.len()),
        )),
        _ => Ok(()),
    }
}

fn check_head(length: Option<&str>, version: &Version, body: &[u8]) -> Result<(), Violation> {
    if !body.is_empty() {
        return Err(Violation::new("content", "an answer to HEAD with content"));
    }
    match length {
        Some(length) if length != version.body.len().to_string() => Err(Violation::new(
            "head",
            format!("a length of {length} where GET has {}", version.body.len()),
        )),
        _ => Ok(()),
    }
}

/// Whether the visitor has this version (RFC 9110, section 13.2.2).
fn has_it(request: &Fields, version: &Version, answer: &Fields) -> bool {
    if request.has("if-none-match") {
        let tags = request.list("if-none-match");
        let own = version.etag.as_deref().map(opaque);
        return tags
            .iter()
            .any(|tag| tag == "*" || Some(opaque(tag)) == own);
    }
    let Some(since) = request.date("if-modified-since") else {
        return false;
    };
    // What the origin does not date was modified, for all a cache knows, when it was sent
    // (RFC 9111, section 4.3.2).
    let modified = version.modified.or_else(|| answer.date("date"));
    modified.is_some_and(|modified| modified <= since)
}

/// A tag without the sign of weakness: for weak comparison.
pub(super) fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn is_strong(tag: &str) -> bool {
    !tag.starts_with("W/")
}

/// Whether ranges may be given to who sends this `If-Range` (RFC 9110, section 13.1.5).
fn if_range_holds(request: &Fields, version: &Version, answer: &Fields) -> bool {
    let Some(condition) = request.first("if-range") else {
        return true;
    };
    if condition.contains('"') {
        let own = version.etag.as_deref();
        return is_strong(condition) && own == Some(condition);
    }
    let modified = version.modified;
    // A date is strong if it is at least a second before the response (section 8.8.2.2).
    let is_strong = modified
        .zip(answer.date("date"))
        .is_some_and(|(m, d)| d > m);
    is_strong && modified.is_some() && modified == read_date(condition)
}

/// The ranges that a request selects of so many bytes; `None` if it has none that counts.
fn wanted(request: &Fields, complete: u64) -> Option<Vec<Range>> {
    let set = request.first("range")?.strip_prefix("bytes=")?;
    let mut ranges = Vec::new();
    for text in set.split(',').map(str::trim) {
        let (first, last) = text.split_once('-')?;
        let range = match (first, last) {
            ("", count) => {
                let count: u64 = count.parse().ok()?;
                (
                    complete.saturating_sub(count),
                    complete.wrapping_sub(1),
                    count > 0,
                )
            }
            (first, "") => (first.parse().ok()?, complete.wrapping_sub(1), true),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if first > last {
                    return None;
                }
                (first, last.min(complete.wrapping_sub(1)), true)
            }
        };
        if complete > 0 && range.2 && range.0 < complete {
            ranges.push((range.0, range.1));
        }
    }
    Some(ranges)
}

fn check_part(
    visit: &Visit,
    version: &Version,
    body: &[u8],
    is_passed_on: bool,
) -> Result<(), Violation> {
    let fields = &visit.answer.fields;
    let wrong = |what: String| Err(Violation::new("range", what));
    let complete = version.body.len() as u64;
    let Some(wanted) = wanted(&visit.request, complete) else {
        return wrong("a part that was not asked for".into());
    };
    if visit.method != "GET" || version.status != 200 {
        return wrong(format!("a part of {version:?} for {}", visit.method));
    }
    if !if_range_holds(&visit.request, version, fields) {
        return wrong(format!(
            "a part, and If-Range does not hold for {version:?}"
        ));
    }
    // Whoever has a copy has to look at the conditions first (section 13.2.2).
    let has_it = visit.request.has("if-none-match") && has_it(&visit.request, version, fields);
    if has_it && !is_passed_on {
        return wrong("a part for one who has the whole (If-None-Match comes first)".into());
    }
    let parts = match fields.first("content-range") {
        Some(place) => vec![(place.to_owned(), body.to_vec())],
        None => match parts_of(fields.first("content-type").unwrap_or_default(), body) {
            Some(parts) => parts,
            None => return wrong("neither a place nor several parts".into()),
        },
    };
    let mut sent = Vec::new();
    for (place, bytes) in parts {
        let Some((first, last, of)) = read_place(&place) else {
            return wrong(format!("the place {place}"));
        };
        if of != complete || last >= complete || first > last {
            return wrong(format!("{place} of {complete} bytes"));
        }
        let there = usize::try_from(first).unwrap_or(0)..=usize::try_from(last).unwrap_or(0);
        if version.body[there] != bytes[..] {
            return wrong(format!(
                "{place} with other bytes than those of {version:?}"
            ));
        }
        sent.push((first, last));
    }
    match covered(&sent) == covered(&wanted) {
        true => Ok(()),
        false => wrong(format!("{sent:?} where {wanted:?} was asked for")),
    }
}

fn check_unsatisfied(visit: &Visit, version: &Version) -> Result<(), Violation> {
    let complete = version.body.len() as u64;
    match wanted(&visit.request, complete) {
        Some(ranges) if ranges.is_empty() => Ok(()),
        _ => Err(Violation::new(
            "range",
            format!("416, and there are such bytes among {complete}"),
        )),
    }
}

/// Whether a 416 with this length may be told to the visitor.
pub(super) fn is_unsatisfied(visit: &Visit, version: &Version) -> bool {
    let told = format!("bytes */{}", version.body.len());
    visit.answer.fields.first("content-range") == Some(&told)
        && check_unsatisfied(visit, version).is_ok()
}

/// `bytes 0-4/10`.
fn read_place(text: &str) -> Option<(u64, u64, u64)> {
    let (range, complete) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((
        first.parse().ok()?,
        last.parse().ok()?,
        complete.parse().ok()?,
    ))
}

/// The parts of a message, each with its place (RFC 9110, section 14.6).
fn parts_of(content_type: &str, body: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=")?;
    // Bodies of scenarios are ASCII.
    let text = std::str::from_utf8(body).ok()?;
    let inner = text
        .strip_prefix(&format!("--{boundary}\r\n"))?
        .strip_suffix(&format!("\r\n--{boundary}--\r\n"))?;
    inner
        .split(&format!("\r\n--{boundary}\r\n"))
        .map(|part| {
            let (head, content) = part.split_once("\r\n\r\n")?;
            let place = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-range").then_some(value)
            })?;
            Some((place.to_owned(), content.as_bytes().to_vec()))
        })
        .collect()
}

/// The bytes that ranges cover.
fn covered(ranges: &[Range]) -> Vec<u64> {
    let mut bytes: Vec<u64> = ranges
        .iter()
        .flat_map(|(first, last)| *first..=*last)
        .collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes
}
