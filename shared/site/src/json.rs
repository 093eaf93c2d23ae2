//! JSON from outside: digests as text, maps whose size is bounded and whose keys
//! are unique.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::limits::MAX_FILES;

/// `sha256:` and 64 hex digits.
pub(crate) mod digest_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;
    use tidegate_domain::Digest;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Reads a map that names each key once and has at most [`MAX_FILES`] of them.
pub(crate) fn unique_map<'de, D, V>(from: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    from.deserialize_map(UniqueMap(PhantomData))
}

struct UniqueMap<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueMap<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.len() == MAX_FILES {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_FILES} entries"
                )));
            }
            let value = access.next_value()?;
            if let Some(earlier) = map.insert(key.clone(), value) {
                drop(earlier);
                return Err(A::Error::custom(format_args!("{key:?} is named twice")));
            }
        }
        Ok(map)
    }
}
