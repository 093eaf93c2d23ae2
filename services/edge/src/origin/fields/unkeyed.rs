//! Fields that would change what an origin answers and are no part of what the answer is
//! stored under. Origins, and the servers before them, take them for the word of a proxy;
//! from a client they are a way to have one URL stored under another, or a page that
//! leads elsewhere. They go no further.

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, Method};

use crate::cache::policy::invalidation::is_unsafe;

/// All that begins so is said anew or not at all: some say `X-Forward-` and mean the same.
const PREFIX: &str = "x-forward";

/// Of these none is passed on. What this proxy knows itself it says in fields of its own.
const OF_PROXIES: [&str; 23] = [
    // Where a request came from.
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    // Which host it is for, and in which scheme.
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-backend-host",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    // Which URL it asks for.
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-override-url",
    "x-request-uri",
    // Programs that are run for a request take it for the proxy that they are to use.
    "proxy",
    // What a proxy can do.
    "surrogate-capability",
    // Between browsers and edges.
    "tidegate-min-revision",
];

/// By these a safe method could be another one to the origin. Those that are not may say so:
/// what they bring answers no GET, and ends what is stored.
const OF_METHODS: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Fields that this proxy reads or sets, besides those above. With a `_` they would be past
/// it, and still be the same to some origins. Of a GET, whose response may be stored, no
/// field with a `_` is passed on: any of them could be one that the response is chosen by.
const READ_HERE: [&str; 9] = [
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "forwarded",
    "host",
    "range",
    "transfer-encoding",
];

/// Removes them.
pub(super) fn remove(method: &Method, fields: &mut HeaderMap) {
    let names: Vec<HeaderName> = fields
        .keys()
        .filter(|name| goes_no_further(name, method))
        .cloned()
        .collect();
    for name in &names {
        fields.remove(name);
    }
}

pub(super) fn goes_no_further(name: &HeaderName, method: &Method) -> bool {
    let text = name.as_str();
    // CGI and its heirs know no difference between the two.
    match text.contains('_') {
        true => {
            let other = text.replace('_', "-");
            let reads = matches!(*method, Method::GET | Method::HEAD);
            reads || READ_HERE.contains(&&*other) || is_unkeyed(&other, method)
        }
        false => *name == FORWARDED || is_unkeyed(text, method),
    }
}

fn is_unkeyed(name: &str, method: &Method) -> bool {
    is_of_proxies(name) || (!is_unsafe(method) && OF_METHODS.contains(&name))
}

/// Whether only a proxy may say it.
fn is_of_proxies(name: &str) -> bool {
    name.starts_with(PREFIX) || OF_PROXIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(method: &Method, names: &[&'static str]) -> Vec<String> {
        let value = http::HeaderValue::from_static("x");
        let mut fields: HeaderMap = names
            .iter()
            .map(|name| (HeaderName::from_static(name), value.clone()))
            .collect();
        remove(method, &mut fields);
        let mut left: Vec<_> = fields.keys().map(ToString::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn what_only_a_proxy_may_say_is_removed_in_every_spelling() {
        let names = [
            "forwarded",
            "x-forwarded-host",
            "x-forwarded",
            "x-forward-for",
            "x_forward_proto",
            "x_forwarded_host",
            "x-original-url",
            "x_original-url",
            "content_length",
            "transfer_encoding",
            "proxy",
            "x-host",
            "x-other",
            "x_other",
            "accept",
        ];
        assert_eq!(left(&Method::GET, &names), ["accept", "x-other"]);
        assert_eq!(
            left(&Method::POST, &names),
            ["accept", "x-other", "x_other"]
        );
    }

    #[test]
    fn no_spelling_is_past_what_a_stored_response_is_chosen_by() {
        let names = ["accept_encoding", "if_none_match", "x_country", "accept"];
        assert_eq!(left(&Method::GET, &names), ["accept"]);
        assert_eq!(left(&Method::HEAD, &names), ["accept"]);
    }

    #[test]
    fn what_may_be_stored_is_asked_for_with_its_own_method() {
        let names = ["x-http-method-override", "x_http_method"];
        assert!(left(&Method::GET, &names).is_empty());
        assert!(left(&Method::HEAD, &names).is_empty());
        assert!(left(&Method::OPTIONS, &names).is_empty());
        assert_eq!(left(&Method::POST, &names).len(), 2);
        // What is safe ends nothing that is stored.
        let search = Method::from_bytes(b"SEARCH").unwrap();
        assert!(left(&search, &names).is_empty());
    }
}
