//! Bounded reading of files and standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::args::FileOrDash;
use crate::failure::Failure;

/// Reads the whole of it on a thread that may block.
///
/// # Errors
/// It cannot be read, or has more than `max` bytes.
pub(crate) async fn read(from: FileOrDash, max: usize) -> Result<Vec<u8>, Failure> {
    let reading = tokio::task::spawn_blocking(move || match from {
        FileOrDash::Dash => bounded(
            io::stdin().lock(),
            max,
            "standard input",
            "STDIN",
            |error| Failure::new("STDIN", format!("standard input: {error}")),
        ),
        FileOrDash::File(path) => read_file(&path, max),
    });
    match reading.await {
        Ok(read) => read,
        Err(ended) => Err(Failure::new("FILE", format!("reading ended: {ended}"))),
    }
}

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, or has more than `max` bytes.
pub(crate) fn read_file(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let file = File::open(path).map_err(failed)?;
    bounded(file, max, &path.display().to_string(), "FILE", failed)
}

fn bounded(
    from: impl Read,
    max: usize,
    name: &str,
    code: &'static str,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut limited = from.take(max as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        let message = format!("{name}: more than {max} bytes; allowed: at most {max}");
        return Err(Failure::new(code, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_over_the_limit_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("body");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(
            read(FileOrDash::File(path.clone()), 5).await.unwrap(),
            b"12345"
        );
        let failure = read(FileOrDash::File(path), 4).await.unwrap_err();
        assert!(failure.to_string().contains("body"), "{failure}");
        assert!(failure.to_string().contains("at most 4"), "{failure}");
    }
}
