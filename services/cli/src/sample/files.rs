//! The pages and assets, inside the program.

use std::fs;
use std::io;
use std::path::Path;

/// Each file by its name.
const FILES: [(&str, &[u8]); 7] = [
    ("404.html", include_bytes!("site/404.html")),
    ("app.js", include_bytes!("site/app.js")),
    ("icon.svg", include_bytes!("site/icon.svg")),
    ("index.html", include_bytes!("site/index.html")),
    ("order.html", include_bytes!("site/order.html")),
    ("order.js", include_bytes!("site/order.js")),
    ("style.css", include_bytes!("site/style.css")),
];

/// Writes the site into a folder that exists.
///
/// # Errors
/// A file cannot be written.
pub fn unpack(dir: &Path) -> io::Result<()> {
    for (name, bytes) in FILES {
        fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_site::{BuildOptions, Kind};

    #[test]
    fn the_site_builds_without_a_warning_and_has_a_page_with_a_state_hole() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let build = tidegate_site::build(dir.path(), &BuildOptions::default(), &()).unwrap();
        assert_eq!(build.warnings, []);
        for page in ["/", "/order.html", "/404.html"] {
            assert_eq!(build.manifest.get(page).unwrap().0, Kind::Page, "{page}");
        }
        assert!(build.manifest.get("/order.html").unwrap().1.has_state());
        assert!(!build.manifest.get("/").unwrap().1.has_state());
        assert_eq!(build.manifest.assets().len(), 4);
    }

    #[test]
    fn pages_name_only_files_that_are_there() {
        let names: Vec<_> = FILES.iter().map(|(name, _)| format!("/{name}")).collect();
        for (name, bytes) in FILES.iter().filter(|(name, _)| name.ends_with(".html")) {
            let text = std::str::from_utf8(bytes).unwrap();
            let links = text.split(['"']).filter(|it| it.starts_with('/'));
            for link in links.filter(|it| *it != "/") {
                assert!(names.iter().any(|it| it == link), "{name}: {link}");
            }
        }
    }
}
