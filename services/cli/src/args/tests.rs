//! The command line as a contract: each form that scripts rely on is read, and a bad
//! value ends with exit code 2 and names the option, the value and what is allowed.

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = std::iter::once("tidegate").chain(line.split_whitespace());
    Cli::try_parse_from(words)
}

fn read(line: &str) -> Cli {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What a person reads of a command line that is refused.
#[track_caller]
fn refused(line: &str) -> String {
    let error = parse(line)
        .err()
        .unwrap_or_else(|| panic!("{line} was read"));
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[track_caller]
fn invalidate(line: &str) -> InvalidateArgs {
    match read(line).command {
        Command::Invalidate(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_dev() {
    let global = read("edges").global;
    assert_eq!(global.control.to_string(), "http://127.0.0.1:7420");
    assert_eq!(global.site.as_str(), "dev");
    assert_eq!(global.output, OutputFormat::Table);
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let options = "--control http://[::1]:9/ --site docs --output json";
    for line in [format!("{options} edges"), format!("edges {options}")] {
        let global = read(&line).global;
        assert_eq!(global.control.to_string(), "http://[::1]:9");
        assert_eq!(global.site.as_str(), "docs");
        assert_eq!(global.output, OutputFormat::Json);
    }
    let global = read("site list --site docs").global;
    assert_eq!(global.site.as_str(), "docs");
}

#[test]
fn invalidate_takes_tags_urls_and_options_in_any_mix() {
    let args = invalidate("invalidate item:42 news:* --url /a?b=* --url /c --soft --reason why");
    let tags: Vec<_> = args.tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["item:42", "news:*"]);
    assert_eq!(args.urls, ["/a?b=*", "/c"]);
    assert!(args.soft);
    assert_eq!(args.reason, "why");
    assert_eq!(args.wait.limit(), None);
    assert!(
        invalidate("invalidate --url https://a.example/x")
            .tags
            .is_empty()
    );
    assert_eq!(invalidate("invalidate *").tags[0].as_str(), "*");
}

#[test]
fn waiting_has_a_default_and_a_limit() {
    let limit = |line| invalidate(line).wait.limit();
    assert_eq!(limit("invalidate a --wait"), Some(Duration::from_secs(15)));
    assert_eq!(
        limit("invalidate a --wait --wait-timeout 250ms"),
        Some(Duration::from_millis(250))
    );
    assert!(refused("invalidate a --wait-timeout 1s").contains("--wait"));
    let text = refused("invalidate a --wait --wait-timeout 11m");
    assert!(text.contains("'11m'") && text.contains("10m"), "{text}");
}

#[test]
fn invalidate_needs_something_to_invalidate() {
    assert!(refused("invalidate").contains("TAG_PATTERN"));
    assert!(refused("invalidate --soft").contains("--url"));
}

#[test]
fn a_dry_run_takes_nothing_that_only_a_real_run_has() {
    assert!(invalidate("invalidate a --cascade --dry-run").dry_run);
    for option in ["--wait", "--soft", "--spread 1s", "--idempotency-key k"] {
        refused(&format!("invalidate a --dry-run {option}"));
    }
}

#[test]
fn the_other_commands_of_the_contract_are_read() {
    let lines = [
        "publish-event price.changed {}",
        "publish-event price.changed - --audience item:*",
        "preload /a /b?c --audience item:*",
        "watch",
        "watch --all-sites",
        "edges",
        "audit --limit 5",
        "audit 17",
        "explain /a?b=c",
        "explain https://a.example/x --edge e1 --header accept-language:de --header x:y",
        "entries --prefix /a",
        "entry put /a - --header content-type:text/html --tag t --ttl 60s --vary accept:x",
        "entry get /a --body -",
        "entry list",
        "entry delete /a",
        "schedule put nightly news:* --cron */5 --url /a --soft --cascade --spread 1m --reason why",
        "schedule put hourly --url /a --every 90m",
        "schedule list --limit 5",
        "schedule delete nightly",
        "site apply site.yaml --name docs",
        "site show",
        "site reference",
        "site list",
        "site list --releases",
        "site delete docs",
        "site build dist --out built --fast",
        "site build dist --best",
        "site publish dist --label one --wait --wait-timeout 10s",
        "site publish dist --no-activate",
        "site publish dist --no-activate --activate --wait",
        "site activate sha256:abcdef --wait",
        "site releases",
        "site rollback",
        "site prune --keep 3",
        "control-plane backup a.backup",
        "control-plane backup -",
        "control-plane restore --data /var/lib/tidegate a.backup",
        "control-plane restore a.backup --data d --longest-lease 10m",
        "completions bash",
    ];
    for line in lines {
        read(line);
    }
}

#[test]
fn a_schedule_says_what_and_when_and_only_one_when() {
    assert!(refused("schedule put a t").contains("--every"));
    assert!(refused("schedule put a --every 1h").contains("TAG_PATTERN"));
    assert!(refused("schedule put a t --every 1h --cron *").contains("--cron"));
}

#[test]
fn a_restore_names_its_folder_and_a_backup_its_file() {
    assert!(refused("control-plane restore a.backup").contains("--data"));
    assert!(refused("control-plane restore --data d").contains("FILE"));
    assert!(refused("control-plane backup").contains("FILE"));
    let text = refused("control-plane restore --data d a.backup --longest-lease 9days");
    assert!(text.contains("'9days'") && text.contains("2days"), "{text}");
}

#[test]
fn a_release_is_activated_unless_the_last_word_is_no() {
    let no_activate = |line| match read(line).command {
        Command::Site(SiteCommand::Publish(args)) => args.no_activate,
        other => panic!("{other:?}"),
    };
    assert!(!no_activate("site publish dist"));
    assert!(no_activate("site publish dist --no-activate"));
    assert!(!no_activate("site publish dist --no-activate --activate"));
}

#[test]
fn a_bad_value_is_named_with_its_option_and_what_is_allowed() {
    let cases = [
        (
            "--control ftp://x edges",
            "--control",
            "ftp://x",
            "http://HOST:PORT",
        ),
        (
            "--control http://x/path edges",
            "--control",
            "http://x/path",
            "HOST:PORT",
        ),
        (
            "--control localhost:7420 edges",
            "--control",
            "localhost:7420",
            "http://",
        ),
        ("--site UPPER edges", "--site", "UPPER", "a-z"),
        ("--output yaml edges", "--output", "yaml", "json"),
        ("invalidate a,b", "TAG_PATTERN", "a,b", "comma"),
        (
            "invalidate --url relative",
            "--url",
            "relative",
            "begins with \"/\"",
        ),
        ("invalidate --url /%zz", "--url", "/%zz", "percent"),
        ("invalidate a --spread 2h", "--spread", "2h", "1h"),
        ("invalidate a --spread soon", "--spread", "soon", "250ms"),
        ("preload relative", "URL", "relative", "begins with \"/\""),
        (
            "publish-event invalidate x",
            "TYPE",
            "invalidate",
            "other than",
        ),
        ("publish-event a/b x", "TYPE", "a/b", "letters"),
        ("watch --from nonsense", "--from", "nonsense", "cursor"),
        ("audit --limit 0", "--limit", "0", "1..=100000"),
        ("audit 0", "REVISION", "0", "1"),
        ("audit 7 --limit 3", "--limit", "[REVISION]", "cannot"),
        ("explain a.example/x", "URL", "a.example/x", "http://HOST"),
        ("explain /a --edge A", "--edge", "A", "a-z"),
        ("explain /a --header x", "--header", "x", "NAME: VALUE"),
        ("entry put /a - --status 99", "--status", "99", "200..=599"),
        ("entry put /a - --ttl 0s", "--ttl", "0s", "1s"),
        ("entry put /a - --header x", "--header", "x", "NAME: VALUE"),
        ("entry put /a - --tag url:/x", "--tag", "url:/x", "url:"),
        ("schedule delete No!", "NAME", "No!", "a-z"),
        ("schedule put a t --every 999ms", "--every", "999ms", "1s"),
        (
            "schedule put a t --every 367days",
            "--every",
            "367days",
            "1year",
        ),
        (
            "schedule put a a,b --every 1h",
            "TAG_PATTERN",
            "a,b",
            "comma",
        ),
        ("site prune --keep -1", "--keep", "-1", ""),
        ("completions dos", "SHELL", "dos", "bash"),
    ];
    for (line, option, value, allowed) in cases {
        let text = refused(line);
        for part in [option, value, allowed] {
            assert!(text.contains(part), "{line}: no {part:?} in: {text}");
        }
    }
}

#[test]
fn a_tag_that_is_too_long_or_holds_a_space_is_refused() {
    for tag in ["a b".to_owned(), "x".repeat(257), String::new()] {
        let error = Cli::try_parse_from(["tidegate", "invalidate", &tag]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{tag:?}");
        assert!(error.to_string().contains("allowed:"), "{error}");
    }
}

#[test]
fn a_key_and_a_reason_are_bounded() {
    for (option, value) in [
        ("--idempotency-key", "x".repeat(129)),
        ("--idempotency-key", "a b".to_owned()),
        ("--reason", "x".repeat(1_025)),
    ] {
        let line = ["tidegate", "invalidate", "a", option, &value];
        assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn help_says_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("3  incomplete"), "{help}");
}
