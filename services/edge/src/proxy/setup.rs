//! A site's configuration in the form in which requests need it.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_domain::SiteName;
use tidegate_domain::site::{CachePolicy, CheckedSite, FencedPolicy, OriginConfig, Upstream};

use super::visit::Ask;
use crate::cache::cookies::IgnoredCookies;
use crate::cache::key::ExtraParts;
use crate::cache::policy::directives::{ResponseDirectives, Scope, Stated, stated};
use crate::cache::policy::freshness::AssumedTtl;
use crate::cache::policy::terms::Defaults;
use crate::origin::{Origin, OriginError, Surroundings, UpstreamStats, fields};

const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// See the module.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) site: Arc<CheckedSite>,
    pub(super) origin: Result<Option<Arc<Origin>>, OriginError>,
    pub(super) defaults: Defaults,
    pub(super) tag_fields: Vec<HeaderName>,
    pub(super) extra: ExtraParts,
    pub(super) ignored: IgnoredCookies,
    /// What browsers are told about pages and tagged responses.
    pub(super) browser: HeaderValue,
    /// What the site wants, or what there is room for if that is less.
    pub(super) max_object_bytes: u64,
    pub(super) max_request_bytes: u64,
    pub(super) max_variants: usize,
}

impl Setup {
    /// Takes a configuration. Connections to an origin that stays the same are kept. No body
    /// that is longer than `largest_body` can be stored.
    pub(super) fn new(
        name: &SiteName,
        site: Arc<CheckedSite>,
        old: Option<&Self>,
        surroundings: &Surroundings,
        largest_body: u64,
    ) -> Self {
        let kept = old
            .filter(|old| old.site.config().origin == site.config().origin)
            .map(|old| old.origin.clone());
        let origin = kept.unwrap_or_else(|| {
            Origin::new(name.as_str(), &site, surroundings).map(|origin| origin.map(Arc::new))
        });
        if let Err(error) = &origin {
            tracing::error!(site = %name, %error, "the site's origin cannot be asked");
        }
        let config = site.config();
        let cache = &config.cache;
        if cache.max_object_bytes > largest_body {
            tracing::warn!(
                site = %name,
                max_object_bytes = cache.max_object_bytes,
                largest_body,
                "the site's max_object_bytes is more than --cache-mib has room for: what is larger than largest_body is not stored"
            );
        }
        Self {
            origin,
            defaults: Defaults {
                ttl: AssumedTtl {
                    usual: cache.default_ttl,
                    negative: cache.negative_ttl,
                },
                stale_while_revalidate: cache.stale_while_revalidate,
                stale_if_error: cache.stale_if_error,
                stale_if_unreachable: cache.stale_if_unreachable,
                targets: names(&cache.targeted_headers),
            },
            tag_fields: names(&cache.tag_headers),
            extra: ExtraParts {
                headers: names(&config.key.headers),
                cookies: config.key.cookies.clone(),
            },
            ignored: IgnoredCookies::of(&config.key),
            // What is no field value was refused when the configuration was checked.
            browser: HeaderValue::from_str(&config.browser.cache_control)
                .unwrap_or(HeaderValue::from_static("no-cache")),
            max_object_bytes: cache.max_object_bytes.min(largest_body),
            max_request_bytes: config.origin.as_ref().map_or(0, |o| o.max_request_bytes),
            max_variants: cache.max_variants as usize,
            site,
        }
    }

    pub(super) fn fenced(&self) -> &FencedPolicy {
        &self.site.config().fenced
    }

    /// The fields of a request as the site's origin gets them.
    pub(super) fn to_origin(&self, ask: &Ask) -> HeaderMap {
        let host = self.origin.as_ref().ok().and_then(Option::as_deref);
        let host = host.and_then(Origin::host);
        let mut fields = fields::to_origin(&ask.method, &ask.fields, ask.client(), host);
        if self.defaults.targets.contains(&SURROGATE_CONTROL) {
            fields.insert(
                fields::SURROGATE_CAPABILITY,
                fields::HEEDS_SURROGATE_CONTROL,
            );
        }
        fields
    }

    /// How many upstreams there are.
    pub(super) fn upstreams(&self) -> UpstreamStats {
        match &self.origin {
            Ok(Some(origin)) => origin.stats(),
            _ => UpstreamStats::default(),
        }
    }

    /// Whether copies made under another configuration may be used under this one.
    pub(super) fn keeps_copies_of(&self, old: &Self) -> bool {
        let (new, old) = (self.site.config(), old.site.config());
        new.key == old.key
            && answers_by(&new.cache) == answers_by(&old.cache)
            && new.browser == old.browser
            && new.origin.as_ref().map(answers_of) == old.origin.as_ref().map(answers_of)
    }

    /// Makes the fields of a response those that leave: tags stay here, and a tagged
    /// response has the site's `Cache-Control`, because browsers hear of changes and
    /// have to ask before every reuse. What the origin wants to be private stays so.
    ///
    /// `Surrogate-Control` stays here too, because it is for the next cache alone. Other
    /// targeted fields are for all caches in front of the origin (RFC 9213, section 3.1):
    /// they are passed on, but with a tagged response only if they keep others out, since
    /// caches between here and the browsers hear of no changes.
    ///
    /// Returns what was taken away, and whether the site's `Cache-Control` took the place
    /// of the origin's.
    pub(super) fn dress(&self, fields: &mut HeaderMap, is_tagged: bool) -> (HeaderMap, bool) {
        let mut withheld = HeaderMap::new();
        for name in &self.tag_fields {
            withhold(fields, &mut withheld, name);
        }
        let here = stated(fields, &self.defaults.targets);
        withhold(fields, &mut withheld, &SURROGATE_CONTROL);
        if !is_tagged {
            return (withheld, false);
        }
        if !(here.is_targeted && here.directives.keeps_others_out()) {
            for name in &self.defaults.targets {
                withhold(fields, &mut withheld, name);
            }
        }
        let elsewhere = ResponseDirectives::read(fields);
        let policy = self.for_browsers(&elsewhere, &here);
        let has_site_policy = policy.is_some();
        if let Some(policy) = policy {
            withhold(fields, &mut withheld, &CACHE_CONTROL);
            withhold(fields, &mut withheld, &http::header::EXPIRES);
            withhold(fields, &mut withheld, &http::header::PRAGMA);
            fields.insert(CACHE_CONTROL, policy);
        }
        (withheld, has_site_policy)
    }

    /// What a tagged response tells browsers in place of what the origin says in
    /// `Cache-Control`; `None` if that stays, because nobody is to keep it, or because it is
    /// for one and this edge keeps none either.
    ///
    /// What must not be transformed must not be by those behind either (RFC 9110, section
    /// 7.7), also if the origin says so in a field that is withheld.
    fn for_browsers(&self, said: &ResponseDirectives, here: &Stated) -> Option<HeaderValue> {
        let policy = self.browser.as_bytes();
        let is_fixed = said.no_transform || here.directives.no_transform;
        let mut text = match &said.private {
            _ if said.no_store => return None,
            Scope::Nothing if !is_fixed => return Some(self.browser.clone()),
            Scope::Nothing => policy.to_vec(),
            Scope::Whole if !here.is_targeted => return None,
            Scope::Whole => [&b"private, "[..], policy].concat(),
            Scope::Fields(names) => {
                let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
                let private = format!(", private=\"{}\"", names.join(", "));
                [policy, private.as_bytes()].concat()
            }
        };
        if is_fixed {
            text.extend_from_slice(b", no-transform");
        }
        // A value, a name and what stands between them are bytes of a value.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

/// What of an origin decides what it answers. The rest is about how it is asked.
fn answers_of(origin: &OriginConfig) -> (&[Upstream], &str) {
    (&origin.upstreams, &origin.host_header)
}

/// What of the cache policy bears on what a copy is. The rest is about who shares it.
fn answers_by(cache: &CachePolicy) -> CachePolicy {
    CachePolicy {
        second_tier: None,
        ..cache.clone()
    }
}

/// Moves a field.
pub(super) fn withhold(fields: &mut HeaderMap, withheld: &mut HeaderMap, name: &HeaderName) {
    for value in fields.get_all(name) {
        withheld.append(name, value.clone());
    }
    fields.remove(name);
}

fn names(texts: &[String]) -> Vec<HeaderName> {
    // What is no field name was refused when the configuration was checked.
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
