//! Fields that describe the content of one message, and what becomes of them where a
//! response leaves or is stored with other content than it came with.

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderName};

/// Digests of the bytes of one message. `Digest`, which RFC 9530 makes obsolete, was used
/// for these and for those of the whole.
const DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// How the bytes of one message are to be read.
const FRAMING: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE];

/// What the bytes are.
const KIND: [HeaderName; 2] = [CONTENT_LANGUAGE, CONTENT_TYPE];

/// Whether a field of a 304 does not replace that of the copy: it is about the body, which
/// stays (RFC 9111, section 3.2).
#[must_use]
pub fn stays_with_the_body(name: &HeaderName) -> bool {
    FRAMING.contains(name) || DIGESTS.contains(name)
}

/// Removes what a response without content says nothing of (RFC 9110, section 15.4.5).
pub fn remove_all(fields: &mut HeaderMap) {
    for name in KIND.iter().chain(&FRAMING).chain(&DIGESTS) {
        fields.remove(name);
    }
}

/// Removes what is of the bytes of one message, where others take their place: a part that
/// of the whole, or the whole that of a part.
pub fn remove_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
}
