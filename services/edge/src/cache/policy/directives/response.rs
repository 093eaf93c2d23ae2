//! What a response says of its reuse by a shared cache (RFC 9111, section 5.2.2, RFC 5861,
//! RFC 8246).

use std::time::Duration;

use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    EXPIRES, HeaderName, LAST_MODIFIED, VARY,
};

use super::grammar::{Argument, for_each};

/// The directives of a response that mean something to a shared cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `max-age`. Zero if it is malformed, or stated twice and not the same.
    pub max_age: Option<Duration>,
    /// `s-maxage`. Zero if it is malformed, or stated twice and not the same.
    pub s_maxage: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, of the response or of some fields.
    pub no_cache: Scope,
    /// `private`, of the response or of some fields.
    pub private: Scope,
    /// `public`.
    pub public: bool,
    /// `s-maxage`, well-formed: for whoever asks, as `public` is (RFC 9111, section 3.5).
    pub is_for_shared: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `no-transform`. Nothing is transformed here; it is for those behind (RFC 9111, section
    /// 5.2.2.6).
    pub no_transform: bool,
    /// `stale-while-revalidate` (RFC 5861). Zero if it is malformed, or stated twice and
    /// not the same.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861). Zero if it is malformed, or stated twice and not the
    /// same.
    pub stale_if_error: Option<Duration>,
}

/// To what of a response a directive applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// It is not there.
    #[default]
    Nothing,
    /// To these fields alone.
    Fields(Vec<HeaderName>),
    /// To all of it.
    Whole,
}

/// Fields without which a copy would be another response, or which say how it may be
/// used. A directive that names one applies to the whole response.
const INDISPENSABLE: [HeaderName; 10] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
];

impl Scope {
    /// Whether it is the whole response.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// The fields, unless it is the whole response.
    #[must_use]
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Nothing | Self::Whole => &[],
        }
    }

    fn widen(&mut self, argument: Argument<'_>) {
        let named = argument
            .names()
            .filter(|names| !names.iter().any(|name| INDISPENSABLE.contains(name)));
        match (named, &mut *self) {
            (_, Self::Whole) => {}
            (None, _) => *self = Self::Whole,
            (Some(names), Self::Nothing) => *self = Self::Fields(names),
            (Some(names), Self::Fields(fields)) => fields.extend(names),
        }
    }
}

impl ResponseDirectives {
    /// Reads `Cache-Control`.
    #[must_use]
    pub fn read(response: &HeaderMap) -> Self {
        let mut found = Self::default();
        for_each(response, &CACHE_CONTROL, |name, argument| {
            found.take(name, argument);
        });
        found
    }

    /// Takes one directive. Whether it means something here.
    pub(super) fn take(&mut self, name: &str, argument: Argument<'_>) -> bool {
        match name {
            "max-age" => state(&mut self.max_age, argument),
            "s-maxage" => {
                self.is_for_shared |= argument.seconds().is_some();
                state(&mut self.s_maxage, argument);
            }
            "stale-while-revalidate" => state(&mut self.stale_while_revalidate, argument),
            "stale-if-error" => state(&mut self.stale_if_error, argument),
            "no-cache" => self.no_cache.widen(argument),
            "private" => self.private.widen(argument),
            "no-store" => self.no_store = true,
            // What permits something counts only as it is defined.
            "public" => self.public |= argument == Argument::Absent,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "immutable" => self.immutable |= argument == Argument::Absent,
            // What is stored is what came, with it or without it.
            "no-transform" => {
                self.no_transform = true;
                return false;
            }
            // It permits, and it restricts.
            "must-understand" => match argument {
                Argument::Absent => self.must_understand = true,
                Argument::Text(_) | Argument::Malformed => self.no_store = true,
            },
            _ => return false,
        }
        true
    }

    /// It is for one person, or to be kept by nobody.
    #[must_use]
    pub fn keeps_others_out(&self) -> bool {
        self.no_store || self.private.is_whole()
    }

    /// The fields that must not be given to anybody but the one who asked.
    #[must_use]
    pub fn for_one(&self) -> Vec<HeaderName> {
        let mut names = self.private.fields().to_vec();
        names.extend_from_slice(self.no_cache.fields());
        names
    }

    /// Whether the response may be used for a time when it is stale, while it is refreshed
    /// (RFC 5861, section 3).
    #[must_use]
    pub fn may_be_used_while_refreshing(&self) -> bool {
        let window = self.stale_while_revalidate.unwrap_or_default();
        !window.is_zero() && !self.must_revalidate && !self.proxy_revalidate
    }
}

/// RFC 9111, section 4.2.1: of a time that is stated twice either the first holds or the
/// response is stale. Twice the same is no conflict; else it is stale.
fn state(slot: &mut Option<Duration>, argument: Argument<'_>) {
    let stated = argument.seconds().unwrap_or_default();
    *slot = Some(match *slot {
        Some(before) if before != stated => Duration::ZERO,
        _ => stated,
    });
}

#[cfg(test)]
mod tests {
    use super::super::grammar::MAX_SECONDS;
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> ResponseDirectives {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(CACHE_CONTROL, line.parse().unwrap());
        }
        ResponseDirectives::read(&map)
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn directives_are_read_whatever_their_form() {
        let found = read(&[
            "Max-Age=\"60\" , S-MAXAGE=10",
            "public,,no-cache=\"a, b\",Immutable",
        ]);
        assert_eq!((found.max_age, found.s_maxage), (secs(60), secs(10)));
        assert!(found.public && found.immutable && found.private == Scope::Nothing);
        assert_eq!(found.no_cache.fields(), ["a", "b"]);
        let huge = read(&["max-age=99999999999999999999"]);
        assert_eq!(huge.max_age, secs(MAX_SECONDS));
        // A comma or a directive inside of quotes is none.
        let found = read(&["x=\"no-store, max-age=1\\\", private\", max-age=5"]);
        assert_eq!(found.max_age, secs(5));
        assert!(!found.keeps_others_out());
    }

    #[test]
    fn what_is_malformed_or_contradicts_itself_is_stale() {
        for line in [
            "max-age=-1",
            "max-age=3600.0",
            "max-age=a",
            "max-age",
            "max-age=",
            "max-age =5",
            "max-age= 5",
            "max-age='5'",
            "max-age=5, max-age=6",
            "max-age=6, max-age=5, max-age=0",
        ] {
            assert_eq!(read(&[line]).max_age, secs(0), "{line}");
        }
        assert_eq!(read(&["max-age=5", "max-age=\"5\""]).max_age, secs(5));
        assert_eq!(read(&["stale-if-error=x"]).stale_if_error, secs(0));
    }

    #[test]
    fn what_cannot_be_read_may_have_been_a_prohibition() {
        let mut map = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"max-age=5, \xff").unwrap();
        map.insert(CACHE_CONTROL, value);
        assert!(ResponseDirectives::read(&map).no_store);
        assert!(read(&["max-age=5, x=\"y, no-store"]).no_store);
        assert!(read(&["no-store =1"]).no_store);
    }

    #[test]
    fn a_directive_with_names_applies_to_these_fields_alone() {
        // RFC 9111, sections 5.2.2.4 and 5.2.2.7.
        let found = read(&["private=\"Set-Cookie\", no-cache=x-a", "private=\"X-B\""]);
        assert_eq!(found.private.fields(), ["set-cookie", "x-b"]);
        assert_eq!(found.for_one(), ["set-cookie", "x-b", "x-a"]);
        assert!(!found.keeps_others_out());
        for whole in [
            "private",
            "private=\"\"",
            "private=\"a b\"",
            "private=\"a, vary\"",
            "private=\"a",
            "private=\"a\", private",
            "private, private=\"a\"",
        ] {
            assert!(read(&[whole]).private.is_whole(), "{whole}");
        }
    }

    #[test]
    fn what_permits_something_counts_only_as_it_is_defined() {
        for argument in ["=x", "=\"\"", "=", "=1"] {
            let line = format!("public{argument}, immutable{argument}");
            assert_eq!(read(&[&line]), ResponseDirectives::default(), "{line}");
            let found = read(&[&format!("no-store, must-understand{argument}")]);
            assert!(found.no_store && !found.must_understand, "{argument}");
            let found = read(&[&format!("must-understand{argument}")]);
            assert!(found.no_store, "it may have been a prohibition: {argument}");
            let found = read(&[&format!("no-store{argument}, must-revalidate{argument}")]);
            assert!(found.no_store && found.must_revalidate, "{argument}");
        }
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let map = [(CACHE_CONTROL, value)].into_iter().collect();
                let _ = ResponseDirectives::read(&map);
                let _ = super::super::RequestDirectives::read(&map);
            }
        }

        #[test]
        fn a_prohibition_is_never_lost(before in "[a-z=0-9 ]{0,10}", after in "[ -~]{0,20}") {
            let line = format!("{before}, No-Store ,{after}");
            prop_assert!(read(&[&line]).no_store);
        }
    }
}
