//! Frames of HTTP/2, whole or not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::within;

/// What a connection begins with, and no wishes.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// `RST_STREAM`.
    pub const RESET: u8 = 3;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GO_AWAY: u8 = 7;
    /// `WINDOW_UPDATE`.
    pub const ROOM: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Nothing follows on this stream.
pub const END_STREAM: u8 = 1;
/// Nothing follows of this head.
pub const END_HEADERS: u8 = 4;

/// A frame that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, or 0.
    pub stream: u32,
    /// Content.
    pub content: Vec<u8>,
}

impl Frame {
    /// The status of a HEADERS frame: by its number in HPACK, or in three digits behind the
    /// number of its name.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        match *self.content.first()? {
            named @ 0x88..=0x8E => {
                let numbers = [200, 204, 206, 304, 400, 404, 500];
                numbers.get(usize::from(named - 0x88)).copied()
            }
            0x08 | 0x48 => digits(self.content.get(1..)?),
            _ => None,
        }
    }

    /// The reason in a `RST_STREAM` or GOAWAY frame.
    pub fn reason(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RESET => 0,
            kind::GO_AWAY => 4,
            _ => return None,
        };
        let bytes = self.content.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Three digits as a string of HPACK (RFC 7541, section 5.2).
fn digits(bytes: &[u8]) -> Option<u16> {
    const HUFFMAN: u8 = 0x80;
    let (head, rest) = bytes.split_first()?;
    let text = rest.get(..usize::from(head & !HUFFMAN))?;
    if head & HUFFMAN == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    // Of digits, 0 to 2 have five bits, and the others six that begin at 25 (appendix B).
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next()?;
        }
        let digit = match code {
            0..=2 => code,
            _ => (code << 1 | bits.next()?).checked_sub(22)?,
        };
        number = number * 10 + digit;
    }
    Some(number)
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(content.len())
        .expect("a frame is small")
        .to_be_bytes()[1..]
        .to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Fields as HPACK has them, each literally: nothing is looked up or compressed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541, section 5.1, in seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    let small = |n: usize| u8::try_from(n).expect("it is below 128");
    if length < 127 {
        return bytes.push(small(length));
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(0x80 | small(rest % 128));
        rest /= 128;
    }
    bytes.push(small(rest));
}

/// A connection that is opened as it should be.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects to a server that is known to speak HTTP/2.
    pub async fn connect(address: &str) -> Self {
        let mut stream = crate::raw::connect(address).await;
        stream.write_all(OPENING).await.expect("it is taken");
        Self { stream }
    }

    /// Sends bytes; whether they were taken.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = within("a frame", self.stream.read_exact(&mut head)).await;
        read.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut content = vec![0; usize::try_from(length).expect("24 bits")];
        self.stream.read_exact(&mut content).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7F, head[6], head[7], head[8]]),
            content,
        })
    }

    /// Reads up to a frame for which this is true; `None` if the connection ends before.
    pub async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if is_it(&frame) {
                return Some(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_forms() {
        for (content, status) in [
            (&[0x88][..], Some(200)),
            (&[0x8E, 0x00], Some(500)),
            (&[0x48, 0x03, b'4', b'3', b'1'], Some(431)),
            (&[0x08, 0x83, 0x69, 0x90, 0xFF], Some(431)),
            (&[0x48, 0x82, 0x10, 0x01], Some(200)),
            (&[0x48, 0x83, 0x69], None),
            (&[0x40], None),
            (&[], None),
        ] {
            let frame = Frame {
                kind: kind::HEADERS,
                flags: 0,
                stream: 1,
                content: content.to_vec(),
            };
            assert_eq!(frame.status(), status, "{content:?}");
        }
    }
}
