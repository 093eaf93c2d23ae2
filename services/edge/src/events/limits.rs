//! What bounds the events of a site, where its configuration does not say.

use std::time::Duration;

/// Bounds on memory, waiting and lifetimes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Events kept for browsers that were away.
    pub ring_events: usize,
    /// About how many bytes those may hold.
    pub ring_bytes: usize,
    /// Frames a group keeps for connections that are behind.
    pub group_frames: usize,
    /// Bytes of those frames.
    pub group_bytes: usize,
    /// Events sent one by one after a resume; more are folded.
    pub replay_events: usize,
    /// Bytes sent to one connection at once after it was away or behind; more
    /// becomes a reset.
    pub replay_bytes: usize,
    /// How long a browser that is ahead of this edge waits for it.
    pub ahead_wait: Duration,
    /// How long a browser waits for what only the control plane remembers.
    pub replay_wait: Duration,
    /// How many of those may wait at once.
    pub replays: usize,
    /// The longest life of a connection; each lives 80 to 100 % of it.
    pub lifetime: Duration,
    /// Browsers spread their refetches over this time if an event does not say.
    pub spread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring_events: 4_096,
            ring_bytes: 4 << 20,
            group_frames: 64,
            group_bytes: 256 << 10,
            replay_events: 256,
            replay_bytes: 128 << 10,
            ahead_wait: Duration::from_secs(5),
            replay_wait: Duration::from_secs(5),
            replays: 64,
            lifetime: Duration::from_secs(3_600),
            spread: Duration::ZERO,
        }
    }
}
