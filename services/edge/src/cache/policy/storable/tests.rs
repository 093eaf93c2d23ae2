//! Responses of every kind, and which of them may be stored.

use super::*;
use crate::cache::policy::freshness::AssumedTtl;
use http::HeaderName;
use http::header::{CACHE_CONTROL, EXPIRES, VARY};
use std::time::SystemTime;
use tidegate_clock::BootInstant;

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
const PLAIN: Asked = Asked {
    authorization: false,
    cookie: false,
};
const WITH_COOKIE: Asked = Asked {
    authorization: false,
    cookie: true,
};
const AUTHORIZED: Asked = Asked {
    authorization: true,
    cookie: false,
};

fn examined(status: u16, lines: &[(HeaderName, &str)], asked: Asked) -> Result<Terms, Unstorable> {
    let mut response = HeaderMap::new();
    for (name, value) in lines {
        response.append(name, value.parse().unwrap());
    }
    let now = Now {
        boot: BootInstant::default(),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    };
    let defaults = Defaults {
        ttl: AssumedTtl {
            negative: Duration::from_secs(3),
            ..AssumedTtl::default()
        },
        stale_while_revalidate: Duration::from_secs(7),
        stale_if_unreachable: Duration::from_secs(9),
        targets: vec![CDN],
        ..Defaults::default()
    };
    let status = StatusCode::from_u16(status).unwrap();
    let delay = Duration::ZERO;
    examine(status, &response, asked, &defaults, now, delay).map(|admitted| admitted.terms)
}

#[test]
fn only_what_is_meant_for_all_is_stored() {
    use Unstorable::{Credentials, NoStore, Private, SetCookie, Status, Vary};
    let cookie = (SET_COOKIE, "a=b");
    let of = |value| (CACHE_CONTROL, value);
    for (status, lines, asked, expected) in [
        (200, vec![of("max-age=5")], PLAIN, None),
        (200, vec![of("max-age=5, no-store")], PLAIN, Some(NoStore)),
        (200, vec![of("max-age=5, private=\"x\"")], PLAIN, None),
        (200, vec![of("max-age=5, private")], PLAIN, Some(Private)),
        (
            200,
            vec![of("max-age=5, private=\"set-cookie\""), cookie.clone()],
            PLAIN,
            None,
        ),
        (200, vec![of("no-store"), (CDN, "max-age=5")], PLAIN, None),
        (
            200,
            vec![of("max-age=5"), (CDN, "private")],
            PLAIN,
            Some(Private),
        ),
        (
            200,
            vec![of("public"), (CDN, "max-age=5")],
            AUTHORIZED,
            Some(Credentials),
        ),
        (200, vec![of("max-age=5")], AUTHORIZED, Some(Credentials)),
        (
            200,
            vec![of("max-age=5, must-revalidate")],
            AUTHORIZED,
            None,
        ),
        (200, vec![of("s-maxage=5")], AUTHORIZED, None),
        // That it is never fresh does not say that it is for others, that it may be used
        // stale does.
        (
            200,
            vec![of("max-age=0, must-revalidate"), (ETAG, "\"a\"")],
            AUTHORIZED,
            Some(Credentials),
        ),
        (
            200,
            vec![(EXPIRES, "0"), (ETAG, "\"a\"")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("max-age=0, stale-while-revalidate=5")],
            WITH_COOKIE,
            None,
        ),
        (
            200,
            vec![of("no-cache, stale-while-revalidate=5")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("max-age=0, must-revalidate, stale-while-revalidate=5")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("max-age=0"), (ETAG, "\"a\"")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("max-age=x"), (ETAG, "\"a\"")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("max-age=5, no-cache"), (ETAG, "\"a\"")],
            WITH_COOKIE,
            Some(Credentials),
        ),
        (
            200,
            vec![of("public, max-age=0"), (ETAG, "\"a\"")],
            WITH_COOKIE,
            None,
        ),
        (200, vec![of("max-age=0"), (ETAG, "\"a\"")], PLAIN, None),
        // What permits counts only as it is defined.
        (200, vec![of("s-maxage=x")], AUTHORIZED, Some(Credentials)),
        (200, vec![of("s-maxage")], AUTHORIZED, Some(Credentials)),
        (
            200,
            vec![of("max-age=5"), cookie.clone()],
            PLAIN,
            Some(SetCookie),
        ),
        (
            200,
            vec![of("public, max-age=5, s-maxage=5"), cookie],
            PLAIN,
            Some(SetCookie),
        ),
        (200, vec![of("max-age=5")], WITH_COOKIE, None),
        (200, vec![(ETAG, "\"a\"")], WITH_COOKIE, Some(Credentials)),
        (200, vec![(ETAG, "\"a\"")], PLAIN, None),
        (200, vec![of("max-age=5"), (VARY, "*")], PLAIN, Some(Vary)),
        (206, vec![of("max-age=5")], PLAIN, Some(Status)),
        (302, vec![(ETAG, "\"a\"")], PLAIN, Some(Status)),
        (302, vec![of("max-age=5")], PLAIN, None),
        (499, vec![of("max-age=5")], PLAIN, None),
        (599, vec![of("public"), (ETAG, "\"a\"")], PLAIN, None),
        (429, vec![of("max-age=5")], PLAIN, Some(Status)),
        (511, vec![of("public, max-age=5")], PLAIN, Some(Status)),
        (503, vec![], PLAIN, None),
        (404, vec![], PLAIN, None),
        (404, vec![], WITH_COOKIE, Some(Credentials)),
        (403, vec![], PLAIN, Some(Status)),
        (
            200,
            vec![of("no-store, must-understand, max-age=5")],
            PLAIN,
            None,
        ),
        (
            599,
            vec![of("must-understand, max-age=5")],
            PLAIN,
            Some(Status),
        ),
    ] {
        let found = examined(status, &lines, asked).err();
        assert_eq!(found, expected, "{status} {lines:?} {asked:?}");
    }
}

#[test]
fn a_pushed_response_with_a_cookie_is_not_stored() {
    let now = Now {
        boot: BootInstant::default(),
        wall: SystemTime::UNIX_EPOCH,
    };
    let judged = |response: &HeaderMap| {
        let second = Duration::from_secs(1);
        let defaults = Defaults::default();
        examine_pushed(StatusCode::OK, response, second, second, &defaults, now).map(|_| ())
    };
    let mut response = HeaderMap::new();
    assert_eq!(judged(&response), Ok(()));
    response.insert(SET_COOKIE, "a=b".parse().unwrap());
    assert_eq!(judged(&response), Err(Unstorable::SetCookie));
}

#[test]
fn what_is_stale_at_once_is_stored_only_if_it_can_be_validated() {
    let zero = (
        CACHE_CONTROL,
        "max-age=0, stale-while-revalidate=0, must-revalidate",
    );
    assert_eq!(
        examined(200, std::slice::from_ref(&zero), PLAIN),
        Err(Unstorable::NoFreshness)
    );
    assert!(examined(200, &[zero, (ETAG, "\"a\"")], PLAIN).is_ok());
}

#[test]
fn stale_use_is_forbidden_where_the_origin_forbids_it() {
    let swr = |value| {
        examined(200, &[(CACHE_CONTROL, value)], PLAIN)
            .unwrap()
            .stale_while_revalidate
            .as_secs()
    };
    assert_eq!(swr("max-age=5"), 7);
    assert_eq!(swr("max-age=5, stale-while-revalidate=3"), 3);
    assert_eq!(
        swr("max-age=5, must-revalidate, stale-while-revalidate=3"),
        0
    );
    assert_eq!(swr("max-age=5, proxy-revalidate"), 0);
    assert_eq!(swr("s-maxage=5"), 0);
    assert_eq!(swr("s-maxage=5, stale-while-revalidate=3"), 3);
    assert_eq!(swr("max-age=5, stale-while-revalidate=x"), 0);
}

#[test]
fn who_is_cut_off_from_the_origin_uses_what_is_stale_unless_that_is_forbidden() {
    // RFC 9111, section 4.2.4.
    let unreachable = |value| {
        examined(200, &[(CACHE_CONTROL, value), (ETAG, "\"a\"")], PLAIN)
            .unwrap()
            .stale_if_unreachable
            .as_secs()
    };
    assert_eq!(unreachable("max-age=5"), 9);
    assert_eq!(unreachable("max-age=5, stale-if-error=1"), 9);
    for forbidden in ["must-revalidate", "proxy-revalidate", "s-maxage=5"] {
        assert_eq!(unreachable(forbidden), 0, "{forbidden}");
    }
    let none = examined(200, &[(CACHE_CONTROL, "stale-while-revalidate=0")], PLAIN);
    assert_eq!(none, Err(Unstorable::NoFreshness), "it is no freshness");
}

#[test]
fn a_failure_is_kept_no_longer_than_somebody_says() {
    let swr = |status, value| {
        examined(status, &[(CACHE_CONTROL, value)], PLAIN)
            .unwrap()
            .stale_while_revalidate
            .as_secs()
    };
    assert_eq!(swr(503, "max-age=5"), 0);
    assert_eq!(swr(404, "max-age=5"), 0);
    assert_eq!(swr(503, "max-age=5, stale-while-revalidate=3"), 3);
}

#[test]
fn fields_that_are_for_one_are_told() {
    // RFC 9111, sections 5.2.2.4 and 5.2.2.7.
    let lines = [(CACHE_CONTROL, "max-age=5, private=\"a\", no-cache=\"b\"")];
    let response = lines.map(|(name, value)| (name, value.parse().unwrap()));
    let now = Now {
        boot: BootInstant::default(),
        wall: SystemTime::UNIX_EPOCH,
    };
    let admitted = examine(
        StatusCode::OK,
        &response.into_iter().collect(),
        PLAIN,
        &Defaults::default(),
        now,
        Duration::ZERO,
    )
    .unwrap();
    assert_eq!(admitted.for_one, ["a", "b"]);
    assert!(!admitted.terms.no_cache);
}

#[test]
fn with_must_understand_a_status_is_stored_only_if_what_it_asks_of_a_cache_is_known() {
    // RFC 9111, section 5.2.2.3. Known and not here is what is about one request: of 412
    // and 416 its condition and its range, of 201, 202, 205, 407 and 424 what it did or
    // has to do. 206 and 304 are stored in other ways.
    #[rustfmt::skip]
    let understood = [
        200, 203, 204,
        300, 301, 302, 303, 307, 308,
        400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422,
        426, 451,
        500, 501, 502, 503, 504, 505,
    ];
    for status in 200..=599 {
        let of = |said| examined(status, &[(CACHE_CONTROL, said)], PLAIN).map(|_| ());
        let expected = match understood.contains(&status) {
            true => Ok(()),
            false => Err(Unstorable::Status),
        };
        // It takes `no-store` back.
        for said in [
            "must-understand, max-age=5",
            "must-understand, no-store, max-age=5",
        ] {
            assert_eq!(of(said), expected, "{status} {said}");
        }
        // Without it a status that nobody knows is stored for as long as is said.
        let stated = match status {
            206 | 304 | 428 | 429 | 431 | 511 => Err(Unstorable::Status),
            _ => Ok(()),
        };
        assert_eq!(of("max-age=5"), stated, "{status}");
    }
}
