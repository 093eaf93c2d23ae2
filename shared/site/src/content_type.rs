//! `Content-Type` by the name of a file.
//!
//! The table is part of this crate on purpose: a content type is part of the
//! manifest, and a release's id must not change with the version of a dependency.
//! It holds what browsers fetch; the registry of media types decides the names.

/// What a file is by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileType {
    /// The media type, without parameters.
    pub(crate) media_type: &'static str,
    /// Whether it is text whose encoding a client has to be told.
    pub(crate) is_text: bool,
    /// Whether compressing it is worth a try.
    pub(crate) is_compressible: bool,
}

const UNKNOWN: FileType = binary("application/octet-stream");

const fn text(media_type: &'static str) -> FileType {
    FileType {
        media_type,
        is_text: true,
        is_compressible: true,
    }
}

/// Not compressed yet, but bytes, or text whose encoding its format fixes.
const fn plain(media_type: &'static str) -> FileType {
    FileType {
        media_type,
        is_text: false,
        is_compressible: true,
    }
}

const fn binary(media_type: &'static str) -> FileType {
    FileType {
        media_type,
        is_text: false,
        is_compressible: false,
    }
}

/// Sorted by extension, for the binary search.
const TYPES: &[(&str, FileType)] = &[
    ("7z", binary("application/x-7z-compressed")),
    ("aac", binary("audio/aac")),
    ("apng", binary("image/apng")),
    ("atom", text("application/atom+xml")),
    ("avif", binary("image/avif")),
    ("bmp", plain("image/bmp")),
    ("br", binary("application/octet-stream")),
    ("bz2", binary("application/x-bzip2")),
    ("cjs", text("text/javascript")),
    ("css", text("text/css")),
    ("csv", text("text/csv")),
    ("cur", plain("image/vnd.microsoft.icon")),
    ("eot", plain("application/vnd.ms-fontobject")),
    ("epub", binary("application/epub+zip")),
    ("flac", binary("audio/flac")),
    ("geojson", plain("application/geo+json")),
    ("gif", binary("image/gif")),
    ("glb", plain("model/gltf-binary")),
    ("gltf", plain("model/gltf+json")),
    ("gz", binary("application/gzip")),
    ("htm", text("text/html")),
    ("html", text("text/html")),
    ("ico", plain("image/vnd.microsoft.icon")),
    ("ics", text("text/calendar")),
    ("jpeg", binary("image/jpeg")),
    ("jpg", binary("image/jpeg")),
    ("js", text("text/javascript")),
    ("json", plain("application/json")),
    ("json5", plain("application/json5")),
    ("jsonld", plain("application/ld+json")),
    ("jxl", binary("image/jxl")),
    ("m3u8", plain("application/vnd.apple.mpegurl")),
    ("m4a", binary("audio/mp4")),
    ("m4s", binary("video/iso.segment")),
    ("m4v", binary("video/mp4")),
    ("map", plain("application/json")),
    ("md", text("text/markdown")),
    ("mjs", text("text/javascript")),
    ("mov", binary("video/quicktime")),
    ("mp3", binary("audio/mpeg")),
    ("mp4", binary("video/mp4")),
    ("mpd", text("application/dash+xml")),
    ("oga", binary("audio/ogg")),
    ("ogg", binary("audio/ogg")),
    ("ogv", binary("video/ogg")),
    ("opus", binary("audio/ogg")),
    ("otf", plain("font/otf")),
    ("pdf", binary("application/pdf")),
    ("png", binary("image/png")),
    ("rss", text("application/rss+xml")),
    ("svg", text("image/svg+xml")),
    ("tar", plain("application/x-tar")),
    ("tif", binary("image/tiff")),
    ("tiff", binary("image/tiff")),
    ("toml", text("application/toml")),
    ("ttf", plain("font/ttf")),
    ("txt", text("text/plain")),
    ("vtt", text("text/vtt")),
    ("wasm", plain("application/wasm")),
    ("wav", plain("audio/wav")),
    ("weba", binary("audio/webm")),
    ("webm", binary("video/webm")),
    ("webmanifest", plain("application/manifest+json")),
    ("webp", binary("image/webp")),
    ("woff", binary("font/woff")),
    ("woff2", binary("font/woff2")),
    ("xhtml", text("application/xhtml+xml")),
    ("xml", text("application/xml")),
    ("xsl", text("application/xslt+xml")),
    ("xz", binary("application/x-xz")),
    ("yaml", text("application/yaml")),
    ("yml", text("application/yaml")),
    ("zip", binary("application/zip")),
    ("zst", binary("application/zstd")),
];

/// What the file of this name is. Unknown extensions are bytes.
pub(crate) fn of_file(name: &str) -> FileType {
    let Some((_, extension)) = name.rsplit_once('.') else {
        return UNKNOWN;
    };
    let extension = extension.to_ascii_lowercase();
    TYPES
        .binary_search_by_key(&extension.as_str(), |(known, _)| known)
        .map_or(UNKNOWN, |at| TYPES[at].1)
}

/// Whether the file of this name is a page.
pub(crate) fn is_page(name: &str) -> bool {
    of_file(name).media_type == "text/html"
}

/// Whether bytes of this content type, as an author may have set it, are worth
/// compressing.
pub(crate) fn is_compressible(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let known = TYPES.iter().find(|(_, t)| t.media_type == media_type);
    known.map_or_else(
        || {
            media_type.starts_with("text/")
                || media_type.ends_with("+json")
                || media_type.ends_with("+xml")
        },
        |(_, t)| t.is_compressible,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TYPES.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn extensions_decide_in_any_case() {
        for (name, expected) in [
            ("index.html", "text/html"),
            ("A.HTM", "text/html"),
            ("x.min.js", "text/javascript"),
            ("font.woff2", "font/woff2"),
            ("LICENSE", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("a.", "application/octet-stream"),
        ] {
            assert_eq!(of_file(name).media_type, expected, "{name}");
        }
        assert!(is_page("a.html") && !is_page("a.xhtml"));
    }

    #[test]
    fn what_is_worth_compressing_goes_by_content_type() {
        assert!(is_compressible("text/html; charset=utf-8"));
        assert!(is_compressible("application/vnd.api+json"));
        assert!(is_compressible("text/x-custom"));
        assert!(!is_compressible("image/png"));
        assert!(!is_compressible("application/octet-stream"));
    }
}
