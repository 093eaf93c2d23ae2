use super::*;
use futures_util::FutureExt as _;
use proptest::prelude::*;

/// [`WINDOW_BYTES`] as a length.
const WINDOW: usize = 512 << 10;

fn body(max: u64) -> Arc<SharedBody> {
    SharedBody::new(Arc::new(Budget::new(1 << 30)), max, None)
}

/// What no two of are put together.
const LONG: usize = 4 << 10;

/// Each letter so many times.
fn long(text: &str) -> Bytes {
    let letters = text.bytes().flat_map(|letter| vec![letter; LONG]);
    letters.collect()
}

async fn next(reader: &mut Reader) -> Option<Result<Bytes, String>> {
    let frame = std::future::poll_fn(|cx| reader.poll_frame(cx)).await?;
    Some(
        frame
            .map(|f| f.into_data().unwrap())
            .map_err(|e| e.to_string()),
    )
}

#[tokio::test]
async fn every_reader_gets_every_chunk_whenever_it_comes() {
    let body = body(100);
    let mut early = body.reader().unwrap();
    assert!(next(&mut early).now_or_never().is_none());
    assert_eq!(body.push(Bytes::from_static(b"ab")), Fate::Storable);
    assert_eq!(body.push(Bytes::from_static(b"c")), Fate::Storable);
    let mut late = body.reader().unwrap();
    assert_eq!(next(&mut early).await, Some(Ok("abc".into())));
    assert_eq!(body.push(Bytes::from_static(b"d")), Fate::Storable);
    body.end(Ok(()));
    for (reader, rest) in [(&mut early, "d"), (&mut late, "abcd")] {
        assert_eq!(next(reader).await, Some(Ok(rest.into())));
        assert_eq!(next(reader).await, None);
    }
    assert_eq!(body.whole().unwrap().1, 4);
}

#[tokio::test]
async fn a_broken_body_is_an_error_for_all() {
    let body = body(100);
    let mut reader = body.reader().unwrap();
    body.push(Bytes::from_static(b"ab"));
    body.end(Err("reset".into()));
    assert_eq!(next(&mut reader).await, Some(Ok("ab".into())));
    assert!(
        next(&mut reader)
            .await
            .unwrap()
            .unwrap_err()
            .contains("reset")
    );
}

#[tokio::test]
async fn beyond_what_is_stored_the_slowest_reader_sets_the_pace() {
    let body = body(10);
    let mut reader = body.reader().unwrap();
    let chunk = Bytes::from(vec![0; 300 << 10]);
    assert_eq!(body.push(chunk.clone()), Fate::TooLarge);
    assert!(body.room().now_or_never().is_some());
    body.push(chunk.clone());
    assert!(body.room().now_or_never().is_none(), "the window is full");
    next(&mut reader).await.unwrap().unwrap();
    assert_eq!(body.room().await, Ok(()));
    assert!(body.reader().is_none(), "the beginning is gone");
    assert!(body.whole().is_none());
    drop(reader);
    assert_eq!(body.room().await, Err(Abandoned));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_holds_back_others_is_cut_off() {
    let body = body(10);
    let (mut slow, mut fast) = (body.reader().unwrap(), body.reader().unwrap());
    for _ in 0..2 {
        body.push(Bytes::from(vec![0; 300 << 10]));
        next(&mut fast).await.unwrap().unwrap();
    }
    assert_eq!(body.room().await, Ok(()));
    assert!(next(&mut slow).await.unwrap().is_err());
    body.end(Ok(()));
    assert_eq!(next(&mut fast).await, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_a_little_now_and_then_does_not_hold_back_others_for_ever() {
    let body = body(10);
    let (mut slow, mut fast) = (body.reader().unwrap(), body.reader().unwrap());
    let begin = Instant::now();
    let reading = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(9)).await;
            if next(&mut slow).await.unwrap().is_err() {
                return begin.elapsed();
            }
        }
    });
    while !reading.is_finished() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "it is still there"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
        body.push(Bytes::from(vec![0; 300 << 10]));
        next(&mut fast).await.unwrap().unwrap();
        assert_eq!(body.room().await, Ok(()));
    }
    // It was told when it asked next.
    assert!(reading.await.unwrap() <= Duration::from_secs(27));
}

#[tokio::test(start_paused = true)]
async fn one_that_only_reads_less_fast_than_others_is_not_cut_off() {
    let body = body(10);
    let (mut slow, mut fast) = (body.reader().unwrap(), body.reader().unwrap());
    let reading = tokio::spawn(async move {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            next(&mut slow).await.unwrap().unwrap();
        }
        slow
    });
    for _ in 0..20 {
        body.push(Bytes::from(vec![0; 300 << 10]));
        next(&mut fast).await.unwrap().unwrap();
        assert_eq!(body.room().await, Ok(()));
    }
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_alone_takes_its_time() {
    let body = body(10);
    let mut slow = body.reader().unwrap();
    let reading = tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            next(&mut slow).await.unwrap().unwrap();
        }
        slow
    });
    for _ in 0..5 {
        body.push(Bytes::from(vec![0; 300 << 10]));
        assert_eq!(body.room().await, Ok(()));
    }
    reading.await.unwrap();
}

#[tokio::test]
async fn what_turns_out_too_large_gives_back_what_its_readers_have_read() {
    let window = WINDOW_BYTES;
    let budget = Arc::new(Budget::new(4 * window));
    let left = || budget.left();
    let body = SharedBody::new(budget.clone(), 3 * window, None);
    let mut reader = body.reader().unwrap();
    let chunk = Bytes::from(vec![0; WINDOW]);
    for _ in 0..3 {
        assert_eq!(body.push(chunk.clone()), Fate::Storable);
    }
    assert_eq!(left(), window);
    assert_eq!(body.push(chunk.clone()), Fate::TooLarge);
    assert_eq!(left(), window, "four are here, one of them for nothing");
    next(&mut reader).await.unwrap().unwrap();
    assert_eq!(left(), 2 * window);
    for _ in 0..2 {
        next(&mut reader).await.unwrap().unwrap();
    }
    assert_eq!(left(), 4 * window);
    drop((body, reader));
    assert_eq!(left(), 4 * window, "given back once");
}

#[tokio::test]
async fn what_is_not_stored_in_the_end_gives_back_what_its_readers_have_read() {
    let budget = Arc::new(Budget::new(4 * WINDOW_BYTES));
    let left = || budget.left();
    let body = SharedBody::new(budget.clone(), 4 * WINDOW_BYTES, None);
    let mut reader = body.reader().unwrap();
    let chunk = Bytes::from(vec![0; WINDOW]);
    for _ in 0..4 {
        assert_eq!(body.push(chunk.clone()), Fate::Storable);
    }
    next(&mut reader).await.unwrap().unwrap();
    assert_eq!(left(), 0);
    body.not_stored();
    body.end(Ok(()));
    assert_eq!(left(), 2 * WINDOW_BYTES);
    for _ in 0..3 {
        assert_eq!(next(&mut reader).await, Some(Ok(chunk.clone())));
    }
    assert_eq!(next(&mut reader).await, None);
    assert_eq!(left(), 4 * WINDOW_BYTES);
}

#[tokio::test]
async fn what_may_not_be_stored_takes_no_room_and_is_shared_while_it_is_small() {
    let budget = Arc::new(Budget::new(100));
    let body = SharedBody::forbidden(budget.clone(), 1 << 30, None);
    let mut early = body.reader().unwrap();
    let chunk = Bytes::from(vec![0; WINDOW / 2]);
    assert_eq!(body.push(chunk.clone()), Fate::Small);
    next(&mut early).await.unwrap().unwrap();
    let mut late = body.reader().unwrap();
    assert_eq!(body.push(chunk.clone()), Fate::Forbidden);
    assert!(body.room().now_or_never().is_none(), "the window is full");
    next(&mut late).await.unwrap().unwrap();
    assert_eq!(body.room().await, Ok(()));
    assert!(body.reader().is_none(), "the beginning is gone");
    assert!(body.whole().is_none());
    assert_eq!(budget.left(), 100);
    drop((early, late));
    assert_eq!(body.room().await, Err(Abandoned));
}

#[tokio::test]
async fn what_is_small_and_not_stored_is_there_for_who_comes_a_moment_late() {
    let budget = Arc::new(Budget::new(100));
    let body = SharedBody::new(budget.clone(), 100, None);
    let mut early = body.reader().unwrap();
    body.push(Bytes::from_static(b"small"));
    body.not_stored();
    assert_eq!(budget.left(), 100);
    next(&mut early).await.unwrap().unwrap();
    let mut late = body.reader().unwrap();
    assert_eq!(next(&mut late).await, Some(Ok("small".into())));
}

#[test]
fn the_budget_bounds_all_bodies_together() {
    let budget = Arc::new(Budget::new(10));
    let one = SharedBody::new(budget.clone(), 100, None);
    let two = SharedBody::new(budget, 100, None);
    assert_eq!(one.push(Bytes::from_static(b"12345678")), Fate::Storable);
    assert_eq!(two.push(Bytes::from_static(b"123")), Fate::CrowdedOut);
    drop(one);
    let three = SharedBody::new(two.budget.clone(), 100, None);
    assert_eq!(three.push(Bytes::from_static(b"123")), Fate::Storable);
}

#[tokio::test]
async fn once_it_is_stored_slow_readers_take_nothing_from_the_budget() {
    let budget = Arc::new(Budget::new(10 * LONG as u64));
    let body = SharedBody::new(budget.clone(), 100 * LONG as u64, None);
    let chunks = ["ab", "cde", "fgh"].map(long);
    let mut readers = Vec::new();
    for chunk in &chunks {
        readers.push(body.reader().unwrap());
        assert_eq!(body.push(chunk.clone()), Fate::Storable);
    }
    for (reader, read) in readers.iter_mut().zip([0, 1, 3]) {
        for chunk in &chunks[..read] {
            assert_eq!(next(reader).await, Some(Ok(chunk.clone())));
        }
    }
    let other = SharedBody::new(budget.clone(), 100 * LONG as u64, None);
    assert_eq!(other.push(vec![0; 10 * LONG].into()), Fate::CrowdedOut);
    assert_eq!(other.push(vec![0; 90 * LONG].into()), Fate::CrowdedOut);
    assert_eq!(other.push(vec![0; 1].into()), Fate::TooLarge);
    assert_eq!(budget.crowded_out(), 1);
    let segments = ["abcd", "efgh"].map(long);
    body.stored(&StoredBody::Many(segments.into()));
    let other = SharedBody::new(budget.clone(), 100 * LONG as u64, None);
    assert_eq!(
        other.push(vec![0; 10 * LONG].into()),
        Fate::Storable,
        "it is free again"
    );
    readers.push(body.reader().unwrap());
    body.end(Ok(()));
    for (reader, rest) in readers
        .iter_mut()
        .zip(["abcdefgh", "cdefgh", "", "abcdefgh"])
    {
        let mut text = Vec::new();
        while let Some(chunk) = next(reader).await {
            text.extend(chunk.unwrap());
        }
        assert!(text == long(rest));
    }
    drop((body, readers, other));
    let left = budget.left();
    assert_eq!(left, 10 * LONG as u64, "given back once");
}

/// What comes byte by byte, and who reads it.
fn byte_by_byte(body: &Arc<SharedBody>, bytes: u8, reader: &mut Option<Reader>) {
    for byte in 0..bytes {
        body.push(Bytes::copy_from_slice(&[byte]));
        if let Some(reader) = reader {
            let read = next(reader).now_or_never();
            assert_eq!(read, Some(Some(Ok(Bytes::copy_from_slice(&[byte])))));
        }
    }
}

#[test]
fn what_comes_byte_by_byte_is_one_piece_whoever_reads_it_meanwhile() {
    for max in [1_000, 10] {
        let body = body(max);
        let mut keeps_up = body.reader();
        let mut late = body.reader().unwrap();
        byte_by_byte(&body, 250, &mut keeps_up);
        assert_eq!(body.inner.lock().chunks.len(), 1);
        let all: Vec<u8> = (0..250).collect();
        assert_eq!(next(&mut late).now_or_never(), Some(Some(Ok(all.into()))));
    }
}

#[test]
fn the_length_is_not_said_again_of_what_is_left() {
    let body = SharedBody::new(Arc::new(Budget::new(100)), 100, Some(2));
    let mut reader = body.reader().unwrap();
    assert_eq!(reader.size_hint().exact(), Some(2));
    byte_by_byte(&body, 1, &mut None);
    next(&mut reader).now_or_never().unwrap();
    body.push(Bytes::from_static(b"b"));
    assert_eq!(reader.size_hint().exact(), None);
}

proptest! {
    #[test]
    fn every_reader_gets_all_bytes_once_and_in_order(
        steps in prop::collection::vec(
            (prop_oneof![1_usize..4, 1_usize..5_000], prop::collection::vec(0_usize..3, 0..4)),
            1..60,
        ),
        max in prop_oneof![Just(1_u64 << 30), Just(5_000)],
        is_stored in any::<bool>(),
    ) {
        let body = body(max);
        let mut readers: Vec<_> = (0..3).map(|_| body.reader().unwrap()).collect();
        let mut read = vec![Vec::new(); 3];
        let mut all = Vec::new();
        for (number, (length, reads)) in steps.into_iter().enumerate() {
            let chunk = vec![u8::try_from(number).unwrap(); length];
            all.extend_from_slice(&chunk);
            body.push(chunk.into());
            for one in reads {
                if let Some(Some(Ok(bytes))) = next(&mut readers[one]).now_or_never() {
                    read[one].extend_from_slice(&bytes);
                }
            }
        }
        match body.whole() {
            Some((chunks, len)) if is_stored => {
                prop_assert_eq!(len, all.len());
                body.stored(&StoredBody::copy_of(chunks.iter(), len));
            }
            _ => body.not_stored(),
        }
        body.end(Ok(()));
        for (reader, read) in readers.iter_mut().zip(&mut read) {
            while let Some(bytes) = next(reader).now_or_never().unwrap() {
                read.extend_from_slice(&bytes.unwrap());
            }
            prop_assert!(*read == all);
        }
    }
}
