//! Paths that lead to other paths of the release.

use tidegate_domain::PathAndQuery;
use tidegate_domain::site::PagesConfig;
use tidegate_site::Manifest;

/// Where a request should go instead: status and `Location`.
pub(super) fn find(
    config: &PagesConfig,
    manifest: &Manifest,
    url: &PathAndQuery,
) -> Option<(u16, String)> {
    let path = url.path();
    if let Some(redirect) = config.redirects.iter().find(|r| r.from == path) {
        return Some((redirect.status, redirect.to.clone()));
    }
    if manifest.get(path).is_some() {
        return None;
    }
    let canonical = match path.strip_suffix("/index.html") {
        Some(folder) => format!("{folder}/"),
        None if path.ends_with('/') => return None,
        None => format!("{path}/"),
    };
    manifest.get(&canonical)?;
    let location = match url.query() {
        Some(query) => format!("{canonical}?{query}"),
        None => canonical,
    };
    // A path that begins with two slashes would be taken for another host.
    Some((308, format!("/{}", location.trim_start_matches('/'))))
}
