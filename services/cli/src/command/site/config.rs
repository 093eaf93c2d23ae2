//! A site's configuration from a file: YAML, TOML or JSON by the file's extension.

use std::path::Path;

use tidegate_domain::site::{CheckedSite, SiteConfig};

use crate::failure::Failure;
use crate::input;

/// The largest file, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Reads and checks a configuration.
///
/// # Errors
/// The file cannot be read, has another extension, cannot be parsed (then the error
/// names line and column), or a field breaks a rule (then it names the field).
pub(super) fn read(path: &Path) -> Result<CheckedSite, Failure> {
    let parse = parser_for(path)?;
    let bytes = input::read_file(path, MAX_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        wrong(path, &format!("line {line}: not UTF-8"))
    })?;
    let config = parse(text).map_err(|message| wrong(path, &message))?;
    config.check().map_err(|error| Failure::field(path, &error))
}

type Parser = fn(&str) -> Result<SiteConfig, String>;

fn parser_for(path: &Path) -> Result<Parser, Failure> {
    let extension = path.extension().and_then(|it| it.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("yaml" | "yml") => Ok(yaml),
        Some("toml") => Ok(toml),
        Some("json") => Ok(json),
        _ => Err(Failure::usage(format!(
            "{}: the extension says how to read the file; allowed: .yaml, .yml, .toml, .json",
            path.display()
        ))),
    }
}

fn wrong(path: &Path, message: &str) -> Failure {
    Failure::new("FILE", format!("{}: {message}", path.display()))
}

pub(super) fn yaml(text: &str) -> Result<SiteConfig, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        match error.location() {
            Some(at) => at_line(at.line(), at.column(), &message),
            None => message,
        }
    })
}

fn json(text: &str) -> Result<SiteConfig, String> {
    serde_json::from_str(text).map_err(|error| {
        at_line(
            error.line() as u64,
            error.column() as u64,
            &error.to_string(),
        )
    })
}

fn toml(text: &str) -> Result<SiteConfig, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            let line = 1 + before.matches('\n').count() as u64;
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = 1 + before[start..].chars().count() as u64;
            at_line(line, column, error.message())
        }
        None => error.message().to_owned(),
    })
}

fn at_line(line: u64, column: u64, message: &str) -> String {
    format!("line {line}, column {column}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn of(name: &str, text: &str) -> Result<CheckedSite, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    const YAML: &str = "hosts: [a.example]\ncache:\n  default_ttl: 10s\n";
    const TOML: &str = "hosts = [\"a.example\"]\n[cache]\ndefault_ttl = \"10s\"\n";
    const JSON: &str = "{\"hosts\": [\"a.example\"],\n \"cache\": {\"default_ttl\": \"10s\"}}\n";

    #[test]
    fn the_three_formats_say_the_same() {
        let yaml = of("a.yaml", YAML).unwrap();
        assert_eq!(yaml.config().cache.default_ttl.as_secs(), 10);
        assert_eq!(of("a.YML", YAML).unwrap(), yaml);
        assert_eq!(of("a.toml", TOML).unwrap(), yaml);
        assert_eq!(of("a.json", JSON).unwrap(), yaml);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_file_and_line() {
        let files = [
            ("a.yaml", YAML.replace("default_ttl", "defaultttl")),
            ("a.toml", TOML.replace("default_ttl", "defaultttl")),
            ("a.json", JSON.replace("default_ttl", "defaultttl")),
        ];
        for ((name, text), line) in files.iter().zip([3, 3, 2]) {
            let message = of(name, text).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
            assert!(message.contains("defaultttl"), "{message}");
            assert!(message.contains(&format!("line {line},")), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn a_bad_duration_says_what_is_allowed() {
        for (name, text) in [("a.yaml", YAML), ("a.toml", TOML), ("a.json", JSON)] {
            let text = text.replace("10s", "ten");
            let message = of(name, &text).unwrap_err().to_string();
            assert!(message.contains("\"ten\""), "{message}");
            assert!(message.contains("250ms"), "{message}");
        }
    }

    #[test]
    fn a_field_that_breaks_a_rule_is_named_by_its_path() {
        let text = format!("{YAML}  max_variants: 100000\n");
        let failure = of("a.yaml", &text).unwrap_err();
        assert!(
            failure.to_string().contains("cache.max_variants"),
            "{failure}"
        );
        let text = failure.to_json();
        assert!(text.contains("\"field\":\"cache.max_variants\""), "{text}");
    }

    #[test]
    fn other_files_are_refused() {
        let failure = of("a.ini", "").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains(".toml"), "{failure}");
        let missing = read(Path::new("/nonexistent/a.yaml")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/a.yaml"));
        let garbled = {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.yaml");
            std::fs::write(&path, b"hosts:\n  - \xff").unwrap();
            read(&path).unwrap_err()
        };
        assert!(
            garbled.to_string().contains("line 2: not UTF-8"),
            "{garbled}"
        );
    }
}
