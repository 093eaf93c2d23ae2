//! Several parts in one message: `multipart/byteranges` (RFC 9110, section 14.6).

use bytes::Bytes;
use http::HeaderValue;

use super::{ByteRange, ContentRange};

/// A message of several parts.
#[derive(Debug)]
pub struct Multipart {
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its body. Content is not copied.
    pub segments: Vec<Bytes>,
}

/// Puts parts into one message. `content_type` is that of the representation, and `push`
/// appends the bytes of a range.
pub fn multipart(
    ranges: &[ByteRange],
    complete: u64,
    content_type: Option<&HeaderValue>,
    mut push: impl FnMut(ByteRange, &mut Vec<Bytes>),
) -> Multipart {
    // Nobody who writes content can know it, so no content can look like the end of a part.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut segments = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let mut head = Vec::with_capacity(160);
        head.extend_from_slice(if index == 0 { b"--" } else { b"\r\n--" });
        head.extend_from_slice(boundary.as_bytes());
        if let Some(content_type) = content_type {
            head.extend_from_slice(b"\r\nContent-Type: ");
            head.extend_from_slice(content_type.as_bytes());
        }
        head.extend_from_slice(b"\r\nContent-Range: ");
        let place = ContentRange {
            range: *range,
            complete,
        };
        head.extend_from_slice(place.value().as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        segments.push(head.into());
        push(*range, &mut segments);
    }
    segments.push(format!("\r\n--{boundary}--\r\n").into());
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    Multipart {
        // Letters, digits and signs that a field may have.
        content_type: HeaderValue::try_from(content_type)
            .unwrap_or(HeaderValue::from_static("multipart/byteranges")),
        segments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_says_what_it_is() {
        let text = Bytes::from_static(b"0123456789");
        let ranges = [ByteRange::new(0, 1).unwrap(), ByteRange::new(8, 9).unwrap()];
        let kind = HeaderValue::from_static("text/plain");
        let made = multipart(&ranges, 10, Some(&kind), |range, segments| {
            let at = |n: u64| usize::try_from(n).unwrap();
            segments.push(text.slice(at(range.first())..=at(range.last())));
        });
        let value = made.content_type.to_str().unwrap();
        let boundary = value
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let part = |range: &str, bytes: &str| {
            format!(
                "Content-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{bytes}\r\n"
            )
        };
        let expected = format!(
            "--{boundary}\r\n{}--{boundary}\r\n{}--{boundary}--\r\n",
            part("0-1", "01"),
            part("8-9", "89"),
        );
        assert_eq!(String::from_utf8(made.segments.concat()).unwrap(), expected);
    }
}
