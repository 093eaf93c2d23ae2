//! Encodes whole files ahead of time.

use std::io::{self, Write};

use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, GzBuilder};

use super::Level;
use crate::resource::Coding;

/// Encodes `bytes`. The same bytes give the same result on the same machine.
pub(super) fn encode(coding: Coding, level: Level, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Br => brotli(level, bytes),
        Coding::Gzip => gzip(level, bytes),
        Coding::Zstd => zstd(level, bytes),
    }
}

fn brotli(level: Level, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality: match level {
            Level::Fast => 5,
            Level::Best => 11,
        },
        lgwin: 22,
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let mut encoded = Vec::new();
    brotli::BrotliCompress(&mut { bytes }, &mut encoded, &params)?;
    Ok(encoded)
}

fn gzip(level: Level, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let level = match level {
        Level::Fast => Compression::new(6),
        Level::Best => Compression::new(9),
    };
    // No name and no time in the header: the same bytes give the same blob.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), level);
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Neither level has a window above the 8 MiB that browsers take.
fn zstd(level: Level, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let level = match level {
        Level::Fast => 3,
        Level::Best => 19,
    };
    zstd::bulk::compress(bytes, level)
}
