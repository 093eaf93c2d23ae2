//! Which content coding a client gets (RFC 9110, section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tidegate_site::{Coding, Resource};

/// The smallest variant among those the client likes best; `None` is identity.
#[must_use]
pub(super) fn choose(request: &HeaderMap, resource: &Resource) -> Option<Coding> {
    let accepted = Accepted::parse(request);
    let identity = (
        accepted.weight("identity").unwrap_or(1),
        resource.size,
        None,
    );
    let variants = Coding::ALL.into_iter().filter_map(|coding| {
        let variant = resource.encodings.get(&coding)?;
        let weight = accepted.weight(coding.as_str())?;
        (weight > 0).then_some((weight, variant.size, Some(coding)))
    });
    // `identity` counts only as much as it was asked for: a client that names codings
    // wants one of them.
    variants
        .chain([identity])
        .max_by_key(|(weight, size, _)| (*weight, std::cmp::Reverse(*size)))
        .and_then(|(_, _, coding)| coding)
}

/// What `Accept-Encoding` says, with weights in thousandths.
struct Accepted<'a>(Vec<(&'a str, u16)>);

impl<'a> Accepted<'a> {
    fn parse(request: &'a HeaderMap) -> Self {
        let lists = request.get_all(ACCEPT_ENCODING).into_iter();
        let elements = lists
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        Self(
            elements
                .take(64)
                .filter_map(|element| {
                    let (coding, parameters) = match element.split_once(';') {
                        Some((coding, parameters)) => (coding, Some(parameters)),
                        None => (element, None),
                    };
                    let weight = parameters.map_or(Some(1000), weight)?;
                    Some((coding.trim(), weight))
                })
                .collect(),
        )
    }

    /// The weight of a coding; `None` if nothing is said of it.
    fn weight(&self, coding: &str) -> Option<u16> {
        let named = |name: &str| {
            let found = self.0.iter().find(|(c, _)| c.eq_ignore_ascii_case(name));
            found.map(|(_, weight)| *weight)
        };
        let by_name = named(coding);
        let by_alias = || (coding == "gzip").then(|| named("x-gzip")).flatten();
        // `*` is about codings that are not named; identity stays acceptable unless
        // it is excluded by name, and weighs less than what was asked for.
        let by_star = || (coding != "identity").then(|| named("*")).flatten();
        by_name.or_else(by_alias).or_else(by_star)
    }
}

fn weight(parameters: &str) -> Option<u16> {
    let value = parameters
        .trim()
        .strip_prefix(['q', 'Q'])?
        .trim_start()
        .strip_prefix('=')?;
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tidegate_domain::Digest;
    use tidegate_site::Variant;

    fn resource() -> Resource {
        let variant = |size| Variant {
            digest: Digest::of(b""),
            size,
        };
        Resource {
            file: "a".into(),
            content_type: "text/plain".into(),
            digest: Digest::of(b""),
            size: 100,
            encodings: BTreeMap::from([
                (Coding::Br, variant(40)),
                (Coding::Gzip, variant(60)),
                (Coding::Zstd, variant(50)),
            ]),
            link: Vec::new(),
            parts: Vec::new(),
        }
    }

    fn chosen(accept: &str) -> Option<Coding> {
        let mut request = HeaderMap::new();
        request.insert(ACCEPT_ENCODING, accept.parse().unwrap());
        choose(&request, &resource())
    }

    #[test]
    fn the_smallest_of_the_best_liked_is_sent() {
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", Some(Coding::Br)),
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("GZIP;q=1.0, br;q=0.5", Some(Coding::Gzip)),
            ("br;q=0, *", Some(Coding::Zstd)),
            ("br;q=0, gzip;q=0, zstd;q=0", None),
            ("identity", None),
            ("", None),
            ("deflate", None),
            ("gzip;q=nonsense", None),
            ("gzip;q=0.001", Some(Coding::Gzip)),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
        assert_eq!(choose(&HeaderMap::new(), &resource()), None);
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(accept in "[ -~]{0,60}") {
            let _ = chosen(&accept);
        }
    }
}
