//! `CacheService`: what backends say of cached content.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{Digest, DigestHasher, EventType, FieldError, Mode, Revision};
use tidegate_proto::v1::cache_service_server::CacheService;
use tidegate_proto::{Code, mode_from_wire, parse_audience, parse_patterns, v1};
use tonic::{Request, Response, Status};

use super::call::{budget, caller};
use super::context::{Context, Done};
use super::fault::Fault;
use super::page::fitting;
use super::wait::{Wait, add_effects};
use super::{entry, fields, schedule};
use crate::command::{Command, Detail};
use crate::state::{Freshness, PageRequest};

pub(crate) const MAX_SPREAD: Duration = Duration::from_secs(3_600);
const MAX_KEY_BYTES: usize = 128;
const MAX_HINTED_URLS: usize = 100;
const MAX_DATA_BYTES: usize = 16 << 10;
/// Outcomes in one page of the audit trail; a large fleet gets smaller pages.
const MAX_OUTCOMES: usize = 20_000;

/// Adapter for [`CacheService`].
pub(crate) struct Cache(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl CacheService for Cache {
    async fn invalidate(
        &self,
        request: Request<v1::InvalidateRequest>,
    ) -> Result<Response<v1::InvalidateResponse>, Status> {
        let (caller, budget) = (caller(&request), budget(&request));
        let request = request.into_inner();
        let (wait_for, wait_timeout) = (request.wait_for, request.wait_timeout);
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let wait = Wait::read(&self.0, wait_for, wait_timeout.as_ref(), budget)?;
        let began = tokio::time::Instant::now();
        let read = || ready(self.invalidation(&request));
        let done = match self.0.propose_as_read(caller.clone(), read).await {
            Err(unread) if unread.code() == Code::InvalidArgument => {
                self.told_before(caller, &request, unread).await?
            }
            done => done?,
        };
        // A call that is repeated waits anew at the revision it had.
        let subject = self.0.fleet.content_of(&site);
        let reached = wait
            .less(began.elapsed())
            .until_final(&self.0, done.revision, subject)
            .await;
        Ok(Response::new(v1::InvalidateResponse {
            revision: done.revision.0,
            cursor: self.0.token(done.revision),
            status: reached.status.into(),
            edges: reached.edges,
        }))
    }

    async fn preview_invalidation(
        &self,
        request: Request<v1::PreviewInvalidationRequest>,
    ) -> Result<Response<v1::PreviewInvalidationResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let view = self.0.site(&site)?;
        let patterns = parse_patterns(&view.config, &request.tags, &request.urls, request.cascade)
            .map_err(Fault::from)?;
        let entries = {
            let (reader, site, patterns) = (self.0.reader.clone(), site.clone(), patterns.clone());
            self.0
                .read(move || reader.entries_matching(&site, &patterns))
        };
        let (entries, previews) =
            tokio::join!(entries, self.0.fleet.preview(&site, patterns.clone()));
        let previews = previews.map_err(Fault::from)?;
        let edges = previews.into_iter().map(|preview| {
            let matched = preview.matched.unwrap_or_default();
            v1::PreviewOutcome {
                edge_id: preview.edge.to_string(),
                instance_id: preview.instance.to_string(),
                answered: preview.matched.is_some(),
                tags: matched.tags,
                responses: matched.responses,
            }
        });
        Ok(Response::new(v1::PreviewInvalidationResponse {
            patterns: patterns.iter().map(|p| p.as_str().to_owned()).collect(),
            entries: entries?.map_err(Fault::from)?,
            edges: edges.collect(),
        }))
    }

    async fn list_invalidations(
        &self,
        request: Request<v1::ListInvalidationsRequest>,
    ) -> Result<Response<v1::ListInvalidationsResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        self.0.site(&site)?;
        let page = self.audit_page(&request).map_err(Fault::from)?;
        let (reader, fleet) = (self.0.reader.clone(), self.0.fleet.clone());
        let content = fleet.content_of(&site);
        let read = move |page: &PageRequest| {
            let mut page = reader.audit(&site, page)?;
            add_effects(&fleet, content, &mut page.items)?;
            Ok(page)
        };
        let page = self.0.read(move || fitting(page, read)).await?;
        let page = page.map_err(Fault::from)?;
        Ok(Response::new(v1::ListInvalidationsResponse {
            invalidations: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn preload_hint(
        &self,
        request: Request<v1::PreloadHintRequest>,
    ) -> Result<Response<v1::PreloadHintResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let read = || ready(self.hint(&request));
        let done = self.0.propose_as_read(caller, read).await?;
        Ok(Response::new(v1::PreloadHintResponse {
            revision: done.revision.0,
            cursor: self.0.token(done.revision),
        }))
    }

    async fn publish_event(
        &self,
        request: Request<v1::PublishEventRequest>,
    ) -> Result<Response<v1::PublishEventResponse>, Status> {
        let caller = caller(&request);
        let command = event(request.into_inner()).map_err(Fault::from)?;
        let done = self.0.propose(command, caller).await?;
        Ok(Response::new(v1::PublishEventResponse {
            revision: done.revision.0,
            cursor: self.0.token(done.revision),
        }))
    }

    async fn get_head(
        &self,
        _: Request<v1::GetHeadRequest>,
    ) -> Result<Response<v1::GetHeadResponse>, Status> {
        let head = self.0.log.head();
        Ok(Response::new(v1::GetHeadResponse {
            revision: head.0,
            cursor: self.0.token(head),
        }))
    }

    async fn put_entry(
        &self,
        request: Request<v1::PutEntryRequest>,
    ) -> Result<Response<v1::PutEntryResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let read = || self.pushed(&request);
        let done = self.0.propose_as_read(caller, read).await?;
        Ok(Response::new(v1::PutEntryResponse {
            revision: done.revision.0,
            cursor: self.0.token(done.revision),
        }))
    }

    async fn get_entry(
        &self,
        request: Request<v1::GetEntryRequest>,
    ) -> Result<Response<v1::GetEntryResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let view = self.0.site(&site)?;
        let url = entry::url_in("url", &view.config, &request.url).map_err(Fault::from)?;
        let fields = entry::vary(&request.vary).map_err(Fault::from)?;
        let found = self.0.entry(site, url, fields, Vec::new()).await?;
        let Some((entry, found)) = found else {
            let text = format!("url: there is no entry for \"{}\"", request.url);
            return Err(Fault::new(Code::NotFound, text).into());
        };
        Ok(Response::new(v1::GetEntryResponse {
            entry: Some(entry),
            revision: found.revision.0,
            fresh: found.freshness == Freshness::Fresh,
        }))
    }

    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        self.0.site(&site)?;
        let page = PageRequest::parse(request.page_size, &request.page_token);
        let page = page.map_err(Fault::from)?;
        let (reader, now) = (self.0.reader.clone(), self.0.clock.wall());
        let page = self
            .0
            .read(move || {
                fitting(page, |page| {
                    reader.entries(&site, &request.url_prefix, page, now)
                })
            })
            .await?;
        let page = page.map_err(Fault::from)?;
        Ok(Response::new(v1::ListEntriesResponse {
            entries: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn delete_entry(
        &self,
        request: Request<v1::DeleteEntryRequest>,
    ) -> Result<Response<v1::DeleteEntryResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let read = || ready(self.deletion(&request));
        let done = self.0.propose_as_read(caller, read).await?;
        let removed = match done.detail {
            Detail::Removed(removed) => removed,
            Detail::None | Detail::Pruned(_) => 0,
        };
        Ok(Response::new(v1::DeleteEntryResponse {
            revision: done.revision.0,
            removed,
        }))
    }

    async fn put_schedule(
        &self,
        request: Request<v1::PutScheduleRequest>,
    ) -> Result<Response<v1::PutScheduleResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let view = self.0.site(&site)?;
        let name = request.schedule.as_ref().map(|it| it.name.clone());
        let checked = schedule::read(&view.config, request.schedule);
        let checked = checked.map_err(|e| {
            let name = name.unwrap_or_default();
            self.0.refused.of_schedule(&site, &name, e)
        })?;
        let first_due = checked.cadence.after(self.0.clock.wall());
        let command = Command::PutSchedule {
            site,
            name: checked.name,
            schedule: Box::new(checked.schedule),
            first_due: first_due
                .ok_or_else(|| Fault::internal("the clock is beyond the calendar"))?,
        };
        let done = self.0.propose(command, caller).await?;
        self.0.schedules.note_change();
        Ok(Response::new(v1::PutScheduleResponse {
            revision: done.revision.0,
        }))
    }

    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        self.0.site(&site)?;
        let page = PageRequest::parse(request.page_size, &request.page_token);
        let page = page.map_err(Fault::from)?;
        let reader = self.0.reader.clone();
        let read = move || fitting(page, |page| reader.schedules(&site, page));
        let page = self.0.read(read).await?.map_err(Fault::from)?;
        Ok(Response::new(v1::ListSchedulesResponse {
            schedules: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn delete_schedule(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let command = Command::DeleteSchedule {
            site: fields::site_name(&request.site).map_err(Fault::from)?,
            name: schedule::name(&request.name).map_err(Fault::from)?,
        };
        let done = self.0.propose(command, caller).await?;
        self.0.schedules.note_change();
        Ok(Response::new(v1::DeleteScheduleResponse {
            revision: done.revision.0,
        }))
    }
}

impl Cache {
    fn invalidation(&self, request: &v1::InvalidateRequest) -> Result<Command, Fault> {
        let site = fields::site_name(&request.site)?;
        let view = self.0.site(&site)?;
        let patterns = parse_patterns(&view.config, &request.tags, &request.urls, request.cascade)?;
        let mode = mode_from_wire(request.mode)?;
        let spread = spread(request)?;
        fields::reason(&request.reason)?;
        idempotency_key(&request.idempotency_key)?;
        Ok(Command::Invalidate {
            site,
            site_revision: view.revision(),
            patterns,
            mode,
            spread,
            reason: request.reason.clone(),
            idempotency_key: request.idempotency_key.clone(),
            content: content(request, mode, spread),
        })
    }

    /// What a repeated call was told when it was made first, although the site's
    /// configuration does not let it be read any more.
    async fn told_before(
        &self,
        caller: String,
        request: &v1::InvalidateRequest,
        unread: Fault,
    ) -> Result<Done, Fault> {
        let key = &request.idempotency_key;
        let site = fields::site_name(&request.site);
        let (Ok(site), Ok(mode), Ok(spread)) =
            (site, mode_from_wire(request.mode), spread(request))
        else {
            return Err(unread);
        };
        if key.is_empty() || idempotency_key(key).is_err() {
            return Err(unread);
        }
        let command = Command::Invalidate {
            site,
            // No configuration is of this revision: the command is answered as the
            // repetition of another one, or refused.
            site_revision: Revision::ZERO,
            patterns: Vec::new(),
            mode,
            spread,
            reason: request.reason.clone(),
            idempotency_key: key.clone(),
            content: content(request, mode, spread),
        };
        let told = self.0.propose_once(command, caller).await?;
        told.map_err(|_| unread)
    }

    fn deletion(&self, request: &v1::DeleteEntryRequest) -> Result<Command, Fault> {
        let site = fields::site_name(&request.site)?;
        let view = self.0.site(&site)?;
        let url = entry::url_in("url", &view.config, &request.url)?;
        Ok(Command::DeleteEntry {
            site,
            site_revision: view.revision(),
            url,
        })
    }

    fn hint(&self, request: &v1::PreloadHintRequest) -> Result<Command, Fault> {
        let site = fields::site_name(&request.site)?;
        let view = self.0.site(&site)?;
        if request.urls.is_empty() || request.urls.len() > MAX_HINTED_URLS {
            let found = format!("{} elements", request.urls.len());
            return Err(FieldError::new("urls", found, "1 to 100 elements").into());
        }
        let urls = request.urls.iter().enumerate();
        let urls =
            urls.map(|(index, url)| entry::url_in(&format!("urls[{index}]"), &view.config, url));
        Ok(Command::PreloadHint {
            site,
            site_revision: view.revision(),
            urls: urls.collect::<Result<_, _>>()?,
            audience: parse_audience(&request.audience)?,
        })
    }

    async fn pushed(&self, request: &v1::PutEntryRequest) -> Result<Command, Fault> {
        let site = fields::site_name(&request.site)?;
        let view = self.0.site(&site)?;
        let read_as_of = fields::cursor("read_as_of", &request.read_as_of)?;
        let wire = request.entry.clone();
        let wire = wire.ok_or_else(|| FieldError::new("entry", "", "an entry"))?;
        let mut entry = entry::read(&view.config, wire)?;
        self.0.keep_body(&mut entry).await?;
        Ok(Command::PutEntry {
            site,
            site_revision: view.revision(),
            entry: Box::new(entry),
            read_as_of,
        })
    }

    /// Reads which page of the audit trail is asked for, and makes it smaller where
    /// the outcomes of a large fleet would not fit into one answer.
    fn audit_page(
        &self,
        request: &v1::ListInvalidationsRequest,
    ) -> Result<PageRequest, FieldError> {
        PageRequest::parse(request.page_size, &request.page_token)?;
        let fitting = (MAX_OUTCOMES / self.0.fleet.kept_runs().max(1)).max(1);
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        let size = match request.page_size {
            0 => 100,
            size => size,
        };
        PageRequest::parse(size.min(fitting), &request.page_token)
    }
}

fn event(request: v1::PublishEventRequest) -> Result<Command, FieldError> {
    let site = fields::site_name(&request.site)?;
    let event_type = EventType::parse(&request.r#type).map_err(|e| e.within("type"))?;
    let bytes = request.data.len();
    fields::at_most("data", &request.data, bytes, MAX_DATA_BYTES, "bytes")?;
    Ok(Command::PublishEvent {
        site,
        event_type,
        audience: parse_audience(&request.audience)?,
        data: request.data,
    })
}

/// A hash of what makes two calls the same, as they were sent: what the site's
/// configuration makes of them may change between a call and its repetition.
fn content(request: &v1::InvalidateRequest, mode: Mode, spread: Duration) -> Digest {
    let mut hasher = DigestHasher::new();
    hasher.update(match mode {
        Mode::Hard => b"hard",
        Mode::Soft => b"soft",
    });
    hasher.update(&[u8::from(request.cascade)]);
    hasher.update(&spread.as_nanos().to_be_bytes());
    for list in [&request.tags, &request.urls] {
        let list: BTreeSet<&str> = list.iter().map(String::as_str).collect();
        hasher.update(&(list.len() as u64).to_be_bytes());
        for text in list {
            // With lengths, no two lists read the same.
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.update(request.reason.as_bytes());
    hasher.finish()
}

fn spread(request: &v1::InvalidateRequest) -> Result<Duration, FieldError> {
    let zero = Duration::ZERO;
    fields::duration("spread", request.spread.as_ref(), zero, zero, MAX_SPREAD)
}

fn idempotency_key(key: &str) -> Result<(), FieldError> {
    if key.len() <= MAX_KEY_BYTES && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(FieldError::new(
        "idempotency_key",
        key,
        "at most 128 bytes of visible ASCII, without space",
    ))
}
