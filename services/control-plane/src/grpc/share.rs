//! Responses that edges share with each other: the second tier.
//!
//! A share takes a place in the order, because what an invalidation removes and what
//! it does not must be the same for everyone who reads the log. So there are bounds
//! besides the quota: a share that is not news is refused by the state, and only so
//! many a second are proposed. What is not stored is fetched from the origin again;
//! nothing else comes of it.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_clock::{BootInstant, Clock};
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Cursor, FieldError, Revision, SiteName, normalize_host};
use tidegate_proto::v1;

use super::context::Context;
use super::fault::Fault;
use super::{entry, fields};
use crate::command::{Command, PushedEntry, Refusal};
use crate::fills::{Ended, Fetcher, FillKey};

/// Shares that are proposed in one second, of all sites and edges. At this rate the
/// log's million records last for hours.
const MAX_A_SECOND: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);
/// Fields that say who may keep a response (RFC 9111, RFC 9213). A share is kept only
/// if none of them objects, whichever of them it is that counts for an edge.
const CACHE_FIELDS: [&str; 3] = ["cache-control", "cdn-cache-control", "surrogate-control"];

/// Counts the shares of the present second.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<(BootInstant, u32)>);

impl Pace {
    /// Whether one more may be proposed now.
    fn admits(&self, clock: &dyn Clock) -> bool {
        let now = clock.boot();
        let mut counted = self.0.lock();
        if counted.1 == 0 || now.saturating_since(counted.0) >= SECOND {
            *counted = (now, 0);
        }
        let admitted = counted.1 < MAX_A_SECOND;
        counted.1 += u32::from(admitted);
        admitted
    }

    /// Whether one more would be admitted now: else nothing is worth fetching for others.
    pub(crate) fn has_room(&self, clock: &dyn Clock) -> bool {
        let counted = self.0.lock();
        counted.1 < MAX_A_SECOND || clock.boot().saturating_since(counted.0) >= SECOND
    }
}

/// Stores what an edge shares, or says that it is not stored.
///
/// # Errors
/// A field breaks a rule, there is no such site, or the log takes nothing.
pub(crate) async fn store(
    context: &Context,
    caller: String,
    request: v1::StoreEntryRequest,
) -> Result<v1::StoreEntryResponse, Fault> {
    let received = context.clock.boot();
    let answer = |stored| Ok(v1::StoreEntryResponse { stored });
    let site = fields::site_name(&request.site)?;
    let filled_at = fields::cursor("fill_cursor", &request.fill_cursor)?;
    let view = context.site(&site)?;
    let wire = request.entry;
    let wire = wire.ok_or_else(|| FieldError::new("entry", "", "an entry"))?;
    let mut entry = entry::read_shared(&view.config, wire)?;
    check(&view.config, &entry).map_err(|e| e.within("entry"))?;
    let (none, year) = (Duration::ZERO, entry::MAX_TTL);
    entry.age = fields::duration("age", request.age.as_ref(), none, none, year)?;
    let told = match request.instance_id.is_empty() {
        true => None,
        false => Some((
            Fetcher {
                edge: fields::instance_id(&request.instance_id)?,
                number: request.turn,
            },
            FillKey::of(&site, &entry.url, &key("key", &view.config, &request.key)?),
        )),
    };
    let offer = Offer {
        entry,
        filled_at,
        received,
    };
    let stored = put(context, caller, (site, view.revision()), offer).await;
    if let Some((fetcher, key)) = told {
        let how = match &stored {
            Ok(true) => Ended::Shared,
            Ok(false) | Err(_) => Ended::Unshared,
        };
        context.fills.end(&key, &fetcher, how);
    }
    answer(stored?)
}

/// Nothing will be shared of what an edge was told to fetch.
///
/// # Errors
/// A field breaks a rule, or there is no such site.
pub(crate) fn release(context: &Context, request: &v1::ReleaseEntryRequest) -> Result<(), Fault> {
    let site = fields::site_name(&request.site)?;
    let fetcher = Fetcher {
        edge: fields::instance_id(&request.instance_id)?,
        number: request.turn,
    };
    let view = context.site(&site)?;
    let url = entry::url_in("url", &view.config, &request.url)?;
    let key = FillKey::of(&site, &url, &key("key", &view.config, &request.key)?);
    context.fills.end(&key, &fetcher, Ended::Unshared);
    Ok(())
}

/// The request fields by which an edge finds what is shared: the host, and those of the
/// site's key.
///
/// # Errors
/// One of them breaks a rule, or there is no host of the site.
pub(crate) fn key(
    field: &str,
    site: &CheckedSite,
    wire: &[v1::HeaderField],
) -> Result<Vec<(String, Bytes)>, FieldError> {
    let key = entry::vary(wire).map_err(|e| FieldError {
        field: e.field.replacen("vary", field, 1),
        ..e
    })?;
    check_host(field, site, &key)?;
    Ok(key)
}

/// A response that an edge wants to share.
struct Offer {
    /// With its time as of when it was received.
    entry: PushedEntry,
    filled_at: Cursor,
    received: BootInstant,
}

async fn put(
    context: &Context,
    caller: String,
    (site, site_revision): (SiteName, Revision),
    offer: Offer,
) -> Result<bool, Fault> {
    if !context.shares.admits(&*context.clock) {
        return Ok(false);
    }
    let Offer {
        mut entry,
        filled_at,
        received,
    } = offer;
    context.keep_body(&mut entry).await?;
    // It has aged while its body waited for the disk; from here on the order counts.
    let waited = context.clock.boot().saturating_since(received);
    entry.age = entry.age.saturating_add(waited);
    entry.ttl = entry.ttl.saturating_sub(waited);
    if entry.ttl.is_zero() {
        return Ok(false);
    }
    let command = Command::StoreEntry {
        site,
        site_revision,
        entry: Box::new(entry),
        filled_at,
    };
    match context.propose_once(command, caller).await? {
        Ok(_) => Ok(true),
        Err(
            // The configuration of a moment ago is not worth a second reading.
            Refusal::SiteChanged
            | Refusal::InvalidatedSince(_)
            | Refusal::HistoryGone
            | Refusal::HeldBetter(_)
            | Refusal::OverQuota(_),
        ) => Ok(false),
        Err(refusal) => Err(refusal.into()),
    }
}

/// What only holds for shares: everyone may have it, it is whole, and it says of which
/// host it is.
fn check(site: &CheckedSite, entry: &PushedEntry) -> Result<(), FieldError> {
    if matches!(entry.status, 206 | 304) {
        let allowed = "a status of a whole response: neither 206 nor 304";
        return Err(FieldError::new("status", entry.status, allowed));
    }
    for (index, (name, value)) in entry.headers.iter().enumerate() {
        let field = |part| format!("headers[{index}].{part}");
        if name == "vary" {
            let allowed = "no Vary: the fields that were used belong into vary";
            return Err(FieldError::new(field("name"), name, allowed));
        }
        if CACHE_FIELDS.contains(&name.as_str()) && forbids_sharing(value) {
            let found = String::from_utf8_lossy(value);
            let allowed = "directives without no-store and private";
            return Err(FieldError::new(field("value"), found, allowed));
        }
    }
    check_host("vary", site, &entry.vary)
}

fn check_host(field: &str, site: &CheckedSite, vary: &[(String, Bytes)]) -> Result<(), FieldError> {
    let host = vary.iter().find(|(name, _)| name == "host");
    let host = host.and_then(|(_, value)| std::str::from_utf8(value).ok());
    let is_host = |host: &str| {
        let normal = normalize_host(host);
        normal.is_ok_and(|it| it == host && site.hosts().iter().any(|known| known.matches(host)))
    };
    let is_port = |port: &str| {
        let number = port.parse::<u16>();
        number.is_ok_and(|it| it != 0 && it.to_string() == port)
    };
    let is_known = |host: &str| {
        let named = host.rsplit_once(':');
        is_host(host) || named.is_some_and(|(host, port)| is_host(host) && is_port(port))
    };
    if host.is_some_and(is_known) {
        return Ok(());
    }
    let allowed = "host with the host of the request in lower case, one of the site's, and with \
                   the port if the request names one";
    Err(FieldError::new(field, host.unwrap_or_default(), allowed))
}

/// Whether a list of directives holds one that keeps a response from others. What is
/// inside a quoted string is taken for a directive too.
fn forbids_sharing(value: &[u8]) -> bool {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    value.split([',', ';', '"']).any(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        matches!(name, "no-store" | "private")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{PathAndQuery, SiteFilter};

    use super::*;
    use crate::grpc::context::tests::{all_reads, context_with_site};
    use crate::state::testing;

    fn site() -> CheckedSite {
        testing::config(&["a.example", "*.b.example"])
    }

    fn shared(host: &str) -> PushedEntry {
        testing::entry("/a", &[], &[("host", host)])
    }

    fn with_field(name: &str, value: &'static str) -> PushedEntry {
        let mut entry = shared("a.example");
        let value = Bytes::from_static(value.as_bytes());
        entry.headers.push((name.to_owned(), value));
        entry
    }

    #[test]
    fn what_is_private_partial_or_of_no_host_is_refused() {
        let mut partial = shared("a.example");
        partial.status = 206;
        let mut not_modified = shared("a.example");
        not_modified.status = 304;
        for (field, entry) in [
            ("status", partial),
            ("status", not_modified),
            ("vary", testing::entry("/a", &[], &[])),
            ("vary", shared("other.example")),
            ("vary", shared("A.example")),
            ("vary", shared("a.example:080")),
            ("vary", shared("a.example:")),
            ("vary", shared("a.example:1:2")),
            ("headers[1].name", with_field("vary", "accept")),
            ("headers[1].value", with_field("cache-control", "private")),
            (
                "headers[1].value",
                with_field("cache-control", "max-age=60, No-Store"),
            ),
            (
                "headers[1].value",
                with_field("cache-control", "private=\"set-cookie\""),
            ),
            (
                "headers[1].value",
                with_field("surrogate-control", "no-store"),
            ),
            (
                "headers[1].value",
                with_field("cdn-cache-control", "public,private"),
            ),
        ] {
            assert_eq!(
                check(&site(), &entry).unwrap_err().field,
                field,
                "{entry:?}"
            );
        }
        for good in [
            shared("a.example"),
            shared("x.b.example"),
            shared("a.example:8080"),
            with_field("cache-control", "public, max-age=60, no-cache"),
            with_field("x-private", "private"),
        ] {
            assert_eq!(check(&site(), &good), Ok(()));
        }
    }

    #[test]
    fn only_so_many_are_proposed_in_a_second() {
        let (pace, clock) = (Pace::default(), ManualClock::default());
        let admitted = |n: u32| (0..n).filter(|_| pace.admits(&clock)).count();
        assert_eq!(admitted(30), 30);
        clock.advance(Duration::from_millis(999));
        assert_eq!(admitted(100), 20);
        clock.advance(Duration::from_millis(1));
        assert_eq!(admitted(100), 50);
    }

    /// A share of 60 s that is too large to be kept beside what is known of it.
    fn large(context: &Context) -> v1::StoreEntryRequest {
        let head = context.log.head();
        let cursor = context.log.cursor_at(head, SiteFilter::ALL).unwrap();
        let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
        v1::StoreEntryRequest {
            site: "dev".into(),
            entry: Some(v1::Entry {
                url: "/a".into(),
                status: 200,
                body: vec![b'x'; entry::MAX_INLINE_BYTES + 1].into(),
                ttl: Some(seconds(60)),
                vary: vec![v1::HeaderField {
                    name: "host".into(),
                    value: Bytes::from_static(b"a.example"),
                }],
                ..v1::Entry::default()
            }),
            fill_cursor: cursor.to_string(),
            age: Some(seconds(7)),
            ..v1::StoreEntryRequest::default()
        }
    }

    #[tokio::test]
    async fn what_waits_for_the_disk_gets_older_meanwhile() {
        for (waited, is_stored) in [(20, true), (60, false)] {
            let clock = Arc::new(ManualClock::default());
            let folder = tempfile::tempdir().unwrap();
            let context = context_with_site(folder.path(), clock.clone()).await;
            let reads = all_reads(&context).await;
            let mut storing = Box::pin(store(&context, "edge".into(), large(&context)));
            assert!(storing.as_mut().now_or_never().is_none(), "it waits");
            clock.advance(Duration::from_secs(waited));
            drop(reads);
            assert_eq!(storing.await.unwrap().stored, is_stored, "{waited}");
            let host = ("host".to_owned(), Bytes::from_static(b"a.example"));
            let url = PathAndQuery::parse("/a").unwrap();
            let found = context.entry(testing::site("dev"), url, vec![host], Vec::new());
            let found = found.await.unwrap();
            let times = found.map(|(_, it)| (it.age.as_secs(), it.fresh_for.as_secs()));
            assert_eq!(times, is_stored.then_some((27, 40)));
        }
    }
}
