//! The fields of stored responses in as little memory as they need, and how much that is.
//!
//! What comes off the wire are slices of a read buffer, each of which would keep all of
//! that alive: a field of ten bytes eight KiB.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

/// What the allocator takes for a block besides its bytes.
pub(super) const BLOCK_BYTES: usize = 16;
/// A name with the first of its values, and its place in the hash table, which has
/// between 4/3 and 8/3 as many.
const ENTRY_BYTES: usize = 104 + 8;
/// One more value of a name.
const EXTRA_BYTES: usize = 72;
/// What counts the holders of a buffer.
pub(super) const COUNTER_BYTES: usize = 24 + BLOCK_BYTES;

/// The same fields, their values in one buffer of their own.
#[must_use]
pub fn compacted(fields: &HeaderMap) -> HeaderMap {
    if fields.is_empty() {
        return HeaderMap::new();
    }
    let mut buffer = BytesMut::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    let buffer = buffer.freeze();
    let mut own = HeaderMap::with_capacity(fields.keys_len());
    let mut at = 0;
    for (name, value) in fields {
        let end = at + value.len();
        own.append(name, owned(buffer.slice(at..end), value));
        at = end;
    }
    // A copy has room for what is there and no more.
    own.clone()
}

/// A value that was one before is one in another buffer too.
fn owned(bytes: Bytes, value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}

/// Bytes that compacted fields take, besides the map itself.
#[must_use]
pub fn bytes(fields: &HeaderMap) -> usize {
    if fields.is_empty() {
        return 0;
    }
    let names = fields.keys_len();
    // Those that everybody uses take nothing, others more than their text.
    let texts: usize = fields.keys().map(|name| name.as_str().len()).sum();
    let values: usize = fields.values().map(HeaderValue::len).sum();
    names * ENTRY_BYTES
        + (fields.len() - names) * EXTRA_BYTES
        + texts
        + values
        + 3 * BLOCK_BYTES
        + COUNTER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacted_fields_are_the_same_and_keep_nothing_else_alive() {
        let read = Bytes::from(vec![b'x'; 8_192]);
        let mut fields = HeaderMap::new();
        for (name, len) in [("etag", 10), ("link", 0), ("link", 20), ("x-own", 3)] {
            let value = HeaderValue::from_maybe_shared(read.slice(..len)).unwrap();
            fields.append(name, value);
        }
        fields.get_mut("x-own").unwrap().set_sensitive(true);
        fields.insert("age", HeaderValue::from_bytes(b"\xff\t").unwrap());
        let own = compacted(&fields);
        assert_eq!(own, fields);
        assert!(own["x-own"].is_sensitive() && !own["etag"].is_sensitive());
        let order = |map: &HeaderMap| {
            map.iter()
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&own), order(&fields));
        drop(fields);
        assert!(read.is_unique());
    }
}
