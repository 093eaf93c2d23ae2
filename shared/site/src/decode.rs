//! Decodes variants and compares them with the bytes they stand for.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits::ZSTD_WINDOW_LOG;
use crate::resource::Coding;

const BUFFER_BYTES: usize = 64 * 1024;

/// The first seven bits of a stream whose window browsers refuse: reserved by RFC
/// 7932, section 9.1. The decoder would take up to 1 GiB for it.
const BROTLI_LARGE_WINDOW: u8 = 0x11;

/// How two streams differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The encoded bytes cannot be decoded; what is wrong.
    Malformed(String),
    /// They decode to something else from this offset on.
    Bytes(u64),
    /// There are bytes behind the end of the coding.
    Trailing,
}

/// Compares what `encoded` decodes to with `identity`. Never decodes more than one
/// buffer beyond the end of `identity`, and holds no more than windows and buffers.
///
/// # Errors
/// Reading fails.
pub(crate) fn compare(
    coding: Coding,
    encoded: impl Read,
    identity: impl Read,
) -> io::Result<Option<Difference>> {
    let mut source = Source::new(encoded);
    let difference = match coding {
        Coding::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(&mut source);
            compare_streams(&mut decoder, identity)?
        }
        Coding::Br => compare_brotli(&mut source, identity)?,
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            compare_streams(&mut decoder, identity)?
        }
    };
    // A failure to read is not the author's; a decoder may have wrapped it.
    if let Some(error) = source.failed {
        return Err(error);
    }
    if difference.is_none() && !source.inner.fill_buf()?.is_empty() {
        return Ok(Some(Difference::Trailing));
    }
    Ok(difference)
}

fn compare_brotli(
    source: &mut Source<impl Read>,
    identity: impl Read,
) -> io::Result<Option<Difference>> {
    let first = source.inner.fill_buf()?.first();
    if first.is_some_and(|byte| byte & 0x7F == BROTLI_LARGE_WINDOW) {
        let reason = "a large window, which is not part of RFC 7932".to_owned();
        return Ok(Some(Difference::Malformed(reason)));
    }
    let mut decoder = brotli::Decompressor::new(source, BUFFER_BYTES);
    let difference = compare_streams(&mut decoder, identity)?;
    // Only when it is read once more does it tell of bytes that it holds still.
    if difference.is_none() && decoder.read(&mut [0]).is_err() {
        return Ok(Some(Difference::Trailing));
    }
    Ok(difference)
}

fn compare_streams(
    decoder: &mut impl Read,
    mut identity: impl Read,
) -> io::Result<Option<Difference>> {
    let mut decoded = vec![0; BUFFER_BYTES];
    let mut expected = vec![0; BUFFER_BYTES];
    let mut offset = 0u64;
    loop {
        let n = match decoder.read(&mut decoded) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Some(Difference::Malformed(error.to_string()))),
        };
        if n == 0 {
            let is_whole = read_full(&mut identity, &mut expected[..1])? == 0;
            return Ok((!is_whole).then_some(Difference::Bytes(offset)));
        }
        let same = read_full(&mut identity, &mut expected[..n])?;
        let pairs = decoded[..n].iter().zip(&expected[..same]);
        let common = pairs.take_while(|(a, b)| a == b).count();
        if common < n {
            return Ok(Some(Difference::Bytes(offset + common as u64)));
        }
        offset += n as u64;
    }
}

/// Reads until the buffer is full or the stream ends.
pub(crate) fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Remembers that reading failed, so that it is not taken for a malformed coding.
struct Source<R: Read> {
    inner: BufReader<R>,
    failed: Option<io::Error>,
}

impl<R: Read> Source<R> {
    fn new(inner: R) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, inner),
            failed: None,
        }
    }

    fn note(failed: &mut Option<io::Error>, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let told = io::Error::new(error.kind(), error.to_string());
        *failed = Some(error);
        told
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        result.map_err(|error| Self::note(&mut self.failed, error))
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let result = self.inner.fill_buf();
        result.map_err(|error| Self::note(&mut self.failed, error))
    }

    fn consume(&mut self, n: usize) {
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => gzip(bytes),
            Coding::Br => {
                let mut encoded = Vec::new();
                brotli::BrotliCompress(&mut { bytes }, &mut encoded, &Default::default()).unwrap();
                encoded
            }
            Coding::Zstd => zstd::bulk::compress(bytes, 3).unwrap(),
        }
    }

    fn text() -> Vec<u8> {
        (0..40_000)
            .flat_map(|n: u32| n.to_string().into_bytes())
            .collect()
    }

    #[test]
    fn every_coding_decodes_to_what_was_encoded() {
        for coding in Coding::ALL {
            for bytes in [text(), Vec::new(), b"x".to_vec()] {
                let encoded = encode(coding, &bytes);
                assert_eq!(compare(coding, &encoded[..], &bytes[..]).unwrap(), None);
            }
        }
    }

    #[test]
    fn other_shorter_and_longer_bytes_differ_at_their_offset() {
        let bytes = text();
        let size = bytes.len() as u64;
        for coding in Coding::ALL {
            let mut other = bytes.clone();
            other[70_000] ^= 1;
            let difference = |of: &[u8]| compare(coding, &encode(coding, of)[..], &bytes[..]);
            assert_eq!(difference(&other).unwrap(), Some(Difference::Bytes(70_000)));
            let shorter = &bytes[..bytes.len() - 1];
            assert_eq!(
                difference(shorter).unwrap(),
                Some(Difference::Bytes(size - 1))
            );
            let longer = [&bytes[..], b"!"].concat();
            assert_eq!(difference(&longer).unwrap(), Some(Difference::Bytes(size)));
        }
    }

    #[test]
    fn truncated_and_trailing_bytes_are_seen() {
        let bytes = text();
        for coding in Coding::ALL {
            let encoded = encode(coding, &bytes);
            for missing in [1, 4, 9, encoded.len() / 2, encoded.len()] {
                let cut = &encoded[..encoded.len() - missing];
                let found = compare(coding, cut, &bytes[..]).unwrap();
                assert!(found.is_some(), "{coding} without the last {missing}");
            }
            for more in [&b"\0"[..], b"more", &[7; 200_000]] {
                let longer = [&encoded[..], more].concat();
                let found = compare(coding, &longer[..], &bytes[..]).unwrap();
                assert!(found.is_some(), "{coding} with {} more", more.len());
            }
        }
        // Browsers stop after the first member.
        let two = [gzip(&bytes[..9]), gzip(&bytes[9..])].concat();
        assert!(
            compare(Coding::Gzip, &two[..], &bytes[..])
                .unwrap()
                .is_some()
        );
    }

    /// Zeros, which nearly vanish in every coding, and behind them what no coding makes
    /// smaller: encoded it is longer than any buffer.
    fn bomb() -> Vec<u8> {
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let zeros = std::iter::repeat_n(0, 1 << 20);
        zeros.chain(noise.take(128 << 10).flatten()).collect()
    }

    #[test]
    fn a_bomb_is_not_decoded_to_its_end() {
        /// Counts what is read of it.
        struct Counted<'a>(&'a [u8], usize);
        impl Read for Counted<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let read = self.0.read(buffer)?;
                self.1 += read;
                Ok(read)
            }
        }
        let bomb = bomb();
        for coding in Coding::ALL {
            let encoded = encode(coding, &bomb);
            assert!(encoded.len() > 12 * BUFFER_BYTES, "{coding}");
            let mut from = Counted(&encoded, 0);
            let found = compare(coding, &mut from, &[0; 10][..]).unwrap();
            assert_eq!(found, Some(Difference::Bytes(10)), "{coding}");
            // A buffer of its own, and one that its decoder may have.
            assert!(from.1 <= 2 * BUFFER_BYTES, "{coding}: {} bytes", from.1);
        }
    }

    #[test]
    fn a_zstd_window_that_browsers_refuse_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&text()).unwrap();
        let encoded = encoder.finish().unwrap();
        let found = compare(Coding::Zstd, &encoded[..], &text()[..]).unwrap();
        assert!(matches!(found, Some(Difference::Malformed(_))), "{found:?}");
    }

    #[test]
    fn a_brotli_window_that_browsers_refuse_is_refused() {
        let params = brotli::enc::BrotliEncoderParams {
            lgwin: 26,
            large_window: true,
            quality: 5,
            ..Default::default()
        };
        let mut encoded = Vec::new();
        brotli::BrotliCompress(&mut &text()[..], &mut encoded, &params).unwrap();
        let found = compare(Coding::Br, &encoded[..], &text()[..]).unwrap();
        assert!(matches!(found, Some(Difference::Malformed(_))), "{found:?}");
    }

    #[test]
    fn a_failure_to_read_is_no_difference() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk on fire"))
            }
        }
        for coding in Coding::ALL {
            let start = encode(coding, b"some text");
            let encoded = start[..start.len() - 3].chain(Broken);
            let error = compare(coding, encoded, &b"some text"[..]).unwrap_err();
            assert!(error.to_string().contains("disk on fire"), "{coding}");
        }
    }
}
