//! What several scenarios share: a site, a fleet of one, and short words for calls.

use std::time::Duration;

use tidegate_e2e::v1;
use tidegate_e2e::{
    Answer, Calls, ControlPlane, Edge, HttpClient, Launch, Origin, Reply, eventually,
};

/// The site of most scenarios.
pub(crate) const SITE: &str = "shop";

/// The host it answers for.
pub(crate) const HOST: &str = "shop.example";

/// A copy that would be served for ten minutes.
pub(crate) const LONG: &str = "max-age=600";

/// The site's configuration: everything comes from the origin, and anyone may hear
/// everything.
pub(crate) fn site_of(origin: &Origin) -> v1::SiteConfig {
    site_at(origin.url())
}

/// The same, with the origin at this address.
pub(crate) fn site_at(origin: &str) -> v1::SiteConfig {
    v1::SiteConfig {
        hosts: vec![HOST.to_owned()],
        origin: Some(v1::OriginConfig {
            upstreams: vec![v1::Upstream {
                url: origin.to_owned(),
                ..v1::Upstream::default()
            }],
            ..v1::OriginConfig::default()
        }),
        events: Some(v1::EventsConfig {
            public_tags: vec!["*".to_owned()],
            ..v1::EventsConfig::default()
        }),
        ..v1::SiteConfig::default()
    }
}

pub(crate) async fn put_site(calls: &Calls, config: v1::SiteConfig) -> u64 {
    let request = v1::PutSiteRequest {
        site: SITE.to_owned(),
        config: Some(config),
    };
    let answer = calls.sites().put_site(request).await.unwrap();
    answer.into_inner().revision
}

/// A hard invalidation of these tags that waits for nothing.
pub(crate) fn of_tags(tags: &[&str]) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        site: SITE.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..v1::InvalidateRequest::default()
    }
}

/// A hard invalidation of this URL that waits for nothing.
pub(crate) fn of_url(url: &str) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        urls: vec![url.to_owned()],
        ..of_tags(&[])
    }
}

/// The same, waiting for all edges.
pub(crate) fn waiting(
    request: v1::InvalidateRequest,
    wait_timeout: Duration,
) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        wait_for: v1::WaitFor::AllEdges.into(),
        wait_timeout: Some(wait_timeout.try_into().unwrap()),
        ..request
    }
}

pub(crate) async fn invalidate(
    calls: &Calls,
    request: v1::InvalidateRequest,
) -> v1::InvalidateResponse {
    calls
        .cache()
        .invalidate(request)
        .await
        .unwrap()
        .into_inner()
}

/// Invalidates everywhere; when it returns, no edge may serve the old content.
pub(crate) async fn invalidate_everywhere(
    calls: &Calls,
    request: v1::InvalidateRequest,
) -> v1::InvalidateResponse {
    completed_within(calls, request, Duration::from_secs(20)).await
}

/// The same, where the control plane need not wait for longer than this.
pub(crate) async fn completed_within(
    calls: &Calls,
    request: v1::InvalidateRequest,
    longest: Duration,
) -> v1::InvalidateResponse {
    let answer = invalidate(calls, waiting(request, longest)).await;
    assert_eq!(
        answer.status(),
        v1::CompletionStatus::Complete,
        "{answer:?}"
    );
    answer
}

pub(crate) async fn head(calls: &Calls) -> v1::GetHeadResponse {
    let answer = calls.cache().get_head(v1::GetHeadRequest {}).await;
    answer.unwrap().into_inner()
}

pub(crate) async fn list_edges(calls: &Calls) -> v1::ListEdgesResponse {
    let request = v1::ListEdgesRequest::default();
    calls
        .fleet()
        .list_edges(request)
        .await
        .unwrap()
        .into_inner()
}

/// Gets `url` until it is answered from the cache with this body.
pub(crate) async fn cached(http: &HttpClient, origin: &Origin, url: &str, body: &str) {
    eventually(&format!("{url} is cached"), || async {
        let before = origin.count(url);
        let reply = http.get(url).await;
        if origin.count(url) == before && reply.text() == body {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

/// Leases that run out within a test: flags of the control plane.
pub(crate) fn short_leases(launch: Launch) -> Launch {
    launch
        .flag("--heartbeat", "200ms")
        .flag("--lease", "1500ms")
        .flag("--lease-margin", "100ms")
        .flag("--recent-write", "500ms")
}

/// Leases that run out within a test: flags of an edge.
pub(crate) fn short_margin(launch: Launch) -> Launch {
    launch.flag("--lease-margin", "100ms")
}

/// A control plane, one edge and an origin, with the site in place.
pub(crate) struct Rig {
    pub(crate) control: ControlPlane,
    pub(crate) edge: Edge,
    pub(crate) origin: Origin,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(|launch| launch, |_| {}).await
    }

    /// With other flags of the control plane, and a change to the site.
    pub(crate) async fn start_with(
        flags: impl FnOnce(Launch) -> Launch,
        change: impl FnOnce(&mut v1::SiteConfig),
    ) -> Self {
        let origin = Origin::start().await;
        let control = ControlPlane::start_with(flags).await;
        let mut config = site_of(&origin);
        change(&mut config);
        put_site(control.calls(), config).await;
        let edge = Edge::start_with(control.calls(), "edge-a", short_margin).await;
        control.calls().settled(1).await;
        Self {
            control,
            edge,
            origin,
        }
    }

    pub(crate) fn calls(&self) -> &Calls {
        self.control.calls()
    }

    pub(crate) fn http(&self) -> HttpClient {
        self.edge.http(HOST)
    }

    /// Lets the origin answer `url` with this body, tagged and fresh for long.
    pub(crate) fn set(&self, url: &str, body: &str, tags: &[&str]) {
        self.origin
            .set(url, Answer::ok(body.to_owned()).cache(LONG).tags(tags));
    }

    /// The same, and waits until the edge serves it from its cache.
    pub(crate) async fn fill(&self, url: &str, body: &str, tags: &[&str]) {
        self.set(url, body, tags);
        cached(&self.http(), &self.origin, url, body).await;
    }
}

/// The body as it was before `Content-Encoding`.
pub(crate) fn decoded(reply: &Reply) -> Vec<u8> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    let read = match reply.field("content-encoding") {
        "" => return reply.body.to_vec(),
        "gzip" => flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut bytes),
        "br" => brotli::Decompressor::new(&reply.body[..], 4_096).read_to_end(&mut bytes),
        "zstd" => zstd::stream::read::Decoder::new(&reply.body[..])
            .and_then(|mut decoder| decoder.read_to_end(&mut bytes)),
        other => panic!("nobody asked for {other}"),
    };
    read.unwrap();
    bytes
}
