//! Entries with their bodies, for backends and for edges.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Cursor, PathAndQuery, SiteName};
use tidegate_proto::{duration_to_wire, v1};

use super::context::Context;
use super::entry::{self, MAX_BODY_BYTES, MAX_INLINE_BYTES};
use super::fault::Fault;
use super::{fields, share};
use crate::command::{EntryBody, PushedEntry};
use crate::fills::{Ended, Fetcher, FillKey, Turn};
use crate::fleet::locate;
use crate::state::{FoundEntry, Freshness};

/// A look-up of an edge, read.
struct Sought {
    site: SiteName,
    url: PathAndQuery,
    /// The fields of the request, names in lower case.
    request: Vec<(String, Bytes)>,
    shared: Option<Shared>,
}

/// What of it is about shares.
struct Shared {
    fetcher: Fetcher,
    at: Cursor,
    key: Vec<(String, Bytes)>,
    may_fill: bool,
    /// No longer than another edge is given for its fetch.
    wait: Duration,
}

/// Looks for an entry that an edge can use as it is: pushed, or shared if the edge asks
/// for that.
///
/// # Errors
/// A field breaks a rule, or there is no such site.
pub(crate) async fn for_edge(
    context: &Context,
    request: v1::LookupEntryRequest,
) -> Result<v1::LookupEntryResponse, Fault> {
    let sought = read(context, request)?;
    let Some(shared) = &sought.shared else {
        return look(context, &sought).await;
    };
    let key = FillKey::of(&sought.site, &sought.url, &shared.key);
    // What would not be stored need not be waited for.
    let is_worth_it = shared.may_fill
        && context.shares.has_room(&*context.clock)
        && is_of_one_mind(context, &sought, shared)?;
    let turn = match is_worth_it {
        true => context.fills.turn(&key, &shared.fetcher),
        false => Turn::Nobody,
    };
    let untold =
        matches!(turn, Turn::Yours).then(|| context.fills.until_told(&key, &shared.fetcher));
    // Behind the turn: what was shared before it is found.
    let found = look(context, &sought).await?;
    if found.entry.is_some() {
        if let Some(untold) = untold {
            untold.answered();
        }
        return Ok(found);
    }
    let said = |fill: v1::FillState| {
        Ok(v1::LookupEntryResponse {
            fill: fill.into(),
            ..found
        })
    };
    let (nobody, yours) = (v1::FillState::Unspecified, v1::FillState::Yours);
    let fill = match turn {
        Turn::Yours => {
            if let Some(untold) = untold {
                untold.told();
            }
            return said(yours);
        }
        Turn::Nobody => return said(nobody),
        Turn::UnderWay(fill) => fill,
    };
    match context.fills.wait(fill, shared.wait).await {
        Ended::Shared => look(context, &sought).await,
        Ended::Slow => said(v1::FillState::UnderWay),
        // What one edge could not share another may: else all who waited would ask the
        // origin, and none of them would share.
        Ended::Unshared => match context.fills.turn(&key, &shared.fetcher) {
            Turn::Yours => said(yours),
            Turn::UnderWay(_) => said(v1::FillState::UnderWay),
            Turn::Nobody => said(nobody),
        },
    }
}

fn read(context: &Context, request: v1::LookupEntryRequest) -> Result<Sought, Fault> {
    let site = fields::site_name(&request.site)?;
    let view = context.site(&site)?;
    let url = entry::url_in("url", &view.config, &request.url)?;
    let request_fields = entry::header_fields("request_headers", &request.request_headers)?;
    let shared = match request.shared {
        None => None,
        Some(shared) => {
            let key = share::key("shared.key", &view.config, &shared.key)?;
            let (none, wait) = (Duration::ZERO, shared.wait.as_ref());
            let wait = tidegate_proto::duration_from_wire("shared.wait", wait, none)?;
            Some(Shared {
                fetcher: Fetcher {
                    edge: fields::instance_id(&shared.instance_id)
                        .map_err(|e| e.within("shared"))?,
                    number: shared.turn,
                },
                at: fields::cursor("shared.cursor", &shared.cursor)?,
                key,
                may_fill: shared.may_fill,
                wait,
            })
        }
    };
    Ok(Sought {
        site,
        url,
        request: request_fields,
        shared,
    })
}

/// Whatever is not fresh is asked of the origin.
async fn look(context: &Context, sought: &Sought) -> Result<v1::LookupEntryResponse, Fault> {
    let epoch = context.log.epoch().0;
    let (site, url) = (sought.site.clone(), sought.url.clone());
    let key = sought.shared.as_ref().map(|shared| shared.key.clone());
    let request = sought.request.clone();
    let found = context
        .entry(site, url, request, key.unwrap_or_default())
        .await?;
    let none = v1::LookupEntryResponse {
        epoch,
        ..v1::LookupEntryResponse::default()
    };
    let Some((entry, found)) = found.filter(|(_, found)| found.freshness == Freshness::Fresh)
    else {
        return Ok(none);
    };
    // Asked behind the look: what it says has held since.
    let is_for_it = match &sought.shared {
        _ if !found.shared => true,
        None => false,
        Some(shared) => is_of_one_mind(context, sought, shared)?,
    };
    if !is_for_it {
        return Ok(none);
    }
    Ok(v1::LookupEntryResponse {
        entry: Some(entry),
        validated_as_of: found.validated_as_of.0,
        epoch,
        fresh_for: Some(duration_to_wire(found.fresh_for)),
        age: Some(duration_to_wire(found.age)),
        shared: found.shared,
        fill: v1::FillState::Unspecified.into(),
    })
}

/// Whether the edge stands in this history, behind the last change of the site's
/// configuration: else both speak of other URLs, or of another past.
fn is_of_one_mind(context: &Context, sought: &Sought, shared: &Shared) -> Result<bool, Fault> {
    let view = context.site(&sought.site)?;
    Ok(view.revision() <= shared.at.revision && locate(&*context.log, &shared.at).is_ok())
}

impl Context {
    /// Puts a large body into the blob store, before the command that names it.
    pub(crate) async fn keep_body(&self, entry: &mut PushedEntry) -> Result<(), Fault> {
        let EntryBody::Inline(body) = &entry.body else {
            return Ok(());
        };
        if body.len() <= MAX_INLINE_BYTES {
            return Ok(());
        }
        let (blobs, body, size) = (self.blobs.clone(), body.clone(), body.len() as u64);
        let digest = self.read(move || blobs.put_bytes(&body)).await??;
        entry.body = EntryBody::Blob { digest, size };
        Ok(())
    }

    /// The entry of a URL that fits the request fields, whole.
    pub(crate) async fn entry(
        &self,
        site: SiteName,
        url: PathAndQuery,
        request: Vec<(String, Bytes)>,
        key: Vec<(String, Bytes)>,
    ) -> Result<Option<(v1::Entry, FoundEntry)>, Fault> {
        let (reader, blobs, now) = (self.reader.clone(), self.blobs.clone(), self.clock.wall());
        self.read(move || {
            let Some(found) = reader.lookup_entry(&site, &url, &request, &key, now)? else {
                return Ok(None);
            };
            let mut entry = found.entry.clone();
            if let EntryBody::Blob { digest, .. } = &found.body {
                entry.body = blobs
                    .read(digest, MAX_BODY_BYTES as u64)?
                    .ok_or_else(|| Fault::internal(format!("blob {digest} of an entry is gone")))?;
            }
            Ok(Some((entry, found)))
        })
        .await?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tidegate_clock::ManualClock;
    use tidegate_domain::SiteFilter;

    use super::*;
    use crate::grpc::context::tests::{all_reads, context_with_site};

    fn question(context: &Context, instance: &str) -> v1::LookupEntryRequest {
        let head = context.log.head();
        let cursor = context.log.cursor_at(head, SiteFilter::ALL).unwrap();
        v1::LookupEntryRequest {
            site: "dev".into(),
            url: "/a".into(),
            request_headers: Vec::new(),
            shared: Some(v1::SharedQuestion {
                instance_id: instance.into(),
                cursor: cursor.to_string(),
                key: vec![v1::HeaderField {
                    name: "host".into(),
                    value: Bytes::from_static(b"a.example"),
                }],
                may_fill: true,
                wait: None,
                turn: 1,
            }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_edge_that_is_silent_is_told_to_fetch_then() {
        let (clock, folder) = (Arc::new(ManualClock::default()), tempfile::tempdir());
        let folder = folder.unwrap();
        let context = context_with_site(folder.path(), clock.clone()).await;
        let fill = |answer: Result<v1::LookupEntryResponse, Fault>| answer.unwrap().fill();
        let one = for_edge(&context, question(&context, "one")).await;
        assert_eq!(fill(one), v1::FillState::Yours);
        let mut long = question(&context, "two");
        let wait = duration_to_wire(Duration::from_secs(3_600));
        long.shared.as_mut().unwrap().wait = Some(wait);
        let two = async {
            let before = tokio::time::Instant::now();
            let told = fill(for_edge(&context, long).await);
            (told, before.elapsed().as_secs())
        };
        let passing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance(Duration::from_secs(60));
        };
        let (two, ()) = tokio::join!(two, passing);
        assert_eq!(two, (v1::FillState::Yours, 5));
        let three = for_edge(&context, question(&context, "three")).await;
        assert_eq!(fill(three), v1::FillState::UnderWay);
    }

    #[tokio::test]
    async fn a_look_up_that_its_edge_gives_up_leaves_the_turn_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let context = context_with_site(folder.path(), Arc::new(ManualClock::default())).await;
        let reads = all_reads(&context).await;
        let one = for_edge(&context, question(&context, "one"));
        assert!(one.now_or_never().is_none(), "it waits for the disk");
        drop(reads);
        for (instance, told) in [
            ("two", v1::FillState::Yours),
            ("three", v1::FillState::UnderWay),
        ] {
            let answer = for_edge(&context, question(&context, instance)).await;
            assert_eq!(answer.unwrap().fill(), told, "{instance}");
        }
    }
}
