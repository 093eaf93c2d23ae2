//! One page or asset of a release: its bytes by digest, and how to serve them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_domain::Digest;

use crate::json::digest_text;

/// A page or an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The file it came from, relative to the site's folder, with `/` between
    /// folders. For messages only.
    pub file: String,
    /// Value of `Content-Type`.
    pub content_type: String,
    /// Digest of the bytes without content coding.
    #[serde(with = "digest_text")]
    pub digest: Digest,
    /// Number of those bytes.
    pub size: u64,
    /// The same bytes encoded, where that is worth it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encodings: BTreeMap<Coding, Variant>,
    /// Values of `Link` header fields (RFC 8288).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<String>,
    /// How the page is cut. Empty: it is sent whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Resource {
    /// Whether the page has a hole that is filled with state at request time.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.parts.contains(&Part::State)
    }

    /// Whether a client is answered alike from both: bytes, content type, links and
    /// parts. The name of the file and the encoded variants do not count.
    #[must_use]
    pub fn serves_like(&self, other: &Self) -> bool {
        self.digest == other.digest
            && self.content_type == other.content_type
            && self.link == other.link
            && self.parts == other.parts
    }

    /// Digest and size of every blob it needs: the bytes, then the variants.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        let variants = self.encodings.values().map(|v| (v.digest, v.size));
        std::iter::once((self.digest, self.size)).chain(variants)
    }
}

/// A piece of a page, in the order in which the pieces are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Bytes `start..end` of the page.
    Slice {
        /// Offset of the first byte.
        start: u64,
        /// Offset behind the last byte.
        end: u64,
    },
    /// The state script. It stands in the place of the bytes between its
    /// neighbours.
    State,
}

/// Encoded bytes of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Digest of the encoded bytes.
    #[serde(with = "digest_text")]
    pub digest: Digest,
    /// Number of the encoded bytes.
    pub size: u64,
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Br, Self::Gzip, Self::Zstd];

    /// Its name in `Content-Encoding` and `Accept-Encoding`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
