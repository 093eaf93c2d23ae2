//! Connections to one upstream that are open: idle ones of HTTP/1.1, and those of HTTP/2,
//! which requests share.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::connection::{Connection, Http1, Http2, Stream};

/// Connections of HTTP/1.1 that are kept while nobody uses them.
const MAX_IDLE: usize = 256;
/// How long any connection is. Below what servers usually allow, so that few are found
/// closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// For how long a connection is silent behind a response that may not have been whole.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// Connections of HTTP/2 beside each other, when the upstream allows few requests on each.
const MAX_SHARED: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    open: Mutex<Open>,
    /// Where connections may lead.
    addresses: Arc<Addresses>,
}

#[derive(Debug, Default)]
struct Open {
    /// The one used last is at the end.
    idle: Vec<(Instant, Http1)>,
    shared: Vec<Arc<Http2>>,
    /// Whether a task looks after what nobody uses any more.
    is_swept: bool,
}

/// Which connection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// HTTP/2 will do.
    pub(super) http2: bool,
    /// One of HTTP/1.1 that was used before will do.
    pub(super) idle: bool,
}

impl Pool {
    pub(super) fn new(addresses: Arc<Addresses>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            addresses,
        })
    }

    /// An open connection, if there is one that can be used.
    pub(super) fn take(&self, wanted: Wanted) -> Option<Connection> {
        let mut open = self.open.lock();
        if wanted.http2 {
            open.shared.retain(|one| self.may_use_shared(one));
            let has_room = open.shared.iter().find(|one| one.has_room());
            // With too many connections requests wait for their turn on one of them.
            let crowded = || open.shared.iter().min_by_key(|one| one.streams());
            let chosen = has_room.or_else(|| (open.shared.len() >= MAX_SHARED).then(crowded)?);
            if let Some(shared) = chosen {
                return Some(Connection::Http2(Stream::of(shared)));
            }
        }
        while wanted.idle
            && let Some((since, one)) = open.idle.pop()
        {
            if one.sender.is_ready() && self.may_keep(since, &one) {
                return Some(Connection::Http1(one));
            }
        }
        None
    }

    /// Lets others use a new connection too, if it can carry more than one request.
    pub(super) fn share(self: &Arc<Self>, new: &Connection) {
        if let Connection::Http2(stream) = new {
            let mut open = self.open.lock();
            open.shared.push(stream.connection().clone());
            self.keep_swept(&mut open);
        }
    }

    /// Takes a connection back when its response is read to the end; one that breaks
    /// before is gone.
    pub(super) fn give_back(self: &Arc<Self>, mut one: Http1) {
        if one.sender.is_ready() {
            return self.insert(one);
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            if one.sender.ready().await.is_ok()
                && let Some(pool) = pool.upgrade()
            {
                pool.insert(one);
            }
        });
    }

    /// Takes a connection back if it is silent for a while: one on which something comes that
    /// nothing was asked for is closed by hyper.
    pub(super) fn give_back_later(self: &Arc<Self>, one: Http1) {
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(SILENT_FOR).await;
            if let Some(pool) = pool.upgrade() {
                pool.give_back(one);
            }
        });
    }

    fn insert(self: &Arc<Self>, one: Http1) {
        let mut open = self.open.lock();
        let now = Instant::now();
        if open.idle.len() < MAX_IDLE && self.may_keep(now, &one) {
            open.idle.push((now, one));
            self.keep_swept(&mut open);
        }
    }

    /// Lets go of what is closed, was not used for a while, or leads to an address that
    /// the upstream has no more. Whether nothing is left.
    pub(super) fn tidy(&self) -> bool {
        let mut open = self.open.lock();
        open.idle
            .retain(|(since, one)| self.may_keep(*since, one) && !one.sender.is_closed());
        // Requests that are on it come to their end.
        open.shared
            .retain(|one| self.may_use_shared(one) && one.idle_for() < IDLE_TIMEOUT);
        open.idle.is_empty() && open.shared.is_empty()
    }

    fn may_keep(&self, since: Instant, one: &Http1) -> bool {
        let may_idle = one.may_idle.unwrap_or(IDLE_TIMEOUT).min(IDLE_TIMEOUT);
        since.elapsed() < may_idle && self.addresses.hold(one.address)
    }

    fn may_use_shared(&self, one: &Http2) -> bool {
        one.is_usable() && self.addresses.hold(one.address())
    }

    fn keep_swept(self: &Arc<Self>, open: &mut Open) {
        if !std::mem::replace(&mut open.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let open = self.open.lock();
        open.idle.len() + open.shared.len()
    }
}

/// Closes what nobody has used for a while, until nothing is left.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        if pool.tidy() {
            let mut open = pool.open.lock();
            // Something may have come since.
            if open.idle.is_empty() && open.shared.is_empty() {
                open.is_swept = false;
                return;
            }
        }
    }
}
