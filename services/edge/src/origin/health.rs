//! Asks upstreams whether they are well: one task for each, which ends with the origin.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::HealthCheck;
use tidegate_net::spread;
use tokio_util::sync::CancellationToken;

use super::attempt::{Failed, Letter, attempt};
use super::body::RequestBody;
use super::error::OriginError;
use super::upstream::Upstream;

/// Begins to ask an upstream, until `stop`.
///
/// # Errors
/// The rules cannot be used.
pub(super) fn watch(
    upstream: &Arc<Upstream>,
    rules: &HealthCheck,
    host: Option<HeaderValue>,
    stop: CancellationToken,
) -> Result<(), OriginError> {
    let wrong = |cause: String| OriginError::Misconfigured(format!("health_check: {cause}"));
    let url = PathAndQuery::parse(&rules.path).map_err(|e| wrong(e.to_string()))?;
    let host = match host {
        Some(host) => host,
        None => {
            HeaderValue::from_str(&upstream.url.authority()).map_err(|e| wrong(e.to_string()))?
        }
    };
    let mut fields = HeaderMap::new();
    fields.insert(HOST, host);
    fields.insert(
        USER_AGENT,
        HeaderValue::from_static("tidegate-health-check"),
    );
    let checks = Checks {
        upstream: upstream.clone(),
        letter: Letter {
            method: Method::GET,
            url,
            fields,
            interim: None,
        },
        rules: rules.clone(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = checks.run() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(())
}

struct Checks {
    upstream: Arc<Upstream>,
    letter: Letter,
    rules: HealthCheck,
}

impl Checks {
    async fn run(self) {
        let interval = self.rules.interval;
        let mut verdict = Verdict::new(&self.rules);
        // Not all edges ask at one moment.
        tokio::time::sleep(spread(interval)).await;
        loop {
            let result = self.check().await;
            if let Some(is_healthy) = verdict.after(result.is_ok()) {
                let cause = result.err().unwrap_or_default();
                self.upstream.set_healthy(is_healthy, &cause);
            }
            tokio::time::sleep(interval - interval / 10 + spread(interval / 5)).await;
        }
    }

    /// Asks once, on a connection of its own: that an old one lives does not say that a
    /// new one could be made.
    async fn check(&self) -> Result<(), String> {
        match tokio::time::timeout(self.rules.timeout, self.ask()).await {
            Ok(result) => result,
            Err(_) => Err("its health check got no answer in time".into()),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let (upstream, rules) = (&*self.upstream, &self.rules);
        let failed = |error: OriginError| format!("its health check failed: {error}");
        let connection = upstream.own_connection().await.map_err(failed)?;
        let (letter, body) = (self.letter.clone(), RequestBody::empty());
        // What comes first ends it: the check's own time is the limit.
        let limit = Duration::MAX;
        match attempt(upstream, connection, letter, body, limit).await {
            Ok((response, _stream)) => {
                let status = response.status().as_u16();
                match (rules.min_status..=rules.max_status).contains(&status) {
                    true => Ok(()),
                    false => Err(format!("its health check was answered with {status}")),
                }
            }
            Err(Failed::Unsent(_, error) | Failed::OnUsed(error) | Failed::Broken(error)) => {
                Err(failed(error))
            }
        }
    }
}

/// What checks in a row show.
struct Verdict {
    is_healthy: bool,
    /// Checks in a row that speak against it.
    against: u32,
    unhealthy_after: u32,
    healthy_after: u32,
}

impl Verdict {
    fn new(rules: &HealthCheck) -> Self {
        Self {
            is_healthy: true,
            against: 0,
            unhealthy_after: rules.unhealthy_after,
            healthy_after: rules.healthy_after,
        }
    }

    /// What is true from now on, if that is news.
    fn after(&mut self, succeeded: bool) -> Option<bool> {
        if succeeded == self.is_healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match self.is_healthy {
            true => self.unhealthy_after,
            false => self.healthy_after,
        };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.is_healthy = succeeded;
        Some(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checks_in_a_row_change_what_is_thought_of_it() {
        let rules = HealthCheck {
            unhealthy_after: 3,
            healthy_after: 2,
            ..HealthCheck::default()
        };
        let mut verdict = Verdict::new(&rules);
        let mut after = |results: &[bool]| -> Vec<Option<bool>> {
            results.iter().map(|ok| verdict.after(*ok)).collect()
        };
        let down = [false, false, true, false, false, false, false];
        let said = [None, None, None, None, None, Some(false), None];
        assert_eq!(after(&down), said);
        let up = [true, false, true, true, true];
        assert_eq!(after(&up), [None, None, None, Some(true), None]);
    }
}
