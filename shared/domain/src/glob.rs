//! Matching of patterns in which each `*` stands for any run of characters.

/// Whether `text` matches `pattern`. Linear in the text for each run between two
/// stars: a pattern cannot make it blow up.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(prefix) else {
        return false;
    };
    let (middle, suffix) = match rest.rsplit_once('*') {
        Some((middle, suffix)) => (Some(middle), suffix),
        None => (None, rest),
    };
    // The leftmost place for each run leaves the most text for those behind it.
    for run in middle.into_iter().flat_map(|m| m.split('*')) {
        match text.find(run) {
            Some(at) => text = &text[at + run.len()..],
            None => return false,
        }
    }
    text.ends_with(suffix)
}

/// Whether some text matches both patterns.
#[must_use]
pub fn glob_intersects(a: &str, b: &str) -> bool {
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (false, true) => glob_matches(b, a),
        (true, false) => glob_matches(a, b),
        (true, true) => both_globs_intersect(a, b),
    }
}

/// Two patterns that both have a star meet if what stands before their first
/// stars agrees, and what stands behind their last: between the two, each can
/// stretch over whatever the other asks for.
fn both_globs_intersect(a: &str, b: &str) -> bool {
    let (a_prefix, b_prefix) = (before_first_star(a), before_first_star(b));
    let (a_suffix, b_suffix) = (after_last_star(a), after_last_star(b));
    (a_prefix.starts_with(b_prefix) || b_prefix.starts_with(a_prefix))
        && (a_suffix.ends_with(b_suffix) || b_suffix.ends_with(a_suffix))
}

fn before_first_star(pattern: &str) -> &str {
    pattern.split('*').next().unwrap_or_default()
}

fn after_last_star(pattern: &str) -> &str {
    pattern.rsplit('*').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("item:*", "item:42", true),
            ("item:*", "items:42", false),
            ("*:42", "item:42", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("**", "x", true),
            ("*ab*ab", "xabab", true),
            ("*ab*ab", "xab", false),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_meet_where_a_text_matches_both() {
        for (a, b, expected) in [
            ("item:*", "*:42", true),
            ("item:*", "news:*", false),
            ("item:*", "item:4*", true),
            ("*a", "*b", false),
            ("a*", "a", true),
            ("a*c", "ab*bc", true),
            ("*", "x*", true),
        ] {
            assert_eq!(glob_intersects(a, b), expected, "{a} {b}");
            assert_eq!(glob_intersects(b, a), expected, "{b} {a}");
        }
    }

    /// The definition, spelled out: quadratic, and plainly right.
    fn reference_matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                reference_matches(&pattern[1..], text)
                    || (!text.is_empty() && reference_matches(pattern, &text[1..]))
            }
            (Some(p), Some(t)) if p == t => reference_matches(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    fn reference_intersects(a: &[u8], b: &[u8]) -> bool {
        match (a.first(), b.first()) {
            (None, None) => true,
            (Some(b'*'), _) if reference_intersects(&a[1..], b) => true,
            (_, Some(b'*')) if reference_intersects(a, &b[1..]) => true,
            (Some(b'*'), Some(_)) => reference_intersects(a, &b[1..]),
            (Some(_), Some(b'*')) => reference_intersects(&a[1..], b),
            (Some(x), Some(y)) => x == y && reference_intersects(&a[1..], &b[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(
                glob_matches(&pattern, &text),
                reference_matches(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn intersection_agrees_with_its_definition(a in "[ab*]{0,7}", b in "[ab*]{0,7}") {
            prop_assert_eq!(
                glob_intersects(&a, &b),
                reference_intersects(a.as_bytes(), b.as_bytes())
            );
        }

        #[test]
        fn a_text_that_matches_both_is_never_missed(
            a in "[ab*]{0,6}", b in "[ab*]{0,6}", text in "[ab]{0,8}"
        ) {
            if glob_matches(&a, &text) && glob_matches(&b, &text) {
                prop_assert!(glob_intersects(&a, &b));
            }
        }
    }
}
