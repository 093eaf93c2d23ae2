//! Bounds on everything this crate reads.

/// The largest manifest, and the largest table of times, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024 * 1024;

/// Pages and assets of one release.
pub const MAX_FILES: usize = 200_000;

/// The largest file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The largest page, in bytes: pages are read whole to find and check their cuts.
/// Assets above this size are not precompressed.
pub const MAX_PAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Parts of one page.
pub const MAX_PARTS: usize = 256;

/// `Link` fields of one page or asset.
pub const MAX_LINKS: usize = 64;

/// The longest `Link` field, in bytes.
pub(crate) const MAX_LINK_BYTES: usize = 4096;

/// The longest content type, in bytes.
pub(crate) const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// The longest relative path of a file, in bytes.
pub(crate) const MAX_FILE_NAME_BYTES: usize = 4096;

/// The deepest folder below the site's.
pub(crate) const MAX_FOLDER_DEPTH: usize = 64;

/// The largest `site.json` that people write, in bytes: as much as a built one, so
/// that a built one in its place is recognised.
pub(crate) const MAX_AUTHORING_BYTES: u64 = MAX_MANIFEST_BYTES as u64;

/// The largest state that is embedded in a page, in bytes before escaping.
pub const MAX_STATE_BYTES: usize = 8 * 1024 * 1024;

/// The deepest nesting of such a state.
pub const MAX_STATE_DEPTH: usize = 128;

/// The largest window of a zstd frame, as a power of two: browsers refuse more.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 23;
