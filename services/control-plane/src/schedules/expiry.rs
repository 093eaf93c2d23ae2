//! Letting go of entries whose time is long over.
//!
//! A push lets go of some on its way, so this is for sites where nobody pushes any
//! more. Each command removes a bounded number; what is left has its turn a minute
//! later.

use std::sync::Arc;
use std::time::Duration;

use tidegate_clock::Clock;
use tidegate_domain::SiteName;

use crate::blocking::Blocking;
use crate::command::{Command, Outcome, Proposal};
use crate::log::SharedLog;
use crate::state::Reader;

/// How often sites are looked through.
const EVERY: Duration = Duration::from_secs(60);
/// Who removes them, in the log.
const CALLER: &str = "expiry";

/// Collects for as long as it is polled. It may be dropped at any moment.
pub async fn collect_expired(
    log: SharedLog,
    reader: Reader,
    clock: Arc<dyn Clock>,
    blocking: Blocking,
) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (reader, now) = (reader.clone(), clock.wall());
        let found = blocking.run(move || reader.sites_with_expired(now)).await;
        match found {
            Ok(Ok(sites)) => {
                for site in sites {
                    collect(&log, &*clock, site).await;
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "expired entries cannot be looked for"),
            Err(error) => tracing::error!(%error, "looking for expired entries failed"),
        }
    }
}

async fn collect(log: &SharedLog, clock: &dyn Clock, site: SiteName) {
    let proposal = Proposal {
        command: Command::CollectExpired { site: site.clone() },
        time: clock.wall(),
        caller: CALLER.to_owned(),
        idempotency_scope: CALLER.to_owned(),
        traceparent: String::new(),
        tracestate: String::new(),
    };
    match log.propose(proposal).await {
        Ok(Outcome::Applied { revision, .. }) => {
            tracing::debug!(%site, %revision, "expired entries were collected");
        }
        // Someone else has, or the site went.
        Ok(Outcome::Unchanged { .. } | Outcome::Refused(_)) => {}
        Err(error) => tracing::warn!(%site, %error, "expired entries were not collected"),
    }
}
