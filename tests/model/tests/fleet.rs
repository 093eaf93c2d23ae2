//! Model 1: what holds with every rule, and what breaks without each.

use tidegate_model::check::{Effort, explore};
use tidegate_model::fleet::{Bounds, FINAL, FleetModel, Guards, HEARD, NOTHING_SKIPPED, STALENESS};

/// Every reachable state keeps every promise, and what should be possible is.
fn holds(bounds: Bounds, guards: Guards) {
    let findings = explore(&FleetModel { bounds, guards }, Effort::ALL);
    eprintln!("{findings}");
    assert!(findings.is_sound(), "{findings}");
}

/// The checker finds how a promise is broken without a rule.
fn breaks(promise: &str, bounds: Bounds, guards: Guards) {
    assert_ne!(guards, Guards::default());
    let findings = explore(&FleetModel { bounds, guards }, Effort::UNTIL_BROKEN);
    eprintln!("{findings}");
    assert!(findings.breaks(promise).is_some(), "{findings}");
}

const ALL: Guards = Guards::ALL;

const ONE: Bounds = Bounds {
    invalidations: 1,
    ..Bounds::calm()
};

/// Three, so that the new history is as long as what the edge has seen of the old one.
const LONG_ROLL_BACK: Bounds = Bounds {
    invalidations: 3,
    ..Bounds::roll_back()
};

#[test]
fn holds_under_delay_loss_and_partition() {
    holds(Bounds::calm(), ALL);
}

#[test]
fn holds_with_heartbeats_that_arrive_late_or_twice() {
    holds(Bounds::late_heartbeats(), ALL);
}

#[test]
fn holds_with_edges_that_drain_and_give_their_lease_back() {
    holds(Bounds::departure(), ALL);
}

#[test]
fn fails_if_an_edge_that_drains_goes_on_with_the_lease_that_it_gives_back() {
    let guards = Guards {
        revoke_before_leaving: false,
        ..ALL
    };
    breaks(FINAL, Bounds::departure(), guards);
}

#[test]
fn holds_with_a_stalled_stream() {
    holds(Bounds::stalled_stream(), ALL);
}

#[test]
fn holds_with_a_trimmed_log() {
    holds(Bounds::trimmed_log(), ALL);
}

#[test]
fn holds_when_the_control_plane_restarts() {
    holds(Bounds::restart(), ALL);
}

#[test]
fn holds_when_an_edge_restarts() {
    holds(Bounds::edge_restart(), ALL);
}

#[test]
fn holds_with_two_control_planes_over_a_volume_that_was_handed_over() {
    holds(Bounds::handover(), ALL);
}

#[test]
fn holds_when_a_backup_is_restored() {
    holds(Bounds::restore(), ALL);
}

#[test]
fn holds_when_the_data_folder_is_lost() {
    holds(Bounds::wipe(), ALL);
}

#[test]
fn holds_when_a_backup_comes_back_without_a_word() {
    holds(Bounds::roll_back(), ALL);
}

#[test]
fn fails_without_min_applied() {
    let guards = Guards {
        min_applied: false,
        ..ALL
    };
    breaks(FINAL, ONE, guards);
}

#[test]
fn fails_if_acknowledgements_count_across_instances() {
    let guards = Guards {
        acks_by_instance: false,
        ..ALL
    };
    breaks(FINAL, Bounds::edge_restart(), guards);
}

#[test]
fn fails_if_acknowledgements_count_across_epochs() {
    let guards = Guards {
        ack_history: false,
        ..ALL
    };
    breaks(FINAL, Bounds::restore(), guards);
}

#[test]
fn fails_if_a_stream_continues_from_another_epoch() {
    let guards = Guards {
        epoch_check: false,
        ..ALL
    };
    breaks(FINAL, Bounds::restore(), guards);
}

#[test]
fn fails_without_the_term_check() {
    let guards = Guards {
        term_check: false,
        ..ALL
    };
    breaks(FINAL, LONG_ROLL_BACK, guards);
}

#[test]
fn fails_if_a_stream_continues_below_the_floor() {
    let guards = Guards {
        floor_check: false,
        ..ALL
    };
    breaks(NOTHING_SKIPPED, Bounds::trimmed_log(), guards);
}

#[test]
fn fails_if_a_reset_raises_no_era() {
    let guards = Guards { era: false, ..ALL };
    breaks(NOTHING_SKIPPED, Bounds::trimmed_log(), guards);
}

#[test]
fn fails_if_the_cursor_is_adopted_before_the_era_is_raised() {
    let guards = Guards {
        era_before_cursor: false,
        ..ALL
    };
    breaks(NOTHING_SKIPPED, Bounds::trimmed_log(), guards);
}

#[test]
fn fails_if_the_era_is_not_raised_again_when_a_snapshot_is_adopted() {
    let guards = Guards {
        era_again: false,
        ..ALL
    };
    breaks(NOTHING_SKIPPED, ONE, guards);
}

#[test]
fn fails_if_the_edge_counts_its_lease_from_the_answer() {
    let guards = Guards {
        lease_from_sending: false,
        ..ALL
    };
    breaks(FINAL, ONE, guards);
    breaks(HEARD, ONE, guards);
}

#[test]
fn fails_without_the_margin_of_the_edge() {
    let guards = Guards {
        edge_margin: false,
        ..ALL
    };
    breaks(FINAL, ONE, guards);
    breaks(HEARD, ONE, guards);
}

#[test]
fn fails_without_the_margin_of_the_control_plane() {
    let guards = Guards {
        plane_margin: false,
        ..ALL
    };
    breaks(FINAL, ONE, guards);
}

#[test]
fn fails_if_completion_does_not_wait_for_leases() {
    let guards = Guards {
        wait_for_leases: false,
        ..ALL
    };
    breaks(FINAL, ONE, guards);
}

#[test]
fn fails_without_the_wait_after_a_restart() {
    let guards = Guards {
        wait_after_restart: false,
        ..ALL
    };
    breaks(FINAL, Bounds::restart(), guards);
}

#[test]
fn fails_if_the_first_grant_is_not_durable() {
    let guards = Guards {
        durable_first_grant: false,
        ..ALL
    };
    breaks(FINAL, Bounds::restart(), guards);
}

#[test]
fn fails_if_leases_are_granted_without_a_live_disk() {
    let guards = Guards {
        live_disk: false,
        ..ALL
    };
    breaks(FINAL, Bounds::handover(), guards);
}

#[test]
fn fails_if_a_successor_does_not_count_what_its_predecessor_may_still_grant() {
    let guards = Guards {
        successor_counts_recent_write: false,
        ..ALL
    };
    breaks(FINAL, Bounds::handover(), guards);
}

#[test]
fn fails_if_the_lease_of_an_edge_that_is_behind_is_renewed() {
    let guards = Guards {
        renew_only_current: false,
        ..ALL
    };
    breaks(STALENESS, Bounds::stalled_stream(), guards);
}

#[test]
fn fails_if_a_restored_history_does_not_wait_for_leases_the_backup_does_not_know() {
    let guards = Guards {
        wait_for_unknown: false,
        ..ALL
    };
    breaks(FINAL, Bounds::restore(), guards);
}

#[test]
fn fails_if_a_data_folder_that_is_new_counts_with_no_leases_of_before() {
    let guards = Guards {
        new_folder_waits: false,
        ..ALL
    };
    breaks(FINAL, Bounds::wipe(), guards);
}

#[test]
fn fails_if_what_is_lost_is_noted_and_not_waited_for() {
    let guards = Guards {
        wait_for_unknown: false,
        ..ALL
    };
    breaks(FINAL, Bounds::wipe(), guards);
}

/// A second line: the lease that a heartbeat earned before a reset is honoured by the
/// one who granted it, whatever happened at the edge meanwhile.
#[test]
fn holds_also_if_a_lease_granted_before_a_reset_counts_after_it() {
    let guards = Guards {
        grant_same_era: false,
        ..ALL
    };
    holds(Bounds::trimmed_log(), guards);
    let restore = Bounds {
        invalidations: 1,
        ..Bounds::restore()
    };
    holds(restore, guards);
}

/// The promise ends where the disk forgets who was given a lease and nobody says so.
#[test]
fn a_roll_back_without_a_word_that_forgets_leases_is_beyond_the_promise() {
    let bounds = Bounds {
        roll_back_forgets: true,
        ..Bounds::roll_back()
    };
    let findings = explore(&FleetModel::sound(bounds), Effort::UNTIL_BROKEN);
    eprintln!("{findings}");
    assert!(findings.breaks(FINAL).is_some(), "{findings}");
}
