//! HTTP byte by byte: what no well-behaved library would send, and what really arrives at
//! an origin.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wait::within;

/// Requests that are remembered.
const REMEMBERED: usize = 10_000;

/// Sends bytes to a server at `host:port` and reads until it ends the connection.
///
/// # Panics
///
/// If it does not end it, or resets it.
pub async fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    // It may close before it has read all.
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

/// Opens a connection.
///
/// # Panics
///
/// If there is none to be had.
pub async fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address.trim_start_matches("http://")).await;
    stream.expect("the server listens")
}

/// Reads until the other side ends the connection.
///
/// # Panics
///
/// If it does not, or resets it.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let (all, end) = read_until_over(stream).await;
    if let Err(error) = end {
        panic!("it ended after {} bytes with: {error}", all.len());
    }
    all
}

/// Reads until the connection is over, and says whether the other side ended it, or by which
/// error it broke.
///
/// # Panics
///
/// If it is not.
pub async fn read_until_over(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match within("the end of a connection", stream.read(&mut buffer)).await {
            Ok(0) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A message as it was on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub line: String,
    /// Fields, names in small letters, in their order.
    pub fields: Vec<(String, String)>,
    /// Body, without its framing.
    pub body: Vec<u8>,
}

impl Message {
    /// The second word of the first line: the target of a request, the status of a
    /// response.
    pub fn word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("")
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.fields.iter().filter(|(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn head(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self {
            line,
            fields,
            body: Vec::new(),
        }
    }
}

/// The responses in what a server has sent, as RFC 9112 frames them. What is none is one
/// whose line is `malformed`.
pub fn responses(bytes: &[u8]) -> Vec<Message> {
    messages(bytes, true)
}

fn messages(mut bytes: &[u8], ends_with_connection: bool) -> Vec<Message> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        match message(bytes, ends_with_connection) {
            Some((message, used)) => {
                all.push(message);
                bytes = &bytes[used..];
            }
            None => {
                all.push(Message {
                    line: "malformed".to_owned(),
                    body: bytes.to_vec(),
                    ..Message::default()
                });
                return all;
            }
        }
    }
    all
}

/// A message and its length; `None` if it is not here whole.
fn message(bytes: &[u8], ends_with_connection: bool) -> Option<(Message, usize)> {
    let head = find(bytes, b"\r\n\r\n")?;
    let mut message = Message::head(&bytes[..head]);
    let rest = &bytes[head + 4..];
    let (codings, lengths) = (
        message.all("transfer-encoding"),
        message.all("content-length"),
    );
    let has_none = ends_with_connection && matches!(message.word(), "204" | "304");
    let (body, used) = match (&codings[..], &lengths[..]) {
        _ if has_none => (Vec::new(), 0),
        (["chunked"], _) => chunks(rest)?,
        (_, [length]) => {
            let length: usize = length.parse().ok()?;
            (rest.get(..length)?.to_vec(), length)
        }
        _ if ends_with_connection => (rest.to_vec(), rest.len()),
        _ => (Vec::new(), 0),
    };
    message.body = body;
    Some((message, head + 4 + used))
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (whole, mut body) = (bytes.len(), Vec::new());
    loop {
        let end = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            bytes = bytes.strip_prefix(b"\r\n")?;
            return Some((body, whole - bytes.len()));
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

type Answering = Arc<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// An origin that reads what comes as strictly as it can, remembers it, and answers bytes.
pub struct RawOrigin {
    base: String,
    asked: Arc<Mutex<Vec<Message>>>,
    cut: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl std::fmt::Debug for RawOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawOrigin")
            .field("base", &self.base)
            .finish()
    }
}

impl RawOrigin {
    /// Starts one that answers so.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, remembered): (Answering, _) = (Arc::new(answer), asked.clone());
        let cut = Arc::new(AtomicUsize::new(0));
        let counted = cut.clone();
        let server = tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let (answer, asked) = (answer.clone(), remembered.clone());
                    tokio::spawn(serve(stream, answer, asked, counted.clone()));
                }
            }
        });
        Self {
            base: format!("http://{address}"),
            asked,
            cut,
            server,
        }
    }

    /// Answers that were not taken whole.
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }

    /// Its address, `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// What has come since this was asked for last. What is no message has the line
    /// `malformed`.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Answering,
    asked: Arc<Mutex<Vec<Message>>>,
    cut: Arc<AtomicUsize>,
) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    'open: loop {
        while let Some((message, used)) = message(&bytes, false) {
            bytes.drain(..used);
            let response = answer(&message);
            remember(&asked, message);
            if stream.write_all(&response).await.is_err() {
                cut.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if says_that_it_closes(&response) {
                break 'open;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    for rest in messages(&bytes, false) {
        remember(&asked, rest);
    }
}

/// Whether a response is the last of its connection.
fn says_that_it_closes(response: &[u8]) -> bool {
    let end = find(response, b"\r\n\r\n").unwrap_or(0);
    let closes = |value: &&str| value.eq_ignore_ascii_case("close");
    Message::head(&response[..end])
        .all("connection")
        .iter()
        .any(closes)
}

fn remember(asked: &Mutex<Vec<Message>>, message: Message) {
    let mut asked = asked.lock();
    assert!(asked.len() < REMEMBERED, "a test takes what has come");
    asked.push(message);
}

/// A response with a body of known length.
pub fn response(fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = String::from("HTTP/1.1 200 OK\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_framing() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\nrest";
        let all = responses(bytes);
        let bodies: Vec<_> = all.iter().map(Message::text).collect();
        assert_eq!(bodies, ["ab", "abc", "", "rest"]);
        assert_eq!(all[0].all("content-length"), ["2"]);
        assert_eq!(responses(b"HTTP/1.1 200\r\n")[0].line, "malformed");
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab";
        assert_eq!(responses(cut)[0].line, "malformed");
    }

    #[tokio::test]
    async fn an_origin_remembers_what_came_and_what_is_left_over() {
        let origin = RawOrigin::start(|_| response(&[], "x")).await;
        let mut stream = connect(origin.url()).await;
        let sent = b"POST /a HTTP/1.1\r\ncontent-length: 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\nGET";
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(responses(&read_to_end(&mut stream).await).len(), 2);
        let asked = origin.take();
        let words: Vec<_> = asked.iter().map(Message::word).collect();
        assert_eq!(words, ["/a", "/b", ""]);
        assert_eq!(asked[2].line, "malformed");
    }
}
