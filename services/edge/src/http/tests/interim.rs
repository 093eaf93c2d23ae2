//! Interim responses on their way from the origin to the client.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::wire::serve;
use super::*;

const SAID: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
    set-cookie: a=b\r\ntidegate-revision: x\r\ncontent-length: 5\r\n\r\n";
const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 6\r\n\r\nanswer";

/// An origin that says something at once, and answers when it is let.
async fn origin(answers: Arc<Semaphore>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            tokio::spawn(async move {
                loop {
                    until(&mut stream, "\r\n\r\n").await;
                    stream.write_all(SAID.as_bytes()).await.unwrap();
                    answers.acquire().await.unwrap().forget();
                    stream.write_all(ANSWER.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// What comes up to this text.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let reading = async {
        let mut text = String::new();
        while !text.ends_with(end) {
            match stream.read_u8().await {
                Ok(byte) => text.push(byte.into()),
                // Whoever is on the other side has had enough.
                Err(_) => std::future::pending().await,
            }
        }
        text
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    read.expect("it comes")
}

pub(super) async fn edge(answers: &Arc<Semaphore>) -> (Edge, SocketAddr) {
    let origin = origin(answers.clone()).await;
    let config = serde_json::json!({
        "hosts": ["*"],
        "origin": { "upstreams": [{ "url": format!("http://{origin}") }] },
    });
    let edge = Edge::start(config, ControlPlane::default(), None, Arc::default());
    let address = serve(&edge).await;
    (edge, address)
}

async fn ask(stream: &mut TcpStream, method: &str, version: &str) {
    let request = format!("{method} / HTTP/{version}\r\nhost: www.example.com\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn what_an_origin_says_first_comes_before_its_answer_and_is_not_stored() {
    let answers = Arc::new(Semaphore::new(0));
    let (_edge, address) = edge(&answers).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "GET", "1.1").await;
    let said = until(&mut stream, "\r\n\r\n").await;
    assert_eq!(
        said,
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
    );
    answers.add_permits(1);
    let answer = until(&mut stream, "answer").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("link:"), "{answer}");
    // On the same connection: what is stored is the answer alone.
    ask(&mut stream, "GET", "1.1").await;
    let hit = until(&mut stream, "answer").await;
    assert!(
        hit.starts_with("HTTP/1.1 200 ") && hit.contains("hit"),
        "{hit}"
    );
    // What is passed on is announced too.
    ask(&mut stream, "POST", "1.1").await;
    let said = until(&mut stream, "\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 103 "), "{said}");
    answers.add_permits(1);
    until(&mut stream, "answer").await;
}

#[tokio::test]
async fn a_client_of_the_first_version_hears_the_answer_alone() {
    let answers = Arc::new(Semaphore::new(1));
    let (_edge, address) = edge(&answers).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "GET", "1.0").await;
    let answer = until(&mut stream, "answer").await;
    let status = answer.split(' ').nth(1);
    assert_eq!(status, Some("200"), "{answer}");
}
