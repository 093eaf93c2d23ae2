//! `watch`: shows what happens until it is told to end. When the connection breaks it
//! goes on from the last position it has seen, so nothing is missed.

use std::time::Duration;

use tidegate_proto::v1;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::Session;
use crate::args::WatchArgs;
use crate::client::DEADLINE;
use crate::failure::{Exit, Failure, is_transport};
use crate::report::event::Watched;
use tidegate_net::Backoff;

/// A connection that held this long has been a good one.
const STABLE: Duration = Duration::from_secs(10);
/// After this long without a connection the watch ends.
const GIVE_UP: Duration = Duration::from_secs(600);

pub(super) async fn run(session: &mut Session<'_>, args: WatchArgs) -> Result<Exit, Failure> {
    let site = match args.all_sites {
        true => String::new(),
        false => session.site.to_string(),
    };
    let shutdown = session.shutdown.clone();
    let mut watch = Watch {
        site,
        cursor: args.from.unwrap_or_default(),
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(Exit::Done),
        ended = watch.follow(session) => ended.map(|()| Exit::Done),
    }
}

struct Watch {
    /// Empty for all.
    site: String,
    /// The last position seen; before the first event, where the watch began.
    cursor: String,
}

impl Watch {
    /// Follows for as long as there is something to follow. The first connection has
    /// to come about at once; later ones are tried for again.
    async fn follow(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        if self.cursor.is_empty() {
            // Known before anything is heard, so that a connection that breaks before
            // the first event loses none.
            self.cursor = session.client.head().await?.cursor;
        }
        let mut stream = self
            .connect(session)
            .await
            .map_err(|status| Failure::from_status(&status, session.client.address()))?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let since = Instant::now();
            let status = self.show(session, &mut stream).await?;
            if since.elapsed() >= STABLE {
                backoff.reset();
            }
            stream = self.reconnect(session, status, &mut backoff).await?;
        }
    }

    async fn connect(
        &self,
        session: &Session<'_>,
    ) -> Result<Streaming<v1::WatchEventsResponse>, Status> {
        let request = v1::WatchEventsRequest {
            site: self.site.clone(),
            cursor: self.cursor.clone(),
        };
        let mut fleet = session.client.fleet();
        match tokio::time::timeout(DEADLINE, fleet.watch_events(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Shows events until the stream ends; gives back why it did.
    async fn show(
        &mut self,
        session: &mut Session<'_>,
        stream: &mut Streaming<v1::WatchEventsResponse>,
    ) -> Result<Status, Failure> {
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if !message.cursor.is_empty() {
                        self.cursor.clone_from(&message.cursor);
                    }
                    if let Some(event) = message.event {
                        session.output.line(&Watched::new(message.cursor, event))?;
                    }
                }
                Ok(None) => return Ok(Status::unavailable("the control plane ended the stream")),
                Err(status) => return Ok(status),
            }
        }
    }

    async fn reconnect(
        &self,
        session: &mut Session<'_>,
        mut status: Status,
        backoff: &mut Backoff,
    ) -> Result<Streaming<v1::WatchEventsResponse>, Failure> {
        let lost_at = Instant::now();
        loop {
            let failure = Failure::from_status(&status, session.client.address());
            if !may_pass(&status) || lost_at.elapsed() >= GIVE_UP {
                return Err(failure);
            }
            let wait = backoff.next_wait();
            session.output.note(&format!(
                "{failure}; trying again in {:.1}s, from the last event on",
                wait.as_secs_f64(),
            ));
            tokio::time::sleep(wait).await;
            match self.connect(session).await {
                Ok(stream) => return Ok(stream),
                Err(next) => status = next,
            }
        }
    }
}

fn may_pass(status: &Status) -> bool {
    is_transport(status)
        || matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted
        )
}
