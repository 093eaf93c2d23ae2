//! Ways to make an edge break a rule without touching it: it is told less, or something
//! else, than what the origin, the visitor or the backend said, and the model knows what
//! they said. Whatever the model looks for, one of these shows that it finds it.

use super::reply::Said;
use crate::fields::Fields;

/// How a field of a request is called while it is kept from the edge.
const HIDDEN: &str = "x-hidden-";

/// What the edge is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing is kept from it.
    None,
    /// A directive of `Cache-Control`, and of targeted fields, in responses.
    Directive(&'static str),
    /// A field of responses.
    Field(&'static str),
    /// A field of responses has another value.
    Says(&'static str, &'static str),
    /// A directive of requests.
    RequestDirective(&'static str),
    /// A field of requests.
    RequestField(&'static str),
    /// Weak entity tags look strong.
    StrongTags,
    /// For how long a response may be used stale: it is told twice as long.
    StaleWindows,
    /// That what it asks about has changed.
    Changes,
    /// Invalidations.
    Invalidations,
    /// Soft invalidations: hard ones it hears of.
    SoftInvalidations,
    /// Resets.
    Resets,
    /// That it was to begin anew.
    Restarts,
    /// That an unsafe request was carried out.
    UnsafeMethods,
    /// Consistency tokens.
    Tokens,
    /// Something of what another edge shares.
    Share(OfShare),
}

/// What an edge is not told of what another shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfShare {
    /// How old it is.
    Age,
    /// For which requests it is.
    Selection,
    /// That it was invalidated.
    Invalidations,
    /// That something was invalidated while it was fetched.
    Fence,
    /// What its bytes are.
    Bytes,
}

impl Lie {
    /// What the edge is told of a response.
    pub(super) fn response(self, mut fields: Fields) -> Fields {
        match self {
            Self::Directive(name) => {
                for field in ["cache-control", "cdn-cache-control", "surrogate-control"] {
                    without_directive(&mut fields, field, name);
                }
            }
            Self::Field(name) => fields.remove(name),
            Self::Says(name, value) => {
                for (n, v) in &mut fields.0 {
                    if n == name {
                        value.clone_into(v);
                    }
                }
            }
            Self::StaleWindows => {
                for field in ["cache-control", "cdn-cache-control"] {
                    with_longer_windows(&mut fields, field);
                }
            }
            Self::UnsafeMethods => fields.remove("cache-group-invalidation"),
            Self::StrongTags => {
                for (name, value) in &mut fields.0 {
                    if name == "etag" {
                        *value = value.trim_start_matches("W/").to_owned();
                    }
                }
            }
            _ => {}
        }
        fields
    }

    /// What the edge is told of a request.
    pub(super) fn request(self, mut fields: Fields) -> Fields {
        match self {
            Self::RequestDirective(name) => without_directive(&mut fields, "cache-control", name),
            Self::RequestField(name) => {
                for (n, _) in &mut fields.0 {
                    if n == name {
                        *n = format!("{HIDDEN}{name}");
                    }
                }
            }
            _ => {}
        }
        fields
    }

    /// What the origin is told of a request: what was kept from the edge, too.
    pub(super) fn uncovered(mut fields: Fields) -> Fields {
        for (name, _) in &mut fields.0 {
            if let Some(hidden) = name.strip_prefix(HIDDEN) {
                *name = hidden.to_owned();
            }
        }
        fields
    }

    /// What the edge is told of a version that it may have: that it has it still.
    pub(super) fn about_versions(self, request: &Fields, mut said: Said) -> Said {
        let is_conditional = request.has("if-none-match") || request.has("if-modified-since");
        if self == Self::Changes && is_conditional && said.status == 200 {
            said.status = 304;
            said.body.clear();
            for name in ["etag", "last-modified", "x-version", "x-kind"] {
                said.fields.remove(name);
            }
        }
        said
    }

    /// What the edge is told of the answer to an unsafe request.
    pub(super) fn status_of_change(self, status: u16) -> u16 {
        match self {
            Self::UnsafeMethods => 403,
            _ => status,
        }
    }
}

/// What extends the use of a response that is stale (RFC 5861) says twice its number.
fn with_longer_windows(fields: &mut Fields, field: &str) {
    let all = fields.list(field);
    let longer: Vec<_> = all
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name @ ("stale-while-revalidate" | "stale-if-error"), seconds)) => {
                let seconds: u64 = seconds.parse().unwrap_or_default();
                format!("{name}={}", 2 * seconds)
            }
            _ => text.clone(),
        })
        .collect();
    if longer != all {
        fields.remove(field);
        fields.add(field, longer.join(", "));
    }
}

fn without_directive(fields: &mut Fields, field: &str, directive: &str) {
    let all = fields.list(field);
    let left: Vec<_> = all
        .iter()
        .filter(|text| text.split('=').next() != Some(directive))
        .cloned()
        .collect();
    if left.len() < all.len() {
        fields.remove(field);
        if !left.is_empty() {
            fields.add(field, left.join(", "));
        }
    }
}
