//! Several upstreams, and upstreams that are full.

use super::*;

fn named(
    name: &'static str,
) -> impl Fn(usize, DuplexStream) -> BoxFuture<'static, ()> + Send + Sync {
    move |_, stream| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}");
        Box::pin(async move { answer_all(stream, answer.as_bytes()).await })
    }
}

async fn read(response: Response<OriginBody>) -> String {
    let body = patiently(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn two(memory: &Arc<Memory>, more: Value) -> Origin {
    memory.set("a", named("a"));
    memory.set("b", named("b"));
    let mut config = json!({ "upstreams": [{ "url": "http://a" }, { "url": "http://b" }] });
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    origin(config, memory.dialer())
}

#[tokio::test(start_paused = true)]
async fn the_least_busy_one_is_asked_and_chance_decides_among_equals() {
    let memory = Arc::new(Memory::default());
    let origin = two(&memory, json!({}));
    for _ in 0..16 {
        let held = send(&origin, get()).await.unwrap();
        let other = read(send(&origin, get()).await.unwrap()).await;
        assert_ne!(read(held).await, other);
    }
    let mut answers = Vec::new();
    for _ in 0..64 {
        answers.push(text(&origin, get()).await.unwrap());
    }
    assert!(answers.contains(&"a".to_owned()) && answers.contains(&"b".to_owned()));
    let in_turns = answers.windows(2).all(|two| two[0] != two[1]);
    assert!(!in_turns, "turns are no chance: {answers:?}");
}

#[tokio::test(start_paused = true)]
async fn who_finds_all_of_them_full_waits_for_the_first_that_is_free() {
    let memory = Arc::new(Memory::default());
    let origin = two(&memory, json!({ "max_in_flight_per_upstream": 1 }));
    let held = [
        send(&origin, get()).await.unwrap(),
        send(&origin, get()).await.unwrap(),
    ];
    let mut waiting = std::pin::pin!(origin.send(get()));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("there was no room"),
        () = tokio::task::yield_now() => {}
    }
    let [first, second] = held;
    let first = read(first).await;
    let got = patiently(waiting).await.unwrap();
    assert_eq!(read(got).await, first);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_queue_timeout() {
    let memory = Arc::new(Memory::default());
    let origin = two(
        &memory,
        json!({ "max_in_flight_per_upstream": 1, "max_in_flight": 3 }),
    );
    let held = [
        send(&origin, get()).await.unwrap(),
        send(&origin, get()).await.unwrap(),
    ];
    let (third, fourth) = tokio::join!(send(&origin, get()), send(&origin, get()));
    assert_eq!(third.err(), Some(OriginError::Full));
    assert_eq!(
        fourth.err(),
        Some(OriginError::Busy),
        "who waits counts too"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_free_wakes_one_who_may_have_it() {
    let memory = Arc::new(Memory::default());
    let origin = two(&memory, json!({ "max_in_flight_per_upstream": 1 }));
    let (at, held) = origin.choice.turn(&[]).await.unwrap();
    let (_, other) = origin.choice.turn(&[]).await.unwrap();
    // The first in the queue has been at the one that comes free and has failed there.
    let tried = [at];
    let mut first = std::pin::pin!(origin.choice.turn(&tried));
    let mut second = std::pin::pin!(origin.choice.turn(&[]));
    tokio::select! {
        biased;
        _ = &mut first => panic!("there was no room"),
        _ = &mut second => panic!("there was no room"),
        () = tokio::task::yield_now() => {}
    }
    drop(held);
    let got = tokio::select! {
        biased;
        _ = &mut first => panic!("it was there before"),
        got = &mut second => got,
    };
    assert_eq!(got.unwrap().0, at);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_told_to_who_took_another_is_told_to_the_next() {
    let memory = Arc::new(Memory::default());
    let origin = two(&memory, json!({ "max_in_flight_per_upstream": 1 }));
    // Which of two that are free is taken is left to chance.
    for _ in 0..32 {
        let (at, held) = origin.choice.turn(&[]).await.unwrap();
        let (_, other) = origin.choice.turn(&[]).await.unwrap();
        let mut first = std::pin::pin!(origin.choice.turn(&[]));
        let tried = [1 - at];
        let mut second = std::pin::pin!(origin.choice.turn(&tried));
        tokio::select! {
            biased;
            _ = &mut first => panic!("there was no room"),
            _ = &mut second => panic!("there was no room"),
            () = tokio::task::yield_now() => {}
        }
        drop(held);
        drop(other);
        let (got, turn) = first.await.unwrap();
        if got == at {
            drop(turn);
        }
        assert_eq!(second.await.unwrap().0, at);
    }
}
