use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use tidegate_clock::{BootInstant, Clock as _, ManualClock};
use tidegate_domain::{EdgeId, InstanceId, Revision};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    clock: ManualClock,
    table: Table,
}

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

fn edge(text: &str) -> EdgeId {
    EdgeId::parse(text).unwrap()
}

impl Rig {
    fn new(head: u64, inherited: &[(&str, Duration)]) -> Self {
        let clock = ManualClock::default();
        clock.advance(SECOND * 1_000);
        let inherited = inherited.iter().map(|(instance, lease)| LeaseRecord {
            instance: id(instance),
            edge: edge(instance),
            lease: *lease,
        });
        Self::on(
            clock,
            Inheritance {
                head: Revision(head),
                leases: inherited.collect(),
                ..Inheritance::default()
            },
        )
    }

    fn on(clock: ManualClock, inherited: Inheritance) -> Self {
        let table = Table::new(FleetSettings::default(), clock.boot(), inherited);
        Self { clock, table }
    }

    fn now(&self) -> BootInstant {
        self.clock.boot()
    }

    fn commit(&mut self, head: u64) {
        let now = self.now();
        self.table.note_head(now, Revision(head));
    }

    /// A heartbeat of an instance of the edge of the same name.
    fn beat(&mut self, instance: &str, applied: u64) -> Option<Grant> {
        self.beat_of(instance, instance, applied)
    }

    fn beat_of(&mut self, name: &str, instance: &str, applied: u64) -> Option<Grant> {
        let now = self.now();
        let instance = id(instance);
        self.table.admit(&edge(name), &instance, now).unwrap();
        self.table
            .describe(&instance, UNIX_EPOCH, Stats::default(), BTreeSet::new());
        self.table.acknowledge(&instance, Revision(applied));
        if self.table.renewal(&instance, now) == Renewal::RecordFirst {
            self.table.recorded(&instance, SECOND * 10);
        }
        self.table.grant(&instance, now)
    }

    fn complete(&mut self, revision: u64) -> bool {
        self.completes(revision, Subject::CONTENT)
    }

    fn completes(&mut self, revision: u64, subject: Subject) -> bool {
        let now = self.now();
        self.table.progress(Revision(revision), subject, now) == Progress::Complete
    }

    fn forgettable(&mut self) -> Vec<InstanceId> {
        let now = self.now();
        self.table.forgettable(now)
    }

    fn standing(&self, instance: &str, revision: u64, subject: Subject) -> Option<Standing> {
        let all = self
            .table
            .standings(Revision(revision), subject, self.now());
        let found = all.into_iter().find(|s| s.instance == id(instance));
        found.map(|s| s.standing)
    }
}

#[test]
fn no_edge_known_is_complete_at_once() {
    assert!(Rig::new(5, &[]).complete(6));
}

#[test]
fn complete_waits_for_every_lease_holder() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1).unwrap();
    rig.beat("b", 1).unwrap();
    rig.commit(2);
    assert!(!rig.complete(2));
    rig.beat("a", 2);
    assert!(!rig.complete(2), "an ack counts for its instance only");
    assert_eq!(
        rig.standing("a", 2, Subject::CONTENT),
        Some(Standing::Applied)
    );
    assert_eq!(
        rig.standing("b", 2, Subject::CONTENT),
        Some(Standing::Pending)
    );
    rig.beat("b", 2);
    assert!(rig.complete(2));
}

#[test]
fn a_lease_is_counted_a_margin_longer_than_it_is_given() {
    let mut rig = Rig::new(1, &[]);
    let grant = rig.beat("a", 1).unwrap();
    assert_eq!(grant.lease, SECOND * 10);
    rig.commit(2);
    rig.clock.advance(Duration::from_millis(10_499));
    assert!(!rig.complete(2));
    rig.clock.advance(Duration::from_millis(1));
    assert!(rig.complete(2));
    assert_eq!(
        rig.standing("a", 2, Subject::CONTENT),
        Some(Standing::Fenced)
    );
}

#[test]
fn an_edge_that_was_counted_out_gets_a_lease_only_with_what_was_completed() {
    let mut rig = Rig::new(1, &[]);
    assert_eq!(rig.beat("a", 1).unwrap().min_applied, Revision(1));
    rig.commit(2);
    rig.clock.advance(SECOND * 11);
    assert!(rig.complete(2));
    rig.commit(3);
    // It has not applied 2, which was durable a heartbeat ago.
    assert_eq!(rig.beat("a", 1), None);
    // Once it has, the lease demands it.
    let grant = rig.beat("a", 2).unwrap();
    assert_eq!(grant.min_applied, Revision(2));
}

#[test]
fn min_applied_moves_only_by_completion_and_never_back() {
    let mut rig = Rig::new(4, &[]);
    rig.beat("a", 4);
    rig.commit(9);
    assert!(!rig.complete(9));
    assert_eq!(rig.beat("a", 8).unwrap().min_applied, Revision(4));
    assert!(rig.complete(7));
    assert!(rig.complete(5));
    assert_eq!(rig.beat("a", 8).unwrap().min_applied, Revision(7));
}

#[test]
fn a_stalled_stream_fences_itself() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1).unwrap();
    rig.commit(2);
    rig.clock.advance(SECOND / 2);
    assert!(rig.beat("a", 1).is_some(), "what is new may be on its way");
    rig.clock.advance(SECOND / 2);
    assert_eq!(rig.beat("a", 1), None);
    rig.clock.advance(SECOND * 10);
    assert!(rig.complete(2));
}

#[test]
fn an_edge_that_applied_nothing_gets_no_lease() {
    let mut rig = Rig::new(0, &[]);
    let now = rig.now();
    rig.table.admit(&edge("a"), &id("a"), now).unwrap();
    assert_eq!(rig.table.renewal(&id("a"), now), Renewal::NotDue);
    assert_eq!(rig.table.grant(&id("a"), now), None);
}

#[test]
fn the_first_grant_needs_a_record() {
    let mut rig = Rig::new(1, &[]);
    let (a, now) = (id("a"), rig.now());
    rig.table.admit(&edge("a"), &a, now).unwrap();
    rig.table.acknowledge(&a, Revision(1));
    assert_eq!(rig.table.renewal(&a, now), Renewal::RecordFirst);
    assert_eq!(rig.table.grant(&a, now), None);
    rig.table.recorded(&a, SECOND * 10);
    assert!(rig.table.grant(&a, now).is_some());
    // A record of a shorter lease, of a run that was configured otherwise, is none.
    rig.table.recorded(&a, SECOND * 9);
    assert_eq!(rig.table.grant(&a, now), None);
}

#[test]
fn a_new_term_waits_for_all_who_may_hold_a_lease() {
    let mut rig = Rig::new(7, &[("a", SECOND * 10), ("b", SECOND * 20)]);
    assert!(
        !rig.complete(3),
        "even for what may have been complete before"
    );
    rig.beat("a", 7);
    assert!(!rig.complete(3));
    rig.beat("b", 7);
    assert!(rig.complete(7));
}

#[test]
fn a_new_term_waits_no_longer_than_the_longest_lease_margin_and_grace() {
    let mut rig = Rig::new(7, &[("a", SECOND * 10), ("b", SECOND * 20)]);
    rig.beat("b", 7);
    // 20 s for the longest lease, 0.5 s of margin, 3 s in which a predecessor
    // without its volume may have gone on.
    rig.clock.advance(Duration::from_millis(23_499));
    assert!(!rig.complete(7));
    rig.clock.advance(Duration::from_millis(1));
    assert!(rig.complete(7));
}

#[test]
fn a_grant_does_not_shorten_an_inherited_lease() {
    let mut rig = Rig::new(7, &[("a", SECOND * 60)]);
    rig.beat("a", 7).unwrap();
    rig.commit(8);
    rig.clock.advance(SECOND * 30);
    assert!(!rig.complete(8));
}

#[test]
fn after_a_start_grants_demand_the_head_at_the_start() {
    let mut rig = Rig::new(7, &[]);
    assert_eq!(rig.beat("a", 6), None);
    assert_eq!(rig.beat("a", 7).unwrap().min_applied, Revision(7));
}

#[test]
fn who_leaves_is_gone_and_gets_no_lease_again() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1).unwrap();
    rig.commit(2);
    assert!(rig.table.leave(&id("a")));
    assert!(rig.complete(2));
    assert_eq!(rig.standing("a", 2, Subject::CONTENT), None);
    assert_eq!(rig.beat("a", 2), None, "a late heartbeat");
    rig.clock.advance(SECOND * 11);
    let now = rig.now();
    assert_eq!(rig.table.forget(&id("a"), now), Some(false));
}

#[test]
fn a_release_waits_also_for_edges_without_a_lease() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1).unwrap();
    rig.commit(2);
    rig.clock.advance(SECOND * 60);
    assert!(rig.complete(2));
    assert!(!rig.completes(2, Subject::Release));
    assert_eq!(
        rig.standing("a", 2, Subject::Release),
        Some(Standing::Pending)
    );
    rig.beat("a", 2);
    assert!(rig.completes(2, Subject::Release));
}

#[test]
fn content_that_may_be_served_stale_completes_after_the_bound() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1).unwrap();
    rig.commit(2);
    let subject = Subject::Content {
        stale_for: SECOND * 30,
    };
    rig.clock.advance(Duration::from_millis(40_499));
    assert!(!rig.completes(2, subject));
    rig.clock.advance(Duration::from_millis(1));
    assert!(rig.completes(2, subject));
}

#[test]
fn an_older_acknowledgement_that_comes_late_takes_nothing_back() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1);
    rig.commit(5);
    assert_eq!(
        rig.table.acknowledge(&id("a"), Revision(5)),
        Some(Revision(1))
    );
    assert_eq!(rig.table.acknowledge(&id("a"), Revision(4)), None);
    assert!(rig.complete(5));
}

#[test]
fn an_instance_of_another_edge_is_refused() {
    let mut rig = Rig::new(1, &[]);
    rig.beat_of("one", "a", 1);
    let now = rig.now();
    assert!(matches!(
        rig.table.admit(&edge("two"), &id("a"), now),
        Err(AdmitError::OtherEdge { .. })
    ));
}

#[test]
fn instances_are_bounded() {
    let mut rig = Rig::new(1, &[]);
    rig.table.settings.max_instances = 1;
    rig.beat("a", 1);
    let now = rig.now();
    assert_eq!(
        rig.table.admit(&edge("b"), &id("b"), now),
        Err(AdmitError::TooMany(1))
    );
}

#[test]
fn a_silent_edge_is_forgotten_after_its_lease_and_a_while() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1);
    rig.clock.advance(SECOND * 600);
    assert!(rig.forgettable().is_empty());
    rig.clock.advance(SECOND * 11);
    assert_eq!(rig.forgettable(), [id("a")]);
    let _allowed = rig
        .table
        .allow_stale(&SiteName::parse("s").unwrap(), SECOND * 3_600);
    assert!(
        rig.forgettable().is_empty(),
        "it may serve stale copies for that long"
    );
}

#[test]
fn an_edge_that_started_anew_replaces_its_former_run_once_that_has_no_lease() {
    let mut rig = Rig::new(1, &[]);
    rig.beat_of("e", "old", 1).unwrap();
    rig.clock.advance(SECOND);
    rig.beat_of("e", "new", 1).unwrap();
    assert!(rig.forgettable().is_empty());
    rig.clock.advance(SECOND * 11);
    assert_eq!(rig.forgettable(), [id("old")]);
}

#[test]
fn a_release_is_prepared_when_every_connected_edge_says_so() {
    let mut rig = Rig::new(1, &[]);
    let release = Digest::of(b"release");
    let (site, other) = (
        SiteName::parse("s").unwrap(),
        SiteName::parse("other").unwrap(),
    );
    rig.beat("a", 1);
    assert!(
        rig.table.is_prepared(&site, &release),
        "nobody is connected"
    );
    let now = rig.now();
    let follows = SiteSet::of([site.clone()]);
    rig.table.set_stream(&id("a"), Some(follows), now);
    assert!(!rig.table.is_prepared(&site, &release));
    assert!(
        rig.table.is_prepared(&other, &release),
        "it follows another"
    );
    rig.table.describe(
        &id("a"),
        UNIX_EPOCH,
        Stats::default(),
        BTreeSet::from([release]),
    );
    assert!(rig.table.is_prepared(&site, &release));
}

#[test]
fn each_complaint_is_made_once_until_the_instance_does_right() {
    let mut rig = Rig::new(1, &[]);
    rig.beat("a", 1);
    rig.commit(3);
    for complaint in [Complaint::Cursor, Complaint::Told, Complaint::OtherEdge] {
        assert!(rig.table.complain(&id("a"), complaint));
        assert!(!rig.table.complain(&id("a"), complaint));
    }
    rig.table.settle(&id("a"), Complaint::Told);
    assert!(rig.table.complain(&id("a"), Complaint::Told));
    rig.beat("a", 1);
    assert!(!rig.table.complain(&id("a"), Complaint::Cursor), "no news");
    rig.beat("a", 3);
    assert!(rig.table.complain(&id("a"), Complaint::Cursor));
    assert!(
        !rig.table.complain(&id("a"), Complaint::OtherEdge),
        "not its fault"
    );
    assert!(!rig.table.complain(&id("stranger"), Complaint::Cursor));
}
