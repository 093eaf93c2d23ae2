//! How connections of HTTP/2 end: nothing of what was answered is lost, and nobody holds one
//! for ever.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_connection_that_carries_nothing_is_told_to_go_and_then_ended() {
    let edge = edge();
    let door = door(&edge);
    let mut client = Client::connect(door.connect().await).await;
    client.get("/a").await;
    // One that holds on to its connection.
    let _sender = client.sender.clone();
    within("an end", client.connection)
        .await
        .unwrap()
        .expect("it was told");
    // One that never speaks HTTP/2 to its end, and does not listen.
    let mut mute = door.connect().await;
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut all = Vec::new();
    // It ends, be it by a reset.
    let _ = within("an end", mute.read_to_end(&mut all)).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_was_asked_and_takes_nothing_new() {
    let edge = edge();
    let stop = CancellationToken::new();
    let door = Door::of(&edge, ServerLimits::default(), stop.clone());
    let mut client = Client::connect(door.connect().await).await;
    let mut open = client.begin("/large").await.unwrap().into_body();
    stop.cancel();
    let refused = loop {
        match client.begin("/a").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(refused.is_go_away(), "{refused}");
    assert_eq!(whole(&mut open).await.unwrap().len(), LARGE);
    within("an end", client.connection).await.unwrap().unwrap();
}

/// A client that has asked for what comes late, and listens to nothing before it is told to.
struct Deaf {
    connection: Connection<tokio::io::DuplexStream>,
    answer: ResponseFuture,
    served: JoinHandle<()>,
}

impl Deaf {
    /// By then the edge has answered, and has gathered what the way to the client does not
    /// take.
    async fn by_the_answer(edge: &Edge, limits: ServerLimits, stop: CancellationToken) -> Self {
        let (near, far) = tokio::io::duplex(1 << 10);
        let connections = Connections::new(edge.front.clone(), limits);
        let served = tokio::spawn(async move {
            let peer = Ipv4Addr::LOCALHOST.into();
            connections
                .serve(far, peer, TunnelBounds::alone(stop))
                .await;
        });
        let (mut sender, mut connection) = h2::client::handshake(near).await.unwrap();
        let answer = ask(&mut sender, "/late");
        // It says what it wants.
        let said = tokio::time::timeout(LATE / 2, &mut connection).await;
        assert!(said.is_err(), "{said:?}");
        tokio::time::sleep(LATE).await;
        Self {
            connection,
            answer,
            served,
        }
    }

    /// It listens again: the answer is whole, and the connection ends as it should.
    async fn hears_all(self) {
        let listening = tokio::spawn(self.connection);
        let (head, mut body) = within("a head", self.answer).await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(whole(&mut body).await.unwrap().len(), MIDDLING);
        within("an end", listening).await.unwrap().unwrap();
        within("an end", self.served).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_when_an_edge_stops_is_sent() {
    let edge = edge();
    for (told, listens) in [(0, 0), (0, 5), (5, 0)] {
        let stop = CancellationToken::new();
        let deaf = Deaf::by_the_answer(&edge, ServerLimits::default(), stop.clone()).await;
        tokio::time::sleep(Duration::from_secs(told)).await;
        stop.cancel();
        tokio::time::sleep(Duration::from_secs(listens)).await;
        deaf.hears_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_on_a_connection_that_is_told_to_go_is_sent() {
    let limits = || ServerLimits {
        idle_timeout: Duration::from_secs(10),
        ..ServerLimits::default()
    };
    let edges = [edge(), edge()];
    let [deaf, mute] = edges
        .each_ref()
        .map(|edge| Deaf::by_the_answer(edge, limits(), CancellationToken::new()));
    let (deaf, mute) = tokio::join!(deaf, mute);
    // They have carried nothing for ten seconds since the answer, and are told to go.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(!deaf.served.is_finished() && !mute.served.is_finished());
    deaf.hears_all().await;
    // Who goes on not listening is waited for as long again.
    let limit = tokio::time::timeout(Duration::from_secs(10), mute.served);
    limit.await.expect("it ends").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_reset_before_its_end_does_not_reach_the_origin_as_a_whole() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let (heard, mut hearing) = tokio::sync::mpsc::channel(4);
        let origin = memory::Origin::new(move |request| {
            let heard = heard.clone();
            async move {
                let mut body = Body::new(request.into_body()).into_data_stream();
                while let Some(piece) = body.next().await {
                    heard.send(piece.map_err(|e| e.to_string())).await.unwrap();
                }
                Response::new(Body::empty())
            }
        });
        let edge = origin.edge();
        let mut client = Client::connect(door(&edge).connect().await).await;
        let request = HttpRequest::post("http://www.example.com/a").body(());
        let (_answer, mut body) = client.sender.send_request(request.unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        let half = within("the first piece", hearing.recv()).await;
        assert_eq!(half, Some(Ok(Bytes::from_static(b"half"))));
        body.send_reset(reason);
        let end = within("an end", hearing.recv()).await;
        assert!(matches!(end, Some(Err(_))), "{reason}: {end:?}");
    }
}
