//! When upstreams are left alone, and when they are asked again.

use std::sync::atomic::AtomicBool;

use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self, text: &str) -> usize {
        let all = String::from_utf8(self.0.lock().clone()).unwrap();
        all.lines().filter(|line| line.contains(text)).count()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_change_is_logged_once() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _kept = tracing::subscriber::set_default(subscriber);
    let memory = Arc::new(Memory::default());
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "breaker": { "failures": 2, "pause": "1s", "max_pause": "1s" },
    });
    let origin = origin(config, memory.dialer());
    for _ in 0..5 {
        assert!(send(&origin, get()).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(memory.dialed() > 3, "it was tried again");
    assert_eq!(log.lines("an upstream is left alone"), 1);
    assert_eq!(log.lines("upstream=http://a:80"), 1);
    memory.set("a", |_, stream| answer_all(stream, OK));
    for _ in 0..3 {
        assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    }
    assert_eq!(log.lines("an upstream is asked again"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_left_alone_and_one_request_finds_out_how_it_is() {
    let memory = Arc::new(Memory::default());
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "breaker": { "failures": 3, "pause": "1s", "max_pause": "4s" },
    });
    let origin = origin(config, memory.dialer());
    for _ in 0..3 {
        let error = send(&origin, get()).await.err().unwrap();
        assert!(matches!(error, OriginError::Connect { .. }), "{error}");
    }
    for _ in 0..3 {
        assert_eq!(
            send(&origin, get()).await.err(),
            Some(OriginError::Unavailable)
        );
    }
    assert_eq!((memory.dialed(), origin.stats().left_alone), (3, 1));
    assert!(
        OriginError::Unavailable.is_unreachable(),
        "stale copies may be used"
    );

    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(
        send(&origin, get()).await.err(),
        Some(OriginError::Connect { .. })
    ));
    assert_eq!(
        send(&origin, get()).await.err(),
        Some(OriginError::Unavailable)
    );
    assert_eq!(memory.dialed(), 4);

    memory.set("a", |_, stream| answer_all(stream, OK));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    assert_eq!(origin.stats().left_alone, 0);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_server_count_as_failures_if_the_site_says_so() {
    let memory = Arc::new(Memory::default());
    let failing = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
    memory.set("a", move |_, stream| answer_all(stream, failing));
    for (count_5xx, left_alone) in [(false, 0), (true, 1)] {
        let config = json!({
            "upstreams": [{ "url": "http://a" }],
            "breaker": { "failures": 2, "count_5xx": count_5xx },
        });
        let origin = origin(config, memory.dialer());
        for _ in 0..2 {
            assert_eq!(text(&origin, get()).await.unwrap(), "no");
        }
        assert_eq!(origin.stats().left_alone, left_alone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_or_breaks_its_body_is_no_failure() {
    let memory = Arc::new(Memory::default());
    memory.set("a", |_, stream| async move {
        let mut stream = stream;
        let mut bytes = [0; 64];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "breaker": { "failures": 1 },
    });
    let origin = origin(config, memory.dialer());
    let left = tokio::time::timeout(Duration::from_millis(1), origin.send(get())).await;
    assert!(left.is_err());
    let limits = BodyLimits {
        silence: Duration::from_millis(1),
        ..BodyLimits::default()
    };
    let (_open, receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
    let body = RequestBody::new(StreamBody::new(ReceiverStream::new(receiver)), limits);
    let error = send(&origin, request(Method::POST, body)).await.err();
    assert_eq!(error, Some(OriginError::RequestSilent));
    assert_eq!(origin.stats().left_alone, 0);
}

#[tokio::test(start_paused = true)]
async fn health_checks_leave_an_upstream_alone_and_end_with_the_origin() {
    let memory = Arc::new(Memory::default());
    let asked = Count::default();
    let is_well = Arc::new(AtomicBool::new(false));
    let (counted, well) = (asked.clone(), is_well.clone());
    memory.set("a", move |_, mut stream| {
        let (counted, well) = (counted.clone(), well.clone());
        async move {
            while head(&mut stream).await {
                counted.next();
                let answer = match well.load(Ordering::SeqCst) {
                    true => OK,
                    false => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
                };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    });
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "health_check": { "path": "/healthz", "interval": "1s", "max_status": 299 },
    });
    let origin = origin(config, memory.dialer());
    let until = async |left_alone| {
        while origin.stats().left_alone != left_alone {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently(until(1)).await;
    assert_eq!(asked.get(), 3);
    assert_eq!(
        send(&origin, get()).await.err(),
        Some(OriginError::Unavailable)
    );
    is_well.store(true, Ordering::SeqCst);
    patiently(until(0)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    drop(origin);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let then = asked.get();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(asked.get(), then, "nobody asks any more");
}
