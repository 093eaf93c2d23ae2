//! Decodes variants and compares them with the bytes they stand for.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits::ZSTD_WINDOW_LOG;
use crate::resource::Coding;

const BUFFER_BYTES: usize = 64 * 1024;

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
        Coding::Br => {
            let mut decoder = brotli::Decompressor::new(&mut source, BUFFER_BYTES);
            compare_streams(&mut decoder, identity)?
        }
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
