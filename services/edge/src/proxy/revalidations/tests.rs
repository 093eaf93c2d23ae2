//! What is promised of places.

use super::queue::MAX_WAITING;
use super::*;
use futures_util::FutureExt as _;

fn all(at_once: usize) -> Arc<Revalidations> {
    Revalidations::new(RevalidationLimits {
        at_once,
        patience: Duration::from_secs(10),
    })
}

fn of(site: u64, places: usize) -> Claim {
    Claim { site, places }
}

fn wanted(requests: u32, uses: u32) -> Wanted {
    Wanted { requests, uses }
}

fn at(millis: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(1_000 + millis))
}

fn place(claimed: Claimed) -> Place {
    match claimed {
        Claimed::Place(place) => place,
        _ => panic!("there is a place"),
    }
}

fn ticket(claimed: Claimed) -> Ticket {
    match claimed {
        Claimed::Waits(ticket) => ticket,
        _ => panic!("it has to wait"),
    }
}

fn has_turn(ticket: &mut Ticket) -> Option<Place> {
    (&mut ticket.place).now_or_never()?.ok()
}

/// Whose turn it is, again and again.
fn order(first: Place, mut waiting: Vec<(&'static str, Ticket)>) -> Vec<&'static str> {
    let mut order = Vec::new();
    let mut held = Some(first);
    while !waiting.is_empty() {
        drop(held.take());
        let at = waiting.iter_mut().position(|(_, ticket)| {
            held = has_turn(ticket);
            held.is_some()
        });
        order.push(waiting.remove(at.expect("a place is given on")).0);
    }
    order
}

#[test]
fn the_most_wanted_goes_first_and_who_waits_long_gets_ahead() {
    let all = all(1);
    let first = place(all.claim(of(1, 8), wanted(1, 0), at(0)));
    let mut waiting = Vec::new();
    for (name, wanted, since) in [
        ("cold", wanted(1, 0), 0),
        ("used", wanted(1, 99), 0),
        ("asked for", wanted(50, 0), 0),
        ("both", wanted(50, 99), 0),
        ("cold and late", wanted(1, 0), 5_000),
        ("hottest and far too late", wanted(1_000, 1_000), 5_000),
    ] {
        waiting.push((name, ticket(all.claim(of(1, 8), wanted, at(since)))));
    }
    assert_eq!(
        order(first, waiting),
        [
            "both",
            "asked for",
            "used",
            "cold",
            "hottest and far too late",
            "cold and late"
        ]
    );
    assert_eq!(all.stats(), RevalidationStats::default());
}

#[test]
fn who_is_joined_while_waiting_moves_ahead() {
    let all = all(1);
    let first = place(all.claim(of(1, 8), wanted(1, 0), at(0)));
    let cold = ticket(all.claim(of(1, 8), wanted(2, 0), at(0)));
    let hot = ticket(all.claim(of(1, 8), wanted(1, 0), at(0)));
    for _ in 0..2 {
        all.want_more(1, hot.number());
    }
    assert_eq!(
        order(first, vec![("cold", cold), ("hot", hot)]),
        ["hot", "cold"]
    );
}

#[test]
fn neither_a_site_nor_the_edge_has_more_than_its_places() {
    let all = all(5);
    let mut places: Vec<_> = (0..3)
        .map(|_| place(all.claim(of(1, 3), wanted(1, 0), at(0))))
        .collect();
    let mut own = ticket(all.claim(of(1, 3), wanted(1, 0), at(0)));
    assert!(
        all.try_claim(of(1, 3)).is_none(),
        "a refresh does not wait, and does not overtake"
    );
    places.extend((0..2).map(|_| place(all.claim(of(2, 3), wanted(1, 0), at(0)))));
    let mut other = ticket(all.claim(of(2, 3), wanted(1, 0), at(0)));
    assert_eq!(all.stats().in_flight, 5);
    assert_eq!(all.stats().waiting, 2);
    // One of the first site comes free: both wait, and the second has the same
    // number of places, but waited for a shorter time.
    places.remove(0);
    let given = [has_turn(&mut own), has_turn(&mut other)];
    assert_eq!(given.iter().flatten().count(), 1);
    assert_eq!(all.stats().in_flight, 5);
}

#[test]
fn who_has_fewest_goes_before_who_waits_for_longer() {
    let all = all(4);
    let _many: Vec<_> = (0..3)
        .map(|_| place(all.claim(of(1, 4), wanted(1, 0), at(0))))
        .collect();
    let third = place(all.claim(of(3, 4), wanted(1, 0), at(0)));
    let mut of_many = ticket(all.claim(of(1, 4), wanted(9, 9), at(0)));
    let mut of_none = ticket(all.claim(of(2, 4), wanted(1, 0), at(9_000)));
    drop(third);
    assert!(has_turn(&mut of_many).is_none());
    assert!(has_turn(&mut of_none).is_some());
}

#[test]
fn a_site_that_has_none_gets_the_next_place_however_many_others_wait() {
    let all = all(4);
    let mut places: Vec<_> = (0..4)
        .map(|_| place(all.claim(of(1, 4), wanted(9, 9), at(0))))
        .collect();
    let _storm: Vec<_> = (0..100)
        .map(|_| ticket(all.claim(of(1, 4), wanted(9_999, 9_999), at(0))))
        .collect();
    let mut other = ticket(all.claim(of(2, 4), wanted(1, 0), at(9_000)));
    places.pop();
    assert!(has_turn(&mut other).is_some());
}

#[test]
fn who_waits_gets_the_places_that_a_site_is_given_more_before_who_comes() {
    let all = all(9);
    let _first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
    let mut waiting: Vec<_> = (0..3)
        .map(|_| ticket(all.claim(of(1, 1), wanted(1, 0), at(0))))
        .collect();
    assert!(all.try_claim(of(1, 3)).is_none());
    let mut given = Vec::new();
    let mut look = |waiting: &mut Vec<Ticket>| {
        waiting.retain_mut(|ticket| match has_turn(ticket) {
            Some(place) => {
                given.push(place);
                false
            }
            None => true,
        });
    };
    look(&mut waiting);
    assert_eq!(waiting.len(), 1);
    // With room for both, who waits still comes first.
    let _late = place(all.claim(of(1, 5), wanted(1, 0), at(0)));
    look(&mut waiting);
    assert!(waiting.is_empty());
    assert_eq!(all.stats().in_flight, 5);
}

#[tokio::test]
async fn a_full_queue_keeps_what_is_wanted_most() {
    let all = all(1);
    let _first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
    let mut waiting: Vec<_> = (0..MAX_WAITING)
        .map(|_| ticket(all.claim(of(1, 1), wanted(2, 0), at(0))))
        .collect();
    assert!(matches!(
        all.claim(of(1, 1), wanted(1, 0), at(0)),
        Claimed::Refused
    ));
    let _hot = ticket(all.claim(of(1, 1), wanted(3, 0), at(0)));
    assert_eq!(all.stats().waiting, MAX_WAITING as u64);
    let last = waiting.pop().unwrap();
    assert!(last.turn().await.is_none(), "it is told");
    assert_eq!(all.stats().refused, 2);
    // Another site has a queue of its own.
    let _other = ticket(all.claim(of(2, 1), wanted(1, 0), at(0)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_is_allowed() {
    let all = all(1);
    let first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
    let late = ticket(all.claim(of(1, 1), wanted(1, 0), at(0)));
    assert!(late.turn().await.is_none());
    assert_eq!((all.stats().waiting, all.stats().refused), (0, 1));
    drop(first);
    assert_eq!(all.stats().in_flight, 0);
    assert!(all.queues.lock().sites.is_empty());
}

#[test]
fn a_place_given_to_one_who_has_left_is_given_on() {
    let all = all(1);
    let first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
    let gone = ticket(all.claim(of(1, 1), wanted(9, 0), at(0)));
    let mut next = ticket(all.claim(of(1, 1), wanted(1, 0), at(0)));
    drop(first);
    drop(gone);
    assert!(has_turn(&mut next).is_some());
    assert_eq!(all.stats().in_flight, 0);
}
