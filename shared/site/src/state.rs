//! State of the application, made safe to stand inside a page.

use serde::de::IgnoredAny;

use crate::limits::{MAX_STATE_BYTES, MAX_STATE_DEPTH};

/// What stands before the escaped state in a page.
pub const STATE_SCRIPT_OPEN: &str = r#"<script type="application/json" id="tidegate-state">"#;

/// What stands behind it.
pub const STATE_SCRIPT_CLOSE: &str = "</script>";

/// Why something is not embedded as state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// More bytes than are embedded.
    #[error("the state has {size} bytes; allowed: at most {MAX_STATE_BYTES}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Nested deeper than parsers follow.
    #[error("the state is nested deeper than {MAX_STATE_DEPTH} at offset {offset}")]
    TooDeep {
        /// Where the first too deep value begins, in bytes.
        offset: usize,
    },
    /// Bytes that are no text.
    #[error("the state is not UTF-8 at offset {offset}")]
    NotUtf8 {
        /// Where the text ends, in bytes.
        offset: usize,
    },
    /// No JSON value, or more than one; the text gives line and column.
    #[error("the state is not one JSON value: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// Checks that `json` is one JSON value (RFC 8259) and returns it with everything
/// that HTML or JavaScript could take for markup escaped: `<`, `>`, `&`, U+2028 and
/// U+2029 as `\u003c` and so on. All else stays byte for byte.
///
/// # Errors
/// It is too large, too deep, no UTF-8, or not one JSON value.
pub fn escape_state(json: &[u8]) -> Result<Vec<u8>, StateError> {
    let mut escaped = Vec::new();
    escape_into(json, &mut escaped)?;
    Ok(escaped)
}

/// The escaped state between [`STATE_SCRIPT_OPEN`] and [`STATE_SCRIPT_CLOSE`]: the
/// bytes that fill the hole of a page.
///
/// # Errors
/// As [`escape_state`].
pub fn state_script(json: &[u8]) -> Result<Vec<u8>, StateError> {
    let mut script = STATE_SCRIPT_OPEN.as_bytes().to_vec();
    escape_into(json, &mut script)?;
    script.extend_from_slice(STATE_SCRIPT_CLOSE.as_bytes());
    Ok(script)
}

fn escape_into(json: &[u8], out: &mut Vec<u8>) -> Result<(), StateError> {
    if json.len() > MAX_STATE_BYTES {
        return Err(StateError::TooLarge { size: json.len() });
    }
    let text = std::str::from_utf8(json).map_err(|error| StateError::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    serde_json::from_str::<IgnoredAny>(text)?;
    check_depth(json)?;
    out.reserve(json.len() + json.len() / 16 + STATE_SCRIPT_CLOSE.len());
    // In valid JSON these characters occur inside strings only, where each may be
    // written as an escape, and never behind a backslash.
    let mut copied = 0;
    for (at, found) in text.match_indices(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        out.extend_from_slice(&json[copied..at]);
        out.extend_from_slice(match found {
            "<" => b"\\u003c",
            ">" => b"\\u003e",
            "&" => b"\\u0026",
            "\u{2028}" => b"\\u2028",
            _ => b"\\u2029",
        });
        copied = at + found.len();
    }
    out.extend_from_slice(&json[copied..]);
    Ok(())
}

/// Measures the nesting of valid JSON.
fn check_depth(json: &[u8]) -> Result<(), StateError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (offset, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_STATE_DEPTH {
                    return Err(StateError::TooDeep { offset });
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn markup_is_escaped_and_the_rest_stays() {
        let escaped = escape_state("{\"a\": \"</script><!--&\u{2028}\u{2029}é\"}".as_bytes());
        assert_eq!(
            String::from_utf8(escaped.unwrap()).unwrap(),
            "{\"a\": \"\\u003c/script\\u003e\\u003c!--\\u0026\\u2028\\u2029é\"}"
        );
        assert_eq!(
            state_script(b"1").unwrap(),
            br#"<script type="application/json" id="tidegate-state">1</script>"#
        );
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for bad in [
            &b""[..],
            b"  ",
            b"{",
            b"1 2",
            b"<html>",
            b"\"\xff\"",
            b"{\"a\":\"\xe2\x80\"}",
            b"\xef\xbb\xbf{}",
            b"'a'",
            b"\"\\<\"",
            b"\"a\nb\"",
        ] {
            assert!(escape_state(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn too_deep_and_too_large_are_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(escape_state(nested(MAX_STATE_DEPTH).as_bytes()).is_ok());
        assert!(matches!(
            escape_state(nested(MAX_STATE_DEPTH + 1).as_bytes()),
            Err(StateError::TooDeep {
                offset: MAX_STATE_DEPTH
            })
        ));
        assert!(escape_state(nested(1_000_000).as_bytes()).is_err());
        // Brackets inside a string are text.
        assert!(escape_state(format!("\"\\\"{}\"", "[".repeat(500)).as_bytes()).is_ok());
        let large = vec![b' '; MAX_STATE_BYTES + 1];
        assert!(matches!(
            escape_state(&large),
            Err(StateError::TooLarge { .. })
        ));
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = "[\\PC<>&\"\\\\/\u{2028}\u{2029}\u{0}-\u{1f}]{0,12}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn escaped_state_is_the_same_value_without_markup(value in json(), pretty in any::<bool>()) {
            let text = if pretty {
                serde_json::to_vec_pretty(&value).unwrap()
            } else {
                serde_json::to_vec(&value).unwrap()
            };
            let escaped = escape_state(&text).unwrap();
            prop_assert!(!escaped.iter().any(|b| b"<>&".contains(b)));
            let separators = ['\u{2028}', '\u{2029}'];
            prop_assert!(!String::from_utf8(escaped.clone()).unwrap().contains(separators));
            prop_assert_eq!(serde_json::from_slice::<Value>(&escaped).unwrap(), value);
        }

        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = escape_state(&bytes);
        }

        #[test]
        fn what_is_accepted_parses(text in "[\\[\\]{}\":,a<\\\\u0-9 ]{0,24}") {
            if let Ok(escaped) = escape_state(text.as_bytes()) {
                prop_assert!(!escaped.contains(&b'<'));
                prop_assert!(serde_json::from_slice::<IgnoredAny>(&escaped).is_ok());
            }
        }
    }
}
