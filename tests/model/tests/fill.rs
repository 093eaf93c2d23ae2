//! Model 2: what holds with every rule, and what breaks without each.

use tidegate_model::check::{Effort, explore};
use tidegate_model::fill::{Bounds, FINAL, FillModel, Guards, NO_STALE_FILL};

/// Shared validators at an edge that keeps its lease.
const HELD_LEASE: Bounds = Bounds {
    lease_losses: 0,
    ..Bounds::weak_validators()
};

/// Every reachable state keeps every promise, and what should be possible is.
fn holds(bounds: Bounds, guards: Guards) {
    let findings = explore(&FillModel { bounds, guards }, Effort::ALL);
    eprintln!("{findings}");
    assert!(findings.is_sound(), "{findings}");
}

/// The checker finds how a promise is broken without a rule.
fn breaks(promise: &str, bounds: Bounds, guards: Guards) {
    assert_ne!(guards, Guards::default());
    let findings = explore(&FillModel { bounds, guards }, Effort::UNTIL_BROKEN);
    eprintln!("{findings}");
    assert!(findings.breaks(promise).is_some(), "{findings}");
}

const ALL: Guards = Guards::ALL;

#[test]
fn holds_with_fetches_that_others_join() {
    holds(Bounds::joins(), ALL);
}

#[test]
fn holds_with_fetches_that_wait_for_their_turn() {
    holds(Bounds::queued(), ALL);
}

#[test]
fn holds_with_soft_invalidations() {
    holds(Bounds::soft(), ALL);
}

#[test]
fn holds_with_a_memory_that_is_trimmed() {
    holds(Bounds::forgetting(), ALL);
}

#[test]
fn holds_with_pushed_entries() {
    holds(Bounds::entries(), ALL);
}

#[test]
fn holds_with_what_edges_share() {
    holds(Bounds::shares(), ALL);
}

#[test]
fn holds_with_clients_that_leave_and_fetches_that_are_given_up() {
    holds(Bounds::left(), ALL);
}

#[test]
fn holds_at_an_edge_that_is_cut_off_and_comes_back() {
    holds(Bounds::fenced(), ALL);
}

#[test]
fn holds_across_a_reset_into_any_history() {
    holds(Bounds::reset(), ALL);
}

#[test]
fn holds_across_a_reset_while_requests_share_fetches() {
    holds(Bounds::joined_reset(), ALL);
}

#[test]
fn holds_with_validators_that_two_versions_share() {
    holds(Bounds::weak_validators(), ALL);
}

#[test]
fn fails_if_copies_are_not_judged() {
    let guards = Guards {
        marks: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_if_copies_are_used_without_a_lease() {
    let guards = Guards {
        lease: false,
        ..ALL
    };
    breaks(FINAL, Bounds::fenced(), guards);
}

#[test]
fn fails_without_an_era() {
    let guards = Guards { era: false, ..ALL };
    breaks(NO_STALE_FILL, Bounds::reset(), guards);
}

#[test]
fn fails_if_the_era_is_not_raised_again_when_a_snapshot_is_adopted() {
    let guards = Guards {
        era_again: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::reset(), guards);
}

#[test]
fn fails_if_the_position_moves_before_the_effect_shows() {
    let guards = Guards {
        effect_before_position: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_if_live_tags_are_walked_before_an_invalidation_is_remembered() {
    let guards = Guards {
        remember_before_walk: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_if_a_soft_invalidation_undoes_a_hard_one() {
    let guards = Guards {
        soft_keeps_hard: false,
        ..ALL
    };
    breaks(FINAL, Bounds::soft(), guards);
}

#[test]
fn fails_without_a_memory_for_tags_seen_first_when_a_fetch_ends() {
    let guards = Guards {
        memory: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_if_what_began_before_the_memory_is_stored() {
    let guards = Guards {
        memory_bound: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::forgetting(), guards);
}

#[test]
fn fails_without_the_fence_of_a_miss() {
    let guards = Guards {
        fence_misses: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_without_the_fence_of_a_304() {
    let guards = Guards {
        fence_304: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_without_the_fence_of_entries() {
    let guards = Guards {
        fence_entries: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::entries(), guards);
    breaks(NO_STALE_FILL, Bounds::shares(), guards);
}

#[test]
fn fails_if_a_share_counts_from_when_its_response_was_here() {
    let guards = Guards {
        share_as_of_begin: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::shares(), guards);
}

#[test]
fn fails_if_a_share_may_be_older_than_an_invalidation() {
    let guards = Guards {
        fence_shares: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::shares(), guards);
}

#[test]
fn fails_if_a_push_may_be_older_than_an_invalidation() {
    let guards = Guards {
        fence_pushes: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::entries(), guards);
}

#[test]
fn fails_if_a_later_request_joins_a_fetch_unjudged() {
    let guards = Guards {
        join_judged: false,
        ..ALL
    };
    breaks(FINAL, Bounds::joins(), guards);
}

#[test]
fn fails_if_a_request_without_a_lease_joins_a_fetch_that_began_before_it() {
    let guards = Guards {
        own_time: false,
        ..ALL
    };
    breaks(FINAL, Bounds::fenced(), guards);
}

#[test]
fn fails_if_a_304_is_believed_for_a_weak_validator_after_a_hard_invalidation() {
    let guards = Guards {
        strict_304: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, HELD_LEASE, guards);
}

#[test]
fn fails_if_a_revalidation_is_not_judged_anew_when_it_begins() {
    let guards = Guards {
        strict_anew: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, HELD_LEASE, guards);
}

#[test]
fn fails_if_a_304_takes_tags_away() {
    let guards = Guards {
        union_of_tags: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::joins(), guards);
}

#[test]
fn fails_if_who_waits_for_a_fetch_that_is_given_up_gets_what_that_asked_about() {
    let guards = Guards {
        anew_after_give_up: false,
        ..ALL
    };
    breaks(FINAL, Bounds::left(), guards);
}

#[test]
fn fails_if_what_is_fetched_for_clients_that_have_left_is_not_fenced() {
    let guards = Guards {
        fence_misses: false,
        ..ALL
    };
    breaks(NO_STALE_FILL, Bounds::left(), guards);
}

/// A second line: a fetch that begins after such a request is strict by itself, because
/// it is judged anew when it begins.
#[test]
fn holds_also_if_a_strict_request_joins_a_fetch_that_is_not() {
    let guards = Guards {
        strict_joins_strict: false,
        ..ALL
    };
    holds(Bounds::weak_validators(), guards);
}
