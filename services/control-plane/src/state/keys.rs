//! The keys of the store. Numbers are big-endian, so that a position is a seek.
//!
//! Site names hold no `/`, URLs and tags no zero byte, so no key can be read in two
//! ways.

use std::time::{Duration, SystemTime};

use tidegate_domain::{
    CUT_TAG_BYTES, Digest, PathAndQuery, Revision, ScheduleName, SiteName, url_tag,
};

/// What this store is.
pub(crate) const STORE_META: &[u8] = b"meta/store";
/// The last revision that is gone from the log.
pub(crate) const FLOOR: &[u8] = b"meta/floor";
/// The last revision that is gone from the audit trail.
pub(crate) const AUDIT_FLOOR: &[u8] = b"meta/audit-floor";
/// Written when nothing else is.
pub(crate) const TOUCH: &[u8] = b"meta/touch";
/// The longest lease that was ever granted.
pub(crate) const LONGEST_LEASE: &[u8] = b"meta/longest-lease";
/// How long a lease may be that is not recorded.
pub(crate) const UNKNOWN_LEASES: &[u8] = b"meta/unknown-leases";
/// Terms by the revision at which they began.
pub(crate) const TERMS: &[u8] = b"meta/term/";
/// The log.
pub(crate) const LOG: &[u8] = b"log/";
/// Sites by name.
pub(crate) const SITES: &[u8] = b"site/";
/// Releases.
pub(crate) const RELEASES: &[u8] = b"release/";
/// Bounds of serving without a lease that were lowered, by site.
pub(crate) const FORMER_STALE: &[u8] = b"site-stale/";
/// The pushed entries of each site as a whole.
pub(crate) const SITE_ENTRIES: &[u8] = b"site-entries/";
/// Entries.
pub(crate) const ENTRIES: &[u8] = b"entry/";
/// Sites that have entries below their floor.
pub(crate) const DEAD_ENTRIES: &[u8] = b"entry-dead/";
/// Idempotency records by revision.
pub(crate) const IDEMPOTENCY_AGES: &[u8] = b"idempotency-age/";
/// Invalidations that a push has to be checked against.
pub(crate) const AUDIT: &[u8] = b"audit/";
/// Invalidations that a push caused.
pub(crate) const AUDIT_PUSH: &[u8] = b"audit-push/";
/// Schedules by when they are due next.
pub(crate) const SCHEDULES_DUE: &[u8] = b"schedule-due/";
/// Leases.
pub(crate) const LEASES: &[u8] = b"lease/";
/// Runs of edges.
pub(crate) const RUNS: &[u8] = b"run/";
/// What edges said they did.
pub(crate) const EFFECTS: &[u8] = b"effect/";

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn of_site(prefix: &[u8], site: &str, rest: &[u8]) -> Vec<u8> {
    join(&[prefix, site.as_bytes(), b"/", rest])
}

/// The number that ends a key.
pub(crate) fn trailing_number(key: &[u8]) -> Option<u64> {
    let bytes = key.last_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}

pub(crate) fn numbered(prefix: &[u8], revision: Revision) -> Vec<u8> {
    join(&[prefix, &revision.0.to_be_bytes()])
}

pub(crate) fn log(revision: Revision) -> Vec<u8> {
    numbered(LOG, revision)
}

pub(crate) fn term(revision: Revision) -> Vec<u8> {
    numbered(TERMS, revision)
}

pub(crate) fn site(name: &str) -> Vec<u8> {
    join(&[SITES, name.as_bytes()])
}

pub(crate) fn site_config(name: &str) -> Vec<u8> {
    join(&[b"site-config/", name.as_bytes()])
}

pub(crate) fn host(pattern: &str) -> Vec<u8> {
    join(&[b"host/", pattern.as_bytes()])
}

pub(crate) fn site_entries(site: &SiteName) -> Vec<u8> {
    join(&[SITE_ENTRIES, site.as_str().as_bytes()])
}

pub(crate) fn former_stale(site: &SiteName) -> Vec<u8> {
    join(&[FORMER_STALE, site.as_str().as_bytes()])
}

pub(crate) fn dead_entries(site: &SiteName) -> Vec<u8> {
    join(&[DEAD_ENTRIES, site.as_str().as_bytes()])
}

pub(crate) fn release(site: &SiteName, id: &str) -> Vec<u8> {
    of_site(RELEASES, site.as_str(), id.as_bytes())
}

pub(crate) fn releases(site: &SiteName) -> Vec<u8> {
    release(site, "")
}

pub(crate) fn release_orders(site: &SiteName) -> Vec<u8> {
    of_site(b"release-order/", site.as_str(), b"")
}

pub(crate) fn release_order(site: &SiteName, revision: Revision) -> Vec<u8> {
    numbered(&release_orders(site), revision)
}

pub(crate) fn schedules(site: &SiteName) -> Vec<u8> {
    of_site(b"schedule/", site.as_str(), b"")
}

pub(crate) fn schedule(site: &SiteName, name: &ScheduleName) -> Vec<u8> {
    join(&[&schedules(site), name.as_str().as_bytes()])
}

/// What the keys of the schedules begin with that are due at this very moment.
pub(crate) fn schedules_due(due: SystemTime) -> Vec<u8> {
    let since = since_1970(due);
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    join(&[SCHEDULES_DUE, &seconds.to_be_bytes(), &nanos.to_be_bytes()])
}

pub(crate) fn schedule_due(due: SystemTime, site: &SiteName, name: &ScheduleName) -> Vec<u8> {
    let name = name.as_str().as_bytes();
    join(&[&schedules_due(due), site.as_str().as_bytes(), b"/", name])
}

pub(crate) fn idempotency(site: &SiteName, scope: &str, key: &str) -> Vec<u8> {
    let scope = [scope.as_bytes(), b"\0", key.as_bytes()].concat();
    of_site(
        b"idempotency/",
        site.as_str(),
        Digest::of(&scope).as_bytes(),
    )
}

pub(crate) fn idempotency_age(revision: Revision) -> Vec<u8> {
    numbered(IDEMPOTENCY_AGES, revision)
}

/// Audit records of a site, in [`AUDIT`] or [`AUDIT_PUSH`].
pub(crate) fn audits(table: &[u8], site: &str) -> Vec<u8> {
    of_site(table, site, b"")
}

pub(crate) fn audit(table: &[u8], site: &SiteName, revision: Revision) -> Vec<u8> {
    numbered(&audits(table, site.as_str()), revision)
}

pub(crate) fn lease(instance: &str) -> Vec<u8> {
    join(&[LEASES, instance.as_bytes()])
}

pub(crate) fn run(instance: &str) -> Vec<u8> {
    join(&[RUNS, instance.as_bytes()])
}

/// By the newest revision when it was written, then by its number.
pub(crate) fn effects(head: Revision, number: u64) -> Vec<u8> {
    join(&[EFFECTS, &head.0.to_be_bytes(), &number.to_be_bytes()])
}

/// All that were written when `head` was the newest revision, or later.
pub(crate) fn effects_from(head: Revision) -> Vec<u8> {
    numbered(EFFECTS, head)
}

/// Where an entry is within its site: its URL, shortened as its `url:` tag is, and
/// its variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(Vec<u8>);

/// Bytes of the hash that names a variant.
const VARIANT_BYTES: usize = 16;

impl EntryId {
    pub(crate) fn new(url: &PathAndQuery, variant: &Digest) -> Self {
        let mut id = variants_of(url);
        id.extend_from_slice(&variant.as_bytes()[..VARIANT_BYTES]);
        Self(id)
    }

    /// Reads the id that ends a key, behind `skip` bytes.
    pub(crate) fn from_key(key: &[u8], skip: usize) -> Option<Self> {
        key.get(skip..).map(|id| Self(id.to_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the ids of all variants of a URL begin with.
fn variants_of(url: &PathAndQuery) -> Vec<u8> {
    let tag = url_tag(url);
    let url = tag.as_str().strip_prefix("url:").unwrap_or(tag.as_str());
    join(&[url.as_bytes(), b"\0"])
}

pub(crate) fn entries(site: &SiteName) -> Vec<u8> {
    of_site(ENTRIES, site.as_str(), b"")
}

/// What the keys of all entries begin with whose URL begins with `url`. A long URL
/// is shortened in the key, so of a long prefix no more than that counts.
pub(crate) fn entries_from(site: &SiteName, url: &str) -> Vec<u8> {
    // The key holds the tag without this.
    const KEPT: usize = CUT_TAG_BYTES - "url:".len();
    let url = url.as_bytes();
    of_site(ENTRIES, site.as_str(), &url[..url.len().min(KEPT)])
}

pub(crate) fn entry(site: &SiteName, id: &EntryId) -> Vec<u8> {
    of_site(ENTRIES, site.as_str(), id.as_bytes())
}

pub(crate) fn entry_variants(site: &SiteName, url: &PathAndQuery) -> Vec<u8> {
    of_site(ENTRIES, site.as_str(), &variants_of(url))
}

pub(crate) fn entry_tags(site: &SiteName) -> Vec<u8> {
    of_site(b"entry-tag/", site.as_str(), b"")
}

pub(crate) fn entry_tag(site: &SiteName, tag: &str, id: &EntryId) -> Vec<u8> {
    join(&[&entry_tags(site), tag.as_bytes(), b"\0", id.as_bytes()])
}

pub(crate) fn entry_ages(site: &SiteName) -> Vec<u8> {
    of_site(b"entry-age/", site.as_str(), b"")
}

/// By the revision at which an entry was stored. A revision stores one entry.
pub(crate) fn entry_age(site: &SiteName, revision: Revision) -> Vec<u8> {
    numbered(&entry_ages(site), revision)
}

pub(crate) fn entry_shares(site: &SiteName) -> Vec<u8> {
    of_site(b"entry-share/", site.as_str(), b"")
}

/// Of those by age, the ones that edges share.
pub(crate) fn entry_share(site: &SiteName, revision: Revision) -> Vec<u8> {
    numbered(&entry_shares(site), revision)
}

pub(crate) fn entry_expiries(site: &SiteName) -> Vec<u8> {
    of_site(b"entry-expiry/", site.as_str(), b"")
}

/// By the second in which an entry expires.
pub(crate) fn entry_expiry(site: &SiteName, expires: SystemTime, id: &EntryId) -> Vec<u8> {
    let second = unix_seconds(expires).to_be_bytes();
    join(&[&entry_expiries(site), &second, id.as_bytes()])
}

pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    since_1970(time).as_secs()
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
