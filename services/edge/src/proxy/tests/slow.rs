//! Fetches that take long. Nothing goes over sockets and time is that of tokio, which stands
//! still while somebody has something to do, and moves on to when somebody has.

use std::io;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use tidegate_clock::BootInstant;
use tidegate_net::{Dial, Duplex};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::proxy::flight::LOCK_AGE;

/// Leads to an origin in memory.
#[derive(Debug)]
struct Wire(mpsc::Sender<DuplexStream>);

impl Dial for Wire {
    fn dial(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let origin = self.0.clone();
        Box::pin(async move {
            let (here, there) = tokio::io::duplex(64 << 10);
            origin.send(there).await.map_err(io::Error::other)?;
            Ok(Box::new(here) as Box<dyn Duplex>)
        })
    }
}

/// Moves with the time of tokio.
#[derive(Debug)]
struct TokioClock {
    set: Arc<ManualClock>,
    start: Instant,
}

impl Clock for TokioClock {
    fn boot(&self) -> BootInstant {
        self.set.boot() + self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.set.wall() + self.start.elapsed()
    }
}

impl World {
    fn without_sockets(edit: impl FnOnce(&mut SiteConfig)) -> Self {
        let (sender, connections) = mpsc::channel(16);
        let address = SocketAddr::from(([192, 0, 2, 80], 80));
        let origin = ScriptedOrigin::taking(ReceiverStream::new(connections), address);
        let dialer = Dialer::Other(Arc::new(Wire(sender)));
        let limits = (64 << 20, None, RevalidationLimits::default());
        Self::before(origin, dialer, limits, edit, |set| {
            let start = Instant::now();
            Arc::new(TokioClock { set, start })
        })
    }

    async fn get_all(&self, times: usize) -> Vec<JoinHandle<Got>> {
        let mut waiting = Vec::new();
        for _ in 0..times {
            waiting.push(self.get("/a").await);
        }
        waiting
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_origin_is_asked_once_more_at_a_time_however_many_wait() {
    let mut world = World::without_sockets(|_| {});
    let waiting = world.get_all(50).await;
    tokio::time::sleep(LOCK_AGE * 7 / 2).await;
    assert_eq!(world.site.stats().fetches, 4);
    for _ in 0..4 {
        world.origin.next().await.answer(200, &[FRESH], "late");
    }
    for task in waiting {
        assert_eq!(done(task).await.body(), "late");
    }
    tokio::time::sleep(LOCK_AGE).await;
    assert_eq!(world.site.stats().fetches, 4);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_origin_that_never_answers_is_told_so_in_the_end() {
    let world = World::without_sockets(|config| {
        let origin = config.origin.as_mut().unwrap();
        origin.first_byte_timeout = Duration::from_secs(30);
    });
    let waiting = world.get_all(50).await;
    tokio::time::sleep(Duration::from_secs(80)).await;
    let are_told = waiting.iter().all(JoinHandle::is_finished);
    assert!(are_told, "somebody waits still");
    for task in waiting {
        assert_eq!(done(task).await.status, 504);
    }
}
