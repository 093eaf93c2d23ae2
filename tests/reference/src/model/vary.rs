//! Whether two requests are the same in what a response varies on (RFC 9111, section 4.1).

use std::collections::BTreeSet;

use crate::fields::Fields;

/// Whether a response to `first` with this `Vary` may answer `second`.
pub(super) fn selects(vary: &[String], first: &Fields, second: &Fields) -> bool {
    vary.iter().all(|name| {
        let name = name.to_ascii_lowercase();
        name != "*" && meaning(first, &name) == meaning(second, &name)
    })
}

/// What a field means: codings and languages are sets, what else there is a list.
fn meaning(request: &Fields, name: &str) -> Option<Vec<String>> {
    if !request.has(name) {
        return None;
    }
    let elements = request.list(name);
    if name != "accept-encoding" && name != "accept-language" {
        return Some(elements);
    }
    let elements: Vec<String> = elements
        .iter()
        .map(|element| element.to_ascii_lowercase().replace(' ', ""))
        .collect();
    // What is said of all that is not named (RFC 9110, section 12.5.3).
    let refuses_rest = elements.iter().any(|element| element == "*;q=0");
    let set: BTreeSet<String> = elements
        .iter()
        // To accept what needs no word is to say nothing. What is refused is always told: a server
        // may send what is named, whatever its weight.
        .filter(|element| *element != "identity" || refuses_rest)
        .map(|element| element.trim_end_matches(";q=1").to_owned())
        .map(|element| match name {
            // Which of the codings comes back is the origin's to choose.
            "accept-encoding" if !element.ends_with(";q=0") => {
                element.split(';').next().unwrap_or_default().to_owned()
            }
            _ => element,
        })
        .collect();
    Some(set.into_iter().collect())
}
