//! What a request brings besides itself.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Method, Uri, Version};
use tidegate_domain::PathAndQuery;

use crate::cache::judge::{Demand, Trust};
use crate::cache::key::Key;
use crate::cache::policy::directives::RequestDirectives;
use crate::interim::Interim;
use crate::origin::fields::Client;
use crate::standing::Moment;

/// What the one who takes requests knows about one.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// What it asks for, normalised, but not yet as the site's policy has it.
    pub url: &'a PathAndQuery,
    /// Its host, normalised.
    pub host: &'a str,
    /// Address of the connection.
    pub client: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// What the edge could rely on, read after it arrived.
    pub moment: Moment,
    /// What its consistency token comes to.
    pub demand: Demand,
    /// The response is for this visitor alone, whatever the origin says of it: it is not
    /// looked up, not stored, and shared with nobody who asks the same.
    pub never_store: bool,
    /// Where interim responses of the origin go.
    pub interim: Option<&'a Interim>,
}

/// A request that the cache alone cannot answer.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) fields: HeaderMap,
    pub(super) key: Key,
    /// What the origin is asked for where the response is not stored.
    pub(super) target: PathAndQuery,
    pub(super) client: IpAddr,
    pub(super) secure: bool,
    /// The version of HTTP in which it came.
    pub(super) version: Version,
    pub(super) moment: Moment,
    pub(super) demand: Demand,
    pub(super) trust: Trust,
    pub(super) directives: RequestDirectives,
    /// Where interim responses go, if it is this request that brings the origin to answer.
    pub(super) interim: Option<Interim>,
    /// The serial number of the last fetch that had begun when it arrived.
    pub(super) after: u64,
}

impl Ask {
    pub(super) fn client(&self) -> Client<'_> {
        Client {
            address: self.client,
            secure: self.secure,
            host: &self.key.host,
            port: self.key.port,
            version: self.version,
        }
    }

    pub(super) fn host(&self) -> &Arc<str> {
        &self.key.host
    }

    /// Only a fetch that began after this request will do: nothing the edge has
    /// applied can vouch for an older one.
    pub(super) fn needs_own_time(&self) -> bool {
        self.trust == Trust::None
            || self.demand == Demand::Revalidate
            || self.directives.no_cache
            || self.directives.max_age.is_some()
    }
}

/// The port that a client named, or 0 if it named none.
pub(crate) fn port(uri: &Uri, fields: &HeaderMap) -> u16 {
    let of_uri = || uri.authority().map(|authority| authority.as_str());
    let host = fields.get(HOST).and_then(|host| host.to_str().ok());
    host.or_else(of_uri)
        .map(|authority| match authority.rsplit_once(']') {
            Some((_, after)) => after,
            None => authority,
        })
        .and_then(|authority| authority.rsplit_once(':'))
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_field_or_the_target() {
        let named = |host: &str| {
            let fields = [(HOST, host.parse().unwrap())].into_iter().collect();
            port(&Uri::from_static("/"), &fields)
        };
        assert_eq!(
            [named("a:81"), named("a"), named("[::1]:82"), named("[::1]")],
            [81, 0, 82, 0]
        );
        assert_eq!(named("a:99999"), 0);
        assert_eq!(
            port(&Uri::from_static("https://a:83/x"), &HeaderMap::new()),
            83
        );
    }
}
