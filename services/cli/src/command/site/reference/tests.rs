//! The reference names every field that can be read, and its defaults and bounds are those of
//! the code: each is put into a site and read, checked and sent as `site apply` does it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_domain::site::SiteConfig;
use tidegate_proto::{site_from_wire, site_to_wire};

use super::super::config;
use super::REFERENCE;

/// What the reference says of one field.
#[derive(Debug)]
struct Entry {
    path: &'static str,
    said: Vec<Said>,
}

/// One thing that it says in the line of a field.
#[derive(Debug, PartialEq)]
enum Said {
    Required,
    /// Nothing, one value, or those of a list.
    Default(Vec<&'static str>),
    /// From here to there. Either may be the name of another field.
    Range(&'static str, &'static str),
    OneOf(Vec<&'static str>),
    /// So many elements of a list.
    Elements(usize, usize),
    /// So many bytes of a text, or of each element of a list.
    Bytes(usize, usize),
}

impl Said {
    fn read(phrase: &'static str) -> Self {
        let quoted: Vec<_> = phrase.split('`').skip(1).step_by(2).collect();
        let number = |text: &str| -> usize {
            let read = text.parse();
            read.unwrap_or_else(|_| panic!("{phrase:?}: {text:?} is no number"))
        };
        let count = |unit| {
            let (least, most) = phrase.strip_suffix(unit)?.split_once(" to ")?;
            Some((number(least), number(most)))
        };
        if phrase == "required" {
            Self::Required
        } else if phrase == "default none" {
            Self::Default(Vec::new())
        } else if phrase.starts_with("default `") {
            Self::Default(quoted)
        } else if let Some((least, most)) = count(" elements") {
            Self::Elements(least, most)
        } else if let Some((least, most)) = count(" bytes") {
            Self::Bytes(least, most)
        } else if let ([least, most], true) = (&*quoted, phrase.contains("` to `")) {
            Self::Range(least, most)
        } else {
            assert!(quoted.len() > 1, "what does {phrase:?} mean?");
            Self::OneOf(quoted)
        }
    }
}

/// The entries of the reference: lines such as "- `a.b`: default `1`; `0` to `9`."
fn entries() -> Vec<Entry> {
    let lines = REFERENCE.lines().filter_map(|it| it.strip_prefix("- `"));
    lines
        .map(|line| {
            let (path, said) = line.split_once("`: ").expect(line);
            let said = said.strip_suffix('.').expect(line);
            Entry {
                path,
                said: said.split("; ").map(Said::read).collect(),
            }
        })
        .collect()
}

/// The blocks of YAML in a text.
fn yaml_blocks(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// A site that has one of everything that a field can be in, and else nothing.
fn smallest() -> Value {
    json!({
        "hosts": ["a.example"],
        "origin": { "upstreams": [{ "url": "http://a" }], "health_check": {} },
        "cache": { "second_tier": {} },
        "pages": {
            "redirects": [{ "from": "/a", "to": "/b" }],
            "headers": [{ "path": "/", "name": "x", "value": "y" }],
        },
    })
}

/// The places of a path in a document, `[]` being each element.
fn get<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.').fold(vec![document], |found, part| {
        let name = part.trim_end_matches("[]");
        let found = found.into_iter().filter_map(|it| it.get(name));
        match part.ends_with("[]") {
            true => found.filter_map(Value::as_array).flatten().collect(),
            false => found.collect(),
        }
    })
}

/// The object that has the last name of the path, of the first elements, and that name.
fn parent<'v, 'p>(document: &'v mut Value, path: &'p str) -> (&'v mut Value, &'p str) {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parents = parents.split('.').filter(|it| !it.is_empty());
    let parent = parents.fold(document, |at, part| {
        let name = part.trim_end_matches("[]");
        if at.get(name).is_none() {
            at[name] = json!({});
        }
        match part.ends_with("[]") {
            true => &mut at[name][0],
            false => &mut at[name],
        }
    });
    (parent, name)
}

/// A site as it is in the end, or the field that is refused; empty if it is not known.
fn applied(document: &Value) -> Result<SiteConfig, String> {
    let config: SiteConfig = serde_json::from_value(document.clone()).map_err(|_| String::new())?;
    let checked = config.check().map_err(|error| error.field)?;
    let kept = site_from_wire(site_to_wire(checked.config()));
    Ok(kept.map_err(|error| error.field)?.config().clone())
}

/// What becomes of a value at a path.
fn refusal(path: &str, value: &Value) -> Option<String> {
    let mut document = smallest();
    let (parent, name) = parent(&mut document, path);
    parent[name] = value.clone();
    match applied(&document) {
        Err(field) => Some(field),
        Ok(config) => {
            // What is applied is what was said, and nothing in its place.
            let said: SiteConfig = serde_json::from_value(document).unwrap();
            assert_eq!(config, said, "{path}: {value}");
            None
        }
    }
}

#[track_caller]
fn assert_refused(path: &str, value: &Value) {
    let field = refusal(path, value).unwrap_or_else(|| panic!("{path} takes {value}"));
    // Elements are counted there.
    let unnumbered: String = field.chars().filter(|it| !it.is_ascii_digit()).collect();
    let is_here = field.is_empty() || unnumbered.trim_end_matches("[]") == path;
    assert!(is_here, "{path}: {value} is refused for {field}");
}

/// It is allowed; another field may have to change with it.
#[track_caller]
fn assert_allowed(path: &str, value: &Value) {
    let field = refusal(path, value).unwrap_or("another".into());
    let unnumbered: String = field.chars().filter(|it| !it.is_ascii_digit()).collect();
    let is_other = !field.is_empty() && unnumbered.trim_end_matches("[]") != path;
    assert!(is_other, "{path} does not take {}", shortened(value));
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// The fields of what is at a path, as the error says that names an unknown one; none if
/// nothing with fields is there.
fn fields_at(path: &str) -> Vec<String> {
    let unknown = json!({ "?": 0 });
    let mut document = smallest();
    if path.is_empty() {
        document = unknown;
    } else if let Some(list) = path.strip_suffix("[]") {
        let (parent, name) = parent(&mut document, list);
        parent[name] = json!([unknown]);
    } else {
        let (parent, name) = parent(&mut document, path);
        parent[name] = unknown;
    }
    let error = serde_json::from_value::<SiteConfig>(document).unwrap_err();
    known("unknown field `?`, expected ", &error.to_string())
}

/// What an error says is known.
fn known(beginning: &str, error: &str) -> Vec<String> {
    let known = error.strip_prefix(beginning).unwrap_or_default();
    let names = known.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// All paths that can be read: those that hold others, and those that hold values.
fn walk(path: &str, holders: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    for name in fields_at(path) {
        let path = match path {
            "" => name,
            _ => format!("{path}.{name}"),
        };
        let of_elements = format!("{path}[]");
        if !fields_at(&path).is_empty() {
            walk(&path, holders, values);
            holders.insert(path);
        } else {
            walk(&of_elements, holders, values);
            values.insert(path);
        }
    }
}

#[test]
fn every_field_is_in_the_reference_and_nothing_else() {
    let (mut holders, mut values) = (BTreeSet::new(), BTreeSet::new());
    walk("", &mut holders, &mut values);
    assert!(values.contains("cache.second_tier.wait"), "{values:?}");
    assert!(values.contains("pages.redirects[].status"), "{values:?}");
    let entries = entries();
    let said: BTreeSet<String> = entries.iter().map(|it| it.path.to_owned()).collect();
    assert_eq!(said.len(), entries.len(), "a field is there twice");
    let missing: Vec<_> = values.difference(&said).collect();
    assert!(missing.is_empty(), "not in the reference: {missing:?}");
    let unknown: Vec<_> = said.difference(&values).collect();
    assert!(unknown.is_empty(), "there is no such field: {unknown:?}");
    for holder in holders {
        let heading = format!("### `{holder}`");
        assert!(REFERENCE.contains(&heading), "no heading {heading}");
    }
}

#[test]
fn what_is_required_is_and_defaults_are_those_that_are_said() {
    for Entry { path, said } in entries() {
        let mut document = smallest();
        let (parent, name) = parent(&mut document, path);
        parent.as_object_mut().unwrap().remove(name);
        let applied = applied(&document);
        let default = said.iter().find_map(|it| match it {
            Said::Default(values) => Some(values),
            _ => None,
        });
        let Some(default) = default else {
            assert!(said.contains(&Said::Required), "{path} has no default");
            assert!(applied.is_err(), "{path} is not required");
            continue;
        };
        let config = serde_json::to_value(applied.expect(path)).unwrap();
        let real = match get(&config, path)[..] {
            [Value::Array(list)] => list.iter().map(text).collect(),
            [Value::String(empty)] if empty.is_empty() => Vec::new(),
            [value] => vec![text(value)],
            [] => Vec::new(),
            ref several => panic!("{path}: {several:?}"),
        };
        let is_same = real.len() == default.len()
            && real
                .iter()
                .zip(default)
                .all(|(a, b)| a == b || is_same_time(a, b));
        assert!(is_same, "{path}: {default:?} is said, {real:?} is so");
    }
}

/// A value as the reference writes it.
fn text(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

fn is_same_time(a: &str, b: &str) -> bool {
    let (a, b) = (humantime::parse_duration(a), humantime::parse_duration(b));
    a.is_ok() && a == b
}

#[test]
fn bounds_are_those_that_are_said() {
    let full: Value = serde_saphyr::from_str(yaml_blocks(REFERENCE)[1]).unwrap();
    for Entry { path, said } in entries() {
        let sample = *get(&full, path).first().expect(path);
        for said in &said {
            match said {
                Said::Required | Said::Default(_) => {}
                Said::Range(least, most) => check_range(path, least, most),
                Said::OneOf(values) => check_values(path, values),
                Said::Elements(least, most) => check_elements(path, sample, *least, *most),
                Said::Bytes(least, most) => check_bytes(path, sample, *least, *most),
            }
        }
        let has = |which: fn(&Said) -> bool| said.iter().any(which);
        let is_bounded = match sample {
            Value::Array(_) => has(|it| matches!(it, Said::Elements(..))),
            Value::Bool(_) => has(|it| matches!(it, Said::OneOf(_))),
            Value::String(text) if humantime::parse_duration(text).is_err() => true,
            _ => has(|it| matches!(it, Said::Range(..) | Said::OneOf(_))),
        };
        assert!(is_bounded, "{path} has no bounds");
    }
}

fn check_range(path: &str, least: &str, most: &str) {
    let defaults = serde_json::to_value(applied(&smallest()).unwrap()).unwrap();
    let of = |bound: &str| match get(&defaults, bound)[..] {
        [value] => text(value),
        _ => bound.to_owned(),
    };
    let (least, most) = (of(least), of(most));
    let (allowed, refused) = match (least.parse::<u64>(), most.parse::<u64>()) {
        (Ok(least), Ok(most)) => {
            let beyond = least.checked_sub(1).into_iter().chain([most + 1]);
            (json!([least, most]), beyond.map(Value::from).collect())
        }
        _ => {
            let read = |text: &str| humantime::parse_duration(text).expect(path);
            let write = |time| Value::from(humantime::format_duration(time).to_string());
            let (least, most) = (read(&least), read(&most));
            let instant = Duration::from_nanos(1);
            let beyond = least.checked_sub(instant).into_iter();
            let beyond = beyond.chain([most + instant]);
            let allowed = json!([write(least), write(most)]);
            (allowed, beyond.map(write).collect::<Vec<_>>())
        }
    };
    for value in allowed.as_array().unwrap() {
        assert_allowed(path, value);
    }
    for value in &refused {
        assert_refused(path, value);
    }
}

fn check_values(path: &str, values: &[&str]) {
    // What is no number and no truth value is a word.
    let of = |text: &str| text.parse().unwrap_or(Value::from(text));
    for value in values {
        assert_allowed(path, &of(value));
    }
    if of(values[0]).is_number() {
        let others = (0..1_000).filter(|it: &u32| !values.contains(&&*it.to_string()));
        others.for_each(|other| assert_refused(path, &other.into()));
    } else if of(values[0]).is_string() {
        let mut document = smallest();
        let (parent, name) = parent(&mut document, path);
        parent[name] = "?".into();
        let error = serde_json::from_value::<SiteConfig>(document).unwrap_err();
        let all = known("unknown variant `?`, expected ", &error.to_string());
        assert_eq!(values, all, "{path}");
    }
}

fn check_elements(path: &str, sample: &Value, least: usize, most: usize) {
    let of = |count| Value::from(vec![sample[0].clone(); count]);
    assert_allowed(path, &of(least));
    assert_allowed(path, &of(most));
    assert_refused(path, &of(most + 1));
    if least > 0 {
        assert_refused(path, &of(least - 1));
    }
}

fn check_bytes(path: &str, sample: &Value, least: usize, most: usize) {
    let text = text(sample.get(0).unwrap_or(sample));
    let of = |length: usize| {
        let text: String = text
            .chars()
            .chain(std::iter::repeat('a'))
            .take(length)
            .collect();
        match sample.is_array() {
            true => json!([text]),
            false => json!(text),
        }
    };
    assert_allowed(path, &of(least));
    assert_allowed(path, &of(most));
    assert_refused(path, &of(most + 1));
    if least > 0 {
        assert_refused(path, &of(least - 1));
    }
}

#[test]
fn the_examples_are_read_and_the_second_says_every_field() {
    let blocks = yaml_blocks(REFERENCE);
    for block in &blocks {
        let checked = config::yaml(block).unwrap().check();
        let config = checked.unwrap().config().clone();
        let kept = site_from_wire(site_to_wire(&config)).unwrap();
        assert_eq!(kept.config(), &config);
    }
    let [smallest, full] = blocks[..] else {
        panic!("two examples")
    };
    assert!(smallest.lines().count() < 6, "it is the smallest");
    let full: Value = serde_saphyr::from_str(full).unwrap();
    for Entry { path, .. } in entries() {
        assert!(!get(&full, path).is_empty(), "{path} is not in the example");
    }
}

#[test]
fn a_bound_that_depends_on_another_field_is_as_the_reference_says() {
    let serving = |time: &str| {
        let mut document = smallest();
        document["fenced"] = json!({ "mode": "serve-stale", "serve_stale_for": time });
        applied(&document)
    };
    assert_eq!(serving("999ms").unwrap_err(), "fenced.serve_stale_for");
    assert!(serving("1s").is_ok());
    let mut document = smallest();
    document["origin"]["health_check"] = json!({ "min_status": 300, "max_status": 299 });
    let refused = applied(&document).unwrap_err();
    assert_eq!(refused, "origin.health_check.max_status");
}

#[test]
fn the_files_of_the_readme_are_read_and_the_first_is_the_smallest() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(folder.join("../../README.md")).unwrap();
    let blocks = yaml_blocks(&readme);
    assert_eq!(blocks[0], yaml_blocks(REFERENCE)[0]);
    for block in blocks {
        config::yaml(block).unwrap();
    }
}
