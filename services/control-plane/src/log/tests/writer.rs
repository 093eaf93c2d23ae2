//! The writer's thread: what is seen while it writes, what waits, and what a failed write ends.

use super::*;

/// A store whose commits wait until they are let through, or fail.
#[derive(Default)]
struct GatedStore {
    inner: MemoryStore,
    gate: Mutex<Option<StoreSide>>,
}

/// What a commit does: it says that it is there, and then waits.
struct StoreSide {
    waiting: mpsc::Sender<()>,
    open: mpsc::Receiver<bool>,
}

/// The same, from the other side. Once it is dropped, every commit succeeds.
struct Gate {
    waiting: mpsc::Receiver<()>,
    open: mpsc::Sender<bool>,
}

impl Gate {
    fn wait_for_commit(&self) {
        self.waiting.recv().unwrap();
    }

    fn open(&self, succeed: bool) {
        self.open.send(succeed).unwrap();
    }
}

impl View for GatedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(range, limit, direction)
    }
}

impl Store for GatedStore {
    fn commit(&self, writes: &WriteSet) -> Result<(), StoreError> {
        if let Some(gate) = &*self.gate.lock() {
            let _ = gate.waiting.send(());
            if !gate.open.recv().unwrap_or(true) {
                return Err(StoreError::Write("the disk is gone".into()));
            }
        }
        self.inner.commit(writes)
    }
}

/// A log with a site, whose next commits wait at the gate. The gate is to be dropped
/// first, because the log waits for its writer.
async fn gated(queue: usize) -> (Arc<EmbeddedLog>, Gate) {
    let store = Arc::new(GatedStore::default());
    let settings = settings(Arc::new(ManualClock::default()));
    let sequencer = Sequencer::open(store.clone(), settings, Path::new("gated")).unwrap();
    let log = EmbeddedLog::start(sequencer, queue).unwrap();
    propose(&*log, put_site("dev", &["*"])).await;
    let (to_test, waiting) = mpsc::channel();
    let (open, from_test) = mpsc::channel();
    *store.gate.lock() = Some(StoreSide {
        waiting: to_test,
        open: from_test,
    });
    (log, Gate { waiting, open })
}

#[tokio::test]
async fn nothing_is_seen_or_answered_before_it_is_durable() {
    let (log, gate) = gated(8).await;
    let mut call = Box::pin(propose(&*log, put_site("two", &["two.example"])));
    assert!(futures_util::poll!(&mut call).is_pending());
    gate.wait_for_commit();
    assert!(futures_util::poll!(&mut call).is_pending());
    assert_eq!(log.head(), Revision(2));
    assert_eq!(log.reader().revision(), Revision(2));
    assert!(log.reader().site(&site("two")).is_none());
    gate.open(true);
    assert_eq!(applied(&call.await), 3);
    assert_eq!(log.head(), Revision(3));
    assert!(log.reader().site(&site("two")).is_some());
}

#[tokio::test]
async fn a_full_queue_is_said_at_once_and_stopping_answers_what_is_queued() {
    let (log, gate) = gated(2).await;
    let mut calls = Vec::new();
    let mut refused = 0;
    for n in 0..8 {
        let log = log.clone();
        let proposal = proposal(hit(&format!("t:{n}")), start_time());
        let mut call = Box::pin(async move { log.propose(proposal).await });
        match futures_util::poll!(&mut call) {
            std::task::Poll::Ready(Err(ProposeError::Overloaded(2))) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => calls.push(call),
        }
        if n == 0 {
            // From here on the writer takes nothing out of the queue.
            gate.wait_for_commit();
        }
    }
    assert_eq!((calls.len(), refused), (3, 5));
    drop(gate);
    log.stop().await;
    for (call, revision) in calls.into_iter().zip(3..) {
        assert_eq!(applied(&call.await.unwrap()), revision);
    }
    let late = log.propose(proposal(hit("late"), start_time())).await;
    assert!(matches!(late, Err(ProposeError::Stopped)));
    assert_eq!(log.head(), Revision(5));
}

#[tokio::test]
async fn after_a_failed_write_the_log_never_goes_on() {
    let (log, gate) = gated(8).await;
    gate.open(false);
    gate.open(true);
    for _ in 0..2 {
        let answer = log.propose(proposal(hit("a"), start_time())).await;
        assert!(matches!(answer, Err(ProposeError::Stopped)));
    }
    assert_eq!(log.head(), Revision(2));
}
