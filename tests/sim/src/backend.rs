//! Backends: they change the data, say so, wait until it is final, and try again when
//! they hear nothing.

use std::time::Duration;

use tidegate_domain::Cursor;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tidegate_proto::v1::fleet_service_client::FleetServiceClient;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cast::{BACKENDS, HOST, NAMES, ORIGIN, PLANE, PLANE_PORT, SITE, Stage};
use crate::entropy;
use crate::items::{ITEMS, Selector, path, tags};
use crate::origin::text;
use crate::rng::Rng;
use crate::truth::Accepted;

/// How long a call waits for the fleet.
pub const WAIT: Duration = Duration::from_secs(8);
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tries of one call.
const TRIES: usize = 6;
/// The item that backends push.
const PUSHED: usize = 7;

/// A backend.
pub struct Backend {
    stage: Stage,
    name: String,
    rng: Rng,
    channel: Channel,
    calls: u64,
    /// Time between two changes, on average.
    pause: Duration,
}

impl Backend {
    /// A backend that changes something each `pause`; it connects when it first calls.
    #[must_use]
    pub fn new(stage: Stage, name: String, pause: Duration, rng: Rng) -> Self {
        let endpoint = Endpoint::from_static("http://plane:7420")
            .connect_timeout(Duration::from_secs(3))
            .http2_keep_alive_interval(Duration::from_secs(3))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true);
        debug_assert!(NAMES[PLANE] == "plane" && PLANE_PORT == 7_420);
        let connector = stage.net.dialer(BACKENDS).connector(Duration::from_secs(3));
        Self {
            channel: endpoint.connect_with_connector_lazy(connector),
            stage,
            name,
            rng,
            calls: 0,
            pause,
        }
    }

    fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    /// Creates the site, however often it takes.
    pub async fn create_site(&mut self, fenced: Option<Duration>, shares: bool) {
        let config = site_config(fenced, shares);
        loop {
            let request = v1::PutSiteRequest {
                site: SITE.to_owned(),
                config: Some(config.clone()),
            };
            let mut client = SiteServiceClient::new(self.channel.clone());
            let put = tokio::time::timeout(PATIENCE, client.put_site(request)).await;
            match put {
                Ok(Ok(_)) => return,
                Ok(Err(status)) if status.code() == Code::InvalidArgument => {
                    let told = format!("the site is refused: {}", status.message());
                    self.stage.trace.violated(&self.name, &told);
                    return;
                }
                _ => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// Works until everything settles.
    pub async fn work(mut self) {
        while !self.stage.truth.is_settling() {
            tokio::time::sleep(self.rng.around(self.pause)).await;
            match self.rng.below(10) {
                0 => self.push().await,
                1 => self.hint().await,
                _ => {
                    let item = self.rng.index(ITEMS);
                    self.change(item).await;
                }
            }
        }
    }

    /// Changes an item and says so.
    async fn change(&mut self, item: usize) {
        let old = self.stage.truth.version(item);
        let selector = match self.rng.below(10) {
            0 => Selector::Tag(format!("group:{}", item % 2)),
            1 => Selector::Tag("item:*".to_owned()),
            2..=3 => Selector::Url(item),
            // What is outdated carries the colour of the version before.
            4 if item == 3 => Selector::Tag(format!("colour:{}", old % 3)),
            _ => Selector::Tag(format!("item:{item}")),
        };
        let version = self.stage.truth.write(item);
        let waits = self.rng.percent(80);
        let is_soft = self.rng.percent(25);
        let line = format!("item {item} is version {version}; {selector:?} soft={is_soft}");
        self.stage.trace.note(&self.name, &line);
        self.invalidate(selector, is_soft, waits).await;
    }

    /// Changes everything and says so.
    pub async fn change_all(&mut self) {
        for item in 0..ITEMS {
            self.stage.truth.write(item);
        }
        let all = Selector::Tag("item:*".to_owned());
        self.invalidate(all, false, true).await;
    }

    /// Invalidates, as often as it takes within reason. Returns whether it is complete.
    pub async fn invalidate(&mut self, selector: Selector, is_soft: bool, waits: bool) -> bool {
        self.calls += 1;
        let reason = format!("{}-{}", self.name, self.calls);
        let what = self.stage.truth.invalidation(selector.clone(), is_soft);
        let (tags, urls) = match selector {
            Selector::Tag(tag) => (vec![tag], vec![]),
            Selector::Url(item) => (vec![], vec![path(item)]),
        };
        let request = v1::InvalidateRequest {
            site: SITE.to_owned(),
            tags,
            urls,
            mode: match is_soft {
                true => v1::InvalidationMode::Soft.into(),
                false => v1::InvalidationMode::Hard.into(),
            },
            wait_for: match waits {
                true => v1::WaitFor::AllEdges.into(),
                false => v1::WaitFor::None.into(),
            },
            wait_timeout: prost_types::Duration::try_from(WAIT).ok(),
            reason: reason.clone(),
            idempotency_key: reason.clone(),
            ..v1::InvalidateRequest::default()
        };
        let mut first: Option<(u64, usize)> = None;
        for attempt in 1..=TRIES {
            let answer = match self.call_invalidate(&request).await {
                Ok(answer) => answer,
                Err(status) => {
                    let line = format!("{reason} try {attempt}: {}", status.message());
                    self.stage.trace.note(&self.name, &line);
                    self.stage.trace.count("call failed");
                    let pause = self.rng.around(Duration::from_millis(700));
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            let status = answer.status();
            let line = format!("{reason} try {attempt}: {status:?} at {}", answer.revision);
            self.stage.trace.note(&self.name, &line);
            if attempt > 1 {
                self.stage.trace.count("call answered on a retry");
            }
            let Ok(at) = answer.cursor.parse::<Cursor>() else {
                let told = format!("{reason}: no cursor: {:?}", answer.cursor);
                self.stage.trace.violated(&self.name, &told);
                return false;
            };
            // P7: the same key, the same answer.
            match first {
                None => {
                    let accepted = Accepted {
                        at: Cursor {
                            revision: tidegate_domain::Revision(answer.revision),
                            ..at
                        },
                        what: what.clone(),
                        reason: reason.clone(),
                        when: entropy::now(),
                    };
                    let losses = self.stage.truth.losses();
                    let is_held = self.stage.truth.accept(accepted);
                    first = is_held.then_some((answer.revision, losses));
                }
                Some((revision, losses)) => {
                    let is_same_log = losses == self.stage.truth.losses();
                    if revision != answer.revision && is_same_log {
                        let told =
                            format!("{reason}: revision {revision}, then {}", answer.revision);
                        self.stage.trace.violated(&self.name, &told);
                    }
                }
            }
            match status {
                v1::CompletionStatus::Complete => {
                    self.stage.trace.count("complete");
                    let at = Cursor {
                        revision: tidegate_domain::Revision(answer.revision),
                        ..at
                    };
                    self.stage.truth.complete(at, &what);
                    if self.rng.percent(85) {
                        return true;
                    }
                    // Some ask again what they know.
                    self.stage.trace.count("call repeated");
                }
                v1::CompletionStatus::Partial => self.stage.trace.count("partial"),
                _ => {
                    self.stage.trace.count("accepted");
                    return true;
                }
            }
        }
        false
    }

    async fn call_invalidate(
        &self,
        request: &v1::InvalidateRequest,
    ) -> Result<v1::InvalidateResponse, Status> {
        let mut client = self.cache();
        let call = client.invalidate(request.clone());
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(answered) => answered.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    /// Reads an item and pushes it, by when it may be outdated.
    async fn push(&mut self) {
        let mut client = self.cache();
        let head = tokio::time::timeout(PATIENCE, client.get_head(v1::GetHeadRequest {})).await;
        let Ok(Ok(head)) = head else {
            return;
        };
        let version = self.stage.truth.version(PUSHED);
        tokio::time::sleep(self.rng.around(Duration::from_millis(200))).await;
        let entry = v1::Entry {
            url: path(PUSHED),
            status: 200,
            headers: vec![v1::HeaderField {
                name: "etag".to_owned(),
                value: format!("\"{PUSHED}-{version}-any\"").into_bytes().into(),
            }],
            body: text(PUSHED, version, "any", 100).into_bytes().into(),
            tags: tags(PUSHED, version),
            ttl: Some(prost_types::Duration {
                seconds: 600,
                nanos: 0,
            }),
            vary: Vec::new(),
        };
        let request = v1::PutEntryRequest {
            site: SITE.to_owned(),
            entry: Some(entry),
            read_as_of: head.into_inner().cursor,
        };
        let pushed = tokio::time::timeout(PATIENCE, client.put_entry(request)).await;
        let line = match pushed {
            Ok(Ok(answer)) => {
                self.stage.trace.count("entry pushed");
                format!("at {}", answer.into_inner().revision)
            }
            Ok(Err(status)) if status.code() == Code::Aborted => {
                self.stage.trace.count("push refused as outdated");
                "refused as outdated".to_owned()
            }
            Ok(Err(status)) => format!("failed: {}", status.message()),
            Err(_) => "no answer".to_owned(),
        };
        let line = format!("pushes version {version}: {line}");
        self.stage.trace.note(&self.name, &line);
    }

    async fn hint(&mut self) {
        let urls = (0..3).map(|_| path(self.rng.index(ITEMS))).collect();
        let request = v1::PreloadHintRequest {
            site: SITE.to_owned(),
            urls,
            audience: Vec::new(),
        };
        let mut client = self.cache();
        let hinted = tokio::time::timeout(PATIENCE, client.preload_hint(request)).await;
        if matches!(hinted, Ok(Ok(_))) {
            self.stage.trace.count("hint given");
        }
    }

    /// The edges as the control plane sees them; empty if it does not answer.
    pub async fn edges(&self) -> (Vec<v1::Edge>, u64) {
        let mut client = FleetServiceClient::new(self.channel.clone());
        let request = v1::ListEdgesRequest::default();
        match tokio::time::timeout(PATIENCE, client.list_edges(request)).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                (answer.edges, answer.head)
            }
            _ => (Vec::new(), 0),
        }
    }

    /// The whole audit trail: revision and reason.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn audit(&self) -> Result<Vec<(u64, String)>, Status> {
        let mut client = self.cache();
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let request = v1::ListInvalidationsRequest {
                site: SITE.to_owned(),
                page_size: 1_000,
                page_token: token,
            };
            let page = client.list_invalidations(request).await?.into_inner();
            let records = page.invalidations.into_iter();
            found.extend(records.map(|record| (record.revision, record.reason)));
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            token = page.next_page_token;
        }
    }
}

fn site_config(fenced: Option<Duration>, shares: bool) -> v1::SiteConfig {
    v1::SiteConfig {
        hosts: vec![HOST.to_owned()],
        origin: Some(v1::OriginConfig {
            upstreams: vec![v1::Upstream {
                url: format!("http://{}", NAMES[ORIGIN]),
                ..v1::Upstream::default()
            }],
            connect_timeout: prost_types::Duration::try_from(Duration::from_secs(2)).ok(),
            first_byte_timeout: prost_types::Duration::try_from(Duration::from_secs(5)).ok(),
            between_bytes_timeout: prost_types::Duration::try_from(Duration::from_secs(3)).ok(),
            // A run is so short that usual pauses would be most of it.
            breaker: Some(v1::Breaker {
                pause: prost_types::Duration::try_from(Duration::from_millis(20)).ok(),
                max_pause: prost_types::Duration::try_from(Duration::from_millis(100)).ok(),
                ..v1::Breaker::default()
            }),
            ..v1::OriginConfig::default()
        }),
        cache: shares.then(|| v1::CachePolicy {
            second_tier: Some(v1::SecondTier::default()),
            ..v1::CachePolicy::default()
        }),
        fenced: fenced.map(|bound| v1::FencedPolicy {
            mode: v1::FencedMode::ServeStale.into(),
            serve_stale_for: prost_types::Duration::try_from(bound).ok(),
        }),
        events: Some(v1::EventsConfig {
            public_tags: vec!["*".to_owned()],
            heartbeat: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..v1::EventsConfig::default()
        }),
        ..v1::SiteConfig::default()
    }
}
