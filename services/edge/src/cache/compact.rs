//! The fields of stored responses in as little memory as they need, and how much that is.
//!
//! What comes off the wire are slices of a read buffer, each of which would keep all of
//! that alive: a field of ten bytes eight KiB.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::stored::StoredBody;

/// What the allocator takes for a block besides its bytes.
pub(super) const BLOCK_BYTES: usize = 16;
/// A name with the first of its values, and its place in the hash table, which has
/// between 4/3 and 8/3 as many.
const ENTRY_BYTES: usize = 104 + 8;
/// One more value of a name.
const EXTRA_BYTES: usize = 72;
/// What counts the holders of a buffer.
pub(super) const COUNTER_BYTES: usize = 24 + BLOCK_BYTES;

/// A body up to this size is kept in one buffer with the fields.
const SMALL_BODY: usize = 16 << 10;

/// Fields that are rarely looked at: a list, which takes less than a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld(Box<[(HeaderName, HeaderValue)]>);

impl Withheld {
    /// Takes fields.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let fields = fields.iter();
        Self(fields.map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    /// The fields, those of one name together.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The fields as a table.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in self.iter() {
            fields.append(name, value.clone());
        }
        fields
    }

    /// Bytes that they take, besides the list itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_field = |(name, value): (&HeaderName, &HeaderValue)| {
            size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        };
        self.iter().map(of_field).sum()
    }
}

/// The same fields and the same body, in one buffer of their own if the body is small: else
/// the fields alone.
#[must_use]
pub fn compacted(
    fields: &HeaderMap,
    withheld: &Withheld,
    body: StoredBody,
) -> (HeaderMap, Withheld, StoredBody) {
    let small = match &body {
        StoredBody::One(bytes) if bytes.len() <= SMALL_BODY => Some(bytes.clone()),
        _ => None,
    };
    let all = fields.iter().chain(withheld.iter());
    let texts: usize = all.map(|(_, value)| value.len()).sum();
    let small_bytes = small.as_ref().map_or(0, Bytes::len);
    let mut buffer = BytesMut::with_capacity(texts + small_bytes);
    for (_, value) in fields.iter().chain(withheld.iter()) {
        buffer.extend_from_slice(value.as_bytes());
    }
    buffer.extend_from_slice(small.as_deref().unwrap_or_default());
    let mut buffer = buffer.freeze();
    let mut own = |value: &HeaderValue| owned(buffer.split_to(value.len()), value);
    let mut own_fields = HeaderMap::with_capacity(fields.keys_len());
    for (name, value) in fields {
        own_fields.append(name, own(value));
    }
    let withheld = withheld
        .iter()
        .map(|(name, value)| (name.clone(), own(value)));
    let withheld = Withheld(withheld.collect());
    let body = match small {
        Some(_) => StoredBody::One(buffer),
        None => body,
    };
    // A copy of a table has room for what is there and no more.
    (own_fields.clone(), withheld, body)
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
        let withheld = Withheld::of(&fields);
        let body = StoredBody::One(read.slice(..100));
        let (own, own_withheld, body) = compacted(&fields, &withheld, body);
        assert_eq!(
            (&own_withheld, own_withheld.to_map()),
            (&withheld, fields.clone())
        );
        assert_eq!(body.pieces().concat(), vec![b'x'; 100]);
        assert_eq!(own, fields);
        assert!(own["x-own"].is_sensitive() && !own["etag"].is_sensitive());
        let order = |map: &HeaderMap| {
            map.iter()
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&own), order(&fields));
        drop((fields, withheld));
        assert!(read.is_unique());
    }
}
