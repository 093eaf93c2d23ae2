//! The rules that keep a response which was under way, or is stored, from being given
//! after what it shows was invalidated. Each can be taken away by a test.

/// Which rules are in force. All are, unless a test takes one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// A copy is judged by the invalidations of its tags (`edge/src/cache/judge.rs`).
    pub marks: bool,
    /// A copy is used only by an edge that holds a lease (`cache/judge.rs`, `Trust`).
    pub lease: bool,
    /// A copy of an older era is not used (`cache/judge.rs`), and a fetch of an older
    /// era is not joined (`proxy/flight.rs`, `may_serve`).
    pub era: bool,
    /// The era is raised again when the snapshot is adopted (`standing.rs`, `begin`).
    pub era_again: bool,
    /// The effects of an invalidation come before the position that says so
    /// (`link/subscriber.rs`, `apply`).
    pub effect_before_position: bool,
    /// An invalidation is remembered before the live tags are walked
    /// (`cache/tags.rs`, `apply`).
    pub remember_before_walk: bool,
    /// A last soft and a last hard invalidation are kept, so that a soft one does not
    /// undo a hard one (`cache/tags.rs`, `TagMark`).
    pub soft_keeps_hard: bool,
    /// A tag that is seen for the first time when a fetch ends knows what hit it since
    /// the fetch began (`cache/recent.rs`; `cache/tags.rs`, `hold`).
    pub memory: bool,
    /// What began before everything that is remembered is not stored
    /// (`cache/recent.rs`, `reaches_back_to`).
    pub memory_bound: bool,
    /// What is forgotten while a fetch is open counts for it (`cache/recent.rs`,
    /// `forgotten`): a response is stored with the position in which its fetch began.
    pub fence_misses: bool,
    /// The same where a 304 says that the copy is still good.
    pub fence_304: bool,
    /// An entry of the control plane is as good as the position it was looked up at, and what
    /// another edge shares as good as the one in which the fetch began that looked it up, if
    /// that is older (`proxy/tier.rs`, `made_of_entry` and `made_of_share`).
    pub fence_entries: bool,
    /// A push is refused if what it shows was invalidated since it was read
    /// (`control-plane/src/state/entry.rs`, `outdated`).
    pub fence_pushes: bool,
    /// What another edge shares counts from when its fetch began, not from when the response
    /// was here (`proxy/share.rs`, `proxy/departure.rs`, `begin`).
    pub share_as_of_begin: bool,
    /// A share is refused if what it shows was invalidated since
    /// (`control-plane/src/state/shared_entry.rs`).
    pub fence_shares: bool,
    /// A request joins a fetch that began before it only if what comes of it holds for
    /// the request (`proxy/flight.rs`, `holds_for`).
    pub join_judged: bool,
    /// A request without a lease joins no fetch that began before it
    /// (`proxy/flight.rs`, `is_after`; `proxy/visit.rs`, `needs_own_time`).
    pub own_time: bool,
    /// After a hard invalidation or a reset, a 304 is believed only for what tells two
    /// versions apart for certain (`proxy/confirm.rs`, `cache/policy/validation.rs`).
    pub strict_304: bool,
    /// Whether a copy is fenced off is judged anew when its revalidation begins
    /// (`proxy/departure.rs`, `is_fenced_off`).
    pub strict_anew: bool,
    /// A request that asks strictly joins no fetch that does not, and makes one strict
    /// that has not begun (`proxy/flight.rs`).
    pub strict_joins_strict: bool,
    /// Who waits for a fetch that is given up looks for another one, and is not answered with
    /// what it was to ask about (`proxy/forward.rs`, `Outcome::GivenUp`).
    pub anew_after_give_up: bool,
    /// The tags of a copy stay when a 304 names none (`proxy/confirm.rs`, `validated`).
    pub union_of_tags: bool,
}

impl Guards {
    /// Every rule is in force.
    pub const ALL: Self = Self {
        marks: true,
        lease: true,
        era: true,
        era_again: true,
        effect_before_position: true,
        remember_before_walk: true,
        soft_keeps_hard: true,
        memory: true,
        memory_bound: true,
        fence_misses: true,
        fence_304: true,
        fence_entries: true,
        fence_pushes: true,
        share_as_of_begin: true,
        fence_shares: true,
        join_judged: true,
        own_time: true,
        strict_304: true,
        strict_anew: true,
        strict_joins_strict: true,
        anew_after_give_up: true,
        union_of_tags: true,
    };
}

impl Default for Guards {
    fn default() -> Self {
        Self::ALL
    }
}
