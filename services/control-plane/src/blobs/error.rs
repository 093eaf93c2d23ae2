//! What can be wrong with a blob.

use std::io;

use thiserror::Error;
use tidegate_domain::Digest;

/// What is wrong with a blob or with the store.
#[derive(Debug, Error)]
pub enum BlobError {
    /// The bytes are others than the name says.
    #[error("the blob {expected} has the digest {found}: send the bytes it was computed from")]
    WrongDigest {
        /// Its name.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The bytes are more or fewer than announced.
    #[error("the blob {digest} was announced with {expected} bytes and has {found}")]
    WrongSize {
        /// Its name.
        digest: Digest,
        /// The size announced.
        expected: u64,
        /// The size so far, when it went wrong.
        found: u64,
    },
    /// It is larger than allowed.
    #[error("the blob {digest} has {size} bytes; allowed: at most {max}")]
    TooLarge {
        /// Its name.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The largest size.
        max: u64,
    },
    /// The file system refuses.
    #[error("{what}: {source}")]
    Io {
        /// The file or the blob.
        what: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}
