//! Header fields out of bytes: lines, which a field may not hold, part them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// One field, a line each time that it is there.
pub(crate) fn of(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines(data) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            fields.append(name, value);
        }
    }
    fields
}

/// Any fields, as `name: value`.
pub(crate) fn any(data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines(data) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// Fields behind an empty line come second: of a request and its response, say.
pub(crate) fn two(data: &[u8]) -> (HeaderMap, HeaderMap) {
    let blank = data.windows(2).position(|pair| pair == b"\n\n");
    let (first, second) = data.split_at(blank.unwrap_or(data.len()));
    (any(first), any(second))
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A server refuses requests with more.
    data.split(|byte| *byte == b'\n').take(100)
}
