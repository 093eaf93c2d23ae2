//! The rules a manifest obeys that can be checked without its content.

use std::collections::{BTreeMap, HashMap};

use tidegate_domain::{Digest, FieldError, PathAndQuery};

use crate::limits::{
    MAX_CONTENT_TYPE_BYTES, MAX_FILE_BYTES, MAX_FILE_NAME_BYTES, MAX_FILES, MAX_LINK_BYTES,
    MAX_LINKS, MAX_PAGE_BYTES, MAX_PARTS,
};
use crate::manifest::{Kind, ManifestError};
use crate::problem::Problem;
use crate::resource::{Part, Resource};

type Resources = BTreeMap<String, Resource>;

/// Checks everything; the first breach is the error.
pub(crate) fn check(pages: &Resources, assets: &Resources) -> Result<(), ManifestError> {
    let found = pages.len() + assets.len();
    if found > MAX_FILES {
        return Err(ManifestError::TooMany { found });
    }
    let mut sizes = HashMap::new();
    for (kind, resources) in [(Kind::Page, pages), (Kind::Asset, assets)] {
        for (path, resource) in resources {
            let problem = |reason: String| Problem::new(path, &resource.file, reason);
            check_path(path).map_err(problem)?;
            check_fields(kind, resource).map_err(problem)?;
            check_encodings(resource).map_err(problem)?;
            check_sizes(resource, &mut sizes).map_err(problem)?;
            check_parts(path, kind, resource)?;
        }
    }
    if let Some((path, page)) = pages.iter().find(|(path, _)| assets.contains_key(*path)) {
        let reason = "this URL is both a page and an asset";
        return Err(Problem::new(path, &page.file, reason).into());
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    let url = PathAndQuery::parse(path).map_err(|error| error.within("path").to_string())?;
    if url.query().is_some() || url.path() != path {
        let allowed = format!("a normalised path without a query, such as {}", url.path());
        return Err(FieldError::new("path", path, allowed).to_string());
    }
    Ok(())
}

fn check_fields(kind: Kind, resource: &Resource) -> Result<(), String> {
    check_file(&resource.file)?;
    check_content_type(&resource.content_type)?;
    check_links(&resource.link)?;
    let max = match kind {
        Kind::Page => MAX_PAGE_BYTES,
        Kind::Asset => MAX_FILE_BYTES,
    };
    if resource.size > max {
        return Err(wrong("size", resource.size, format!("at most {max} bytes")));
    }
    Ok(())
}

fn check_file(file: &str) -> Result<(), String> {
    let inside = file
        .split('/')
        .all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    if !inside || file.len() > MAX_FILE_NAME_BYTES || file.contains('\0') {
        let allowed =
            format!("a relative path below the site's folder, at most {MAX_FILE_NAME_BYTES} bytes");
        return Err(wrong("file", file, allowed));
    }
    Ok(())
}

/// A content type that can stand in a header field.
pub(crate) fn check_content_type(value: &str) -> Result<(), String> {
    let (kind, rest) = value.split_once('/').unwrap_or_default();
    let token = |text: &str| {
        let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(tchar)
    };
    let subtype = rest.split(';').next().unwrap_or_default().trim_end();
    let fits = value.len() <= MAX_CONTENT_TYPE_BYTES && is_field_text(value);
    if !(fits && token(kind) && token(subtype)) {
        let allowed = format!(
            "type/subtype with optional parameters, visible ASCII, at most {MAX_CONTENT_TYPE_BYTES} bytes"
        );
        return Err(wrong("content_type", value, allowed));
    }
    Ok(())
}

/// Links that can stand in header fields.
pub(crate) fn check_links(links: &[String]) -> Result<(), String> {
    if links.len() > MAX_LINKS {
        return Err(wrong(
            "link",
            links.len(),
            format!("at most {MAX_LINKS} values"),
        ));
    }
    for (at, link) in links.iter().enumerate() {
        if !link.starts_with('<') || link.len() > MAX_LINK_BYTES || !is_field_text(link) {
            let allowed = format!(
                "`<URL>; rel=...` (RFC 8288) in visible ASCII and spaces, at most {MAX_LINK_BYTES} bytes"
            );
            return Err(wrong(&format!("link[{at}]"), link, allowed));
        }
    }
    Ok(())
}

/// Visible ASCII and inner spaces: safe in every HTTP version.
fn is_field_text(value: &str) -> bool {
    let visible = value.bytes().all(|b| (b' '..=b'~').contains(&b));
    visible && !value.starts_with(' ') && !value.ends_with(' ')
}

fn check_encodings(resource: &Resource) -> Result<(), String> {
    if resource.has_state() && !resource.encodings.is_empty() {
        let allowed = "none for a page with a state hole";
        return Err(wrong("encodings", resource.encodings.len(), allowed));
    }
    for (coding, variant) in &resource.encodings {
        if variant.size == 0 || variant.size >= resource.size {
            let allowed = format!("more than 0 and less than {}", resource.size);
            return Err(wrong(
                &format!("encodings.{coding}.size"),
                variant.size,
                allowed,
            ));
        }
    }
    Ok(())
}

/// One digest has one size, wherever it is named.
fn check_sizes(resource: &Resource, sizes: &mut HashMap<Digest, u64>) -> Result<(), String> {
    for (digest, size) in resource.blobs() {
        let known = *sizes.entry(digest).or_insert(size);
        if known != size {
            let allowed = format!("{known}, as stated elsewhere for {digest}");
            return Err(wrong("size", size, allowed));
        }
    }
    Ok(())
}

/// Slices follow each other without overlap and without loss: bytes may be left
/// out only where the state script takes their place.
fn check_parts(path: &str, kind: Kind, resource: &Resource) -> Result<(), Problem> {
    let parts = &resource.parts;
    let problem = |reason: String| Problem::new(path, &resource.file, reason);
    if parts.is_empty() {
        return Ok(());
    }
    if kind == Kind::Asset {
        return Err(problem(wrong("parts", parts.len(), "none for an asset")));
    }
    if parts.len() > MAX_PARTS {
        return Err(problem(wrong(
            "parts",
            parts.len(),
            format!("at most {MAX_PARTS}"),
        )));
    }
    let (mut end_of_last, mut behind_state, mut has_state) = (0, false, false);
    for (at, part) in parts.iter().enumerate() {
        let field = format!("parts[{at}]");
        match *part {
            Part::State => {
                if has_state {
                    let reason = wrong(&field, "state", "one state hole a page");
                    return Err(problem(reason).at(end_of_last));
                }
                (has_state, behind_state) = (true, true);
            }
            Part::Slice { start, end } => {
                let shown = format!("{start}..{end}");
                let allowed = if start >= end {
                    Some("start below end".to_owned())
                } else if start < end_of_last {
                    Some(format!(
                        "slices in order that do not overlap: from {end_of_last}"
                    ))
                } else if start > end_of_last && !behind_state {
                    Some(format!("no gap but at the state hole: from {end_of_last}"))
                } else if end > resource.size {
                    Some(format!("slices inside the file's {} bytes", resource.size))
                } else {
                    None
                };
                if let Some(allowed) = allowed {
                    return Err(problem(wrong(&field, shown, allowed)).at(start));
                }
                (end_of_last, behind_state) = (end, false);
            }
        }
    }
    if end_of_last < resource.size && !behind_state {
        let allowed = format!("parts up to the end of the file, {}", resource.size);
        return Err(problem(wrong("parts", end_of_last, allowed)).at(end_of_last));
    }
    Ok(())
}

fn wrong(field: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> String {
    FieldError::new(field, value, allowed).to_string()
}
