//! What a connection and a delivery cost here, without a network. Prints figures:
//! `cargo test --release -p tidegate-edge --lib figures -- --ignored --nocapture`.

use std::time::Instant;

use super::{Bench, Ear, invalidate};
use crate::events::{EventsBody, Limits};

const CONNECTIONS: u32 = 10_000;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

async fn measure(what: &str, interest: impl Fn(u32) -> String) {
    let bench = Bench::with(
        |c| c.max_connections_per_address = CONNECTIONS,
        Limits::default(),
    );
    let mut ears: Vec<Ear> = Vec::with_capacity(CONNECTIONS as usize);
    let before = resident_bytes();
    for n in 0..CONNECTIONS {
        let mut ear = bench.listen(&interest(n)).await;
        ear.hear();
        // What the test's own parser keeps is no part of the figure.
        ear.parser = super::Parser::default();
        ears.push(ear);
    }
    let memory = (resident_bytes() - before) / CONNECTIONS as usize;
    let (mut published, mut delivered) = (0.0, 0.0);
    const ROUNDS: u64 = 50;
    for n in 11..11 + ROUNDS {
        let start = Instant::now();
        bench.publish(invalidate(n, &["item:1"]));
        published += start.elapsed().as_secs_f64();
        let start = Instant::now();
        for ear in &mut ears {
            assert_eq!(ear.chunk_count(), 1);
        }
        delivered += start.elapsed().as_secs_f64();
    }
    let each = 1e9 / (ROUNDS as f64 * f64::from(CONNECTIONS));
    println!(
        "{what}: {memory} bytes a connection, publish and wake {:.0} ns, take {:.0} ns a delivery",
        published * each,
        delivered * each
    );
}

impl Ear {
    /// Takes what is ready without reading it.
    fn chunk_count(&mut self) -> usize {
        use http_body::Body;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut chunks = 0;
        while self.body.as_mut().poll_frame(&mut context).is_ready() {
            chunks += 1;
        }
        chunks
    }
}

#[tokio::test]
#[ignore = "prints figures, which mean something only in a release build"]
async fn figures() {
    measure("one group", |_| String::new()).await;
    measure("a group each", |n| {
        format!("interest=item:1&interest=user:{n}")
    })
    .await;
}

#[test]
fn a_connection_is_a_few_hundred_bytes() {
    assert!(
        size_of::<EventsBody>() <= 192,
        "{}",
        size_of::<EventsBody>()
    );
}
