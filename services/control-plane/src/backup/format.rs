//! The bytes of a backup.
//!
//! Sixteen bytes that say what it is and its format, then frames, each with its length
//! before it, then the SHA-256 of everything so far. Header, pairs in the order of
//! their keys, blobs, end: so a reader needs no memory of what came before, and what
//! was cut short, changed or appended to is noticed.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message as _;
use storage::backup_frame::Frame;
use thiserror::Error;
use tidegate_domain::{Digest, DigestHasher, Epoch, Revision};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_from_wire, time_to_wire};

/// What a backup begins with.
const MAGIC: &[u8; 12] = b"tidegatebak\n";
/// The format this program writes, and the newest it reads.
const FORMAT: u32 = 1;
/// The largest frame: a configuration with all its redirects fits many times.
const MAX_FRAME_BYTES: u32 = 64 << 20;
/// The digest at the end.
const DIGEST_BYTES: usize = 32;

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Version of the layout of keys and values.
    pub schema: u32,
    /// The history it was taken of.
    pub epoch: Epoch,
    /// Everything up to here is in it, and nothing after.
    pub revision: Revision,
    /// When it was begun.
    pub time: SystemTime,
    /// Keys with their values.
    pub pairs: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// A backup cannot be used.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It is something else.
    #[error(
        "it is no backup of a control plane; allowed: a file that `tidegate control-plane backup` wrote"
    )]
    NoBackup,
    /// A newer program has written it.
    #[error(
        "it has format {found}, and this program reads formats up to {known}: use the newer program"
    )]
    LaterFormat {
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Its end is missing.
    #[error(
        "it was cut short: it ends after {0} bytes, before its end; take it again or use another copy"
    )]
    CutShort(u64),
    /// Bytes of it are wrong.
    #[error("it is damaged: {0}; take it again or use another copy")]
    Damaged(String),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
}

fn damaged(reason: impl Into<String>) -> BackupError {
    BackupError::Damaged(reason.into())
}

/// Writes the bytes of a backup.
pub(super) struct FrameWriter<'a> {
    out: &'a mut dyn Write,
    hasher: DigestHasher,
    written: u64,
}

impl<'a> FrameWriter<'a> {
    /// Writes what a backup begins with.
    pub(super) fn begin(out: &'a mut dyn Write, header: storage::BackupHeader) -> io::Result<Self> {
        let mut writer = Self {
            out,
            hasher: DigestHasher::new(),
            written: 0,
        };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        writer.frame(Frame::Header(header))?;
        Ok(writer)
    }

    pub(super) fn frame(&mut self, frame: Frame) -> io::Result<()> {
        let bytes = storage::BackupFrame { frame: Some(frame) }.encode_to_vec();
        let length = u32::try_from(bytes.len()).ok();
        let length = length.filter(|length| *length <= MAX_FRAME_BYTES);
        let length = length.ok_or_else(|| {
            io::Error::other(format!("a frame of {} bytes fits no backup", bytes.len()))
        })?;
        self.put(&length.to_be_bytes())?;
        self.put(&bytes)
    }

    /// Writes the end. Returns how many bytes there are in all.
    pub(super) fn finish(mut self, end: storage::BackupEnd) -> io::Result<u64> {
        self.frame(Frame::End(end))?;
        let digest = self.hasher.finish();
        self.out.write_all(digest.as_bytes())?;
        self.out.flush()?;
        Ok(self.written + DIGEST_BYTES as u64)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Why a backup was not read to its end.
pub(super) enum ReadError<E> {
    /// The backup is at fault.
    Backup(BackupError),
    /// Whoever takes what it holds.
    Taker(E),
}

impl<E> From<BackupError> for ReadError<E> {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

/// Takes what a backup holds, in its order.
pub(super) trait Taker {
    /// What stops it.
    type Error;

    fn pair(&mut self, key: Bytes, value: Bytes) -> Result<(), Self::Error>;
    fn blob(&mut self, digest: Digest, size: u64) -> Result<(), Self::Error>;
    fn chunk(&mut self, bytes: Bytes) -> Result<(), Self::Error>;
    fn blob_end(&mut self) -> Result<(), Self::Error>;
}

/// Reads a backup from its beginning to its end and hands over what it holds. Only
/// when this has returned it is certain that it is whole.
pub(super) fn read<T: Taker>(
    from: &mut dyn Read,
    taker: &mut T,
) -> Result<Contents, ReadError<T::Error>> {
    let mut reader = FrameReader {
        from,
        hasher: DigestHasher::new(),
        read: 0,
    };
    reader.magic()?;
    let Frame::Header(header) = reader.frame()? else {
        return Err(damaged("its first frame is no header").into());
    };
    let (mut pairs, mut blobs) = (0, 0);
    let mut last_key: Option<Bytes> = None;
    let mut open: Option<OpenBlob> = None;
    let end = loop {
        let frame = reader.frame()?;
        if let Some(blob) = &mut open {
            let Frame::Chunk(bytes) = frame else {
                return Err(damaged(format!("the blob {} has no end", blob.digest)).into());
            };
            let ended = blob.add(&bytes)?;
            taker.chunk(bytes).map_err(ReadError::Taker)?;
            if ended {
                taker.blob_end().map_err(ReadError::Taker)?;
                open = None;
            }
            continue;
        }
        match frame {
            Frame::Pair(pair) => {
                let rises = last_key.as_ref().is_none_or(|last| *last < pair.key);
                if !rises || blobs > 0 {
                    return Err(damaged("its keys are out of order").into());
                }
                last_key = Some(pair.key.clone());
                pairs += 1;
                taker.pair(pair.key, pair.value).map_err(ReadError::Taker)?;
            }
            Frame::Blob(blob) => {
                let digest: Digest = blob
                    .digest
                    .parse()
                    .map_err(|_| damaged("a blob has no digest"))?;
                blobs += 1;
                taker.blob(digest, blob.size).map_err(ReadError::Taker)?;
                if blob.size == 0 {
                    OpenBlob::new(digest, 0).add(&[])?;
                    taker.blob_end().map_err(ReadError::Taker)?;
                } else {
                    open = Some(OpenBlob::new(digest, blob.size));
                }
            }
            Frame::End(end) => break end,
            Frame::Chunk(_) => return Err(damaged("bytes that belong to no blob").into()),
            Frame::Header(_) => return Err(damaged("it has a second header").into()),
        }
    };
    let bytes = reader.finish()?;
    if end.pairs != pairs || end.blobs != blobs {
        return Err(damaged("it holds other numbers of keys and blobs than it says").into());
    }
    Ok(Contents {
        schema: header.schema,
        epoch: Epoch(header.epoch),
        revision: Revision(header.revision),
        time: time_from_wire(header.time.as_ref()),
        pairs,
        blobs,
        bytes,
    })
}

/// A blob whose bytes are being read.
struct OpenBlob {
    digest: Digest,
    left: u64,
    hasher: Option<DigestHasher>,
}

impl OpenBlob {
    fn new(digest: Digest, size: u64) -> Self {
        Self {
            digest,
            left: size,
            hasher: Some(DigestHasher::new()),
        }
    }

    /// Returns whether these were its last bytes.
    fn add(&mut self, bytes: &[u8]) -> Result<bool, BackupError> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| damaged(format!("the blob {} is too long", self.digest)))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if self.left > 0 {
            return Ok(false);
        }
        let found = self.hasher.take().map(DigestHasher::finish);
        if found.is_some_and(|found| found != self.digest) {
            return Err(damaged(format!(
                "the bytes of the blob {} are others",
                self.digest
            )));
        }
        Ok(true)
    }
}

struct FrameReader<'a> {
    from: &'a mut dyn Read,
    hasher: DigestHasher,
    read: u64,
}

impl FrameReader<'_> {
    fn magic(&mut self) -> Result<(), BackupError> {
        let mut magic = [0; MAGIC.len()];
        for at in 0..MAGIC.len() {
            match self.from.read_exact(&mut magic[at..=at]) {
                Ok(()) if magic[at] == MAGIC[at] => self.read += 1,
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(BackupError::Io(error));
                }
                Err(_) if at > 0 => return Err(BackupError::CutShort(self.read)),
                Ok(()) | Err(_) => return Err(BackupError::NoBackup),
            }
        }
        self.hasher.update(&magic);
        let format = u32::from_be_bytes(self.array()?);
        if format > FORMAT {
            return Err(BackupError::LaterFormat {
                found: format,
                known: FORMAT,
            });
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<Frame, BackupError> {
        let length = u32::from_be_bytes(self.array()?);
        if length > MAX_FRAME_BYTES {
            return Err(damaged(format!("a frame says that it has {length} bytes")));
        }
        let mut bytes = Vec::new();
        let mut limited = self.from.take(u64::from(length));
        limited.read_to_end(&mut bytes).map_err(BackupError::Io)?;
        self.read += bytes.len() as u64;
        if bytes.len() as u64 != u64::from(length) {
            return Err(BackupError::CutShort(self.read));
        }
        self.hasher.update(&bytes);
        let frame = storage::BackupFrame::decode(Bytes::from(bytes));
        let frame = frame.map_err(|error| damaged(error.to_string()))?;
        frame
            .frame
            .ok_or_else(|| damaged("it has a frame of an unknown kind"))
    }

    /// Reads the digest, and that nothing follows. Returns how many bytes there are.
    fn finish(mut self) -> Result<u64, BackupError> {
        let mut digest = [0; DIGEST_BYTES];
        self.fill(&mut digest)?;
        let mut more = [0];
        if self.from.read(&mut more).map_err(BackupError::Io)? > 0 {
            return Err(damaged("something follows its end"));
        }
        if self.hasher.finish().as_bytes()[..] != digest {
            return Err(damaged(
                "its bytes do not have the digest that it ends with",
            ));
        }
        Ok(self.read)
    }

    fn array(&mut self) -> Result<[u8; 4], BackupError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.from.read_exact(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                BackupError::CutShort(self.read)
            } else {
                BackupError::Io(error)
            }
        })?;
        self.read += bytes.len() as u64;
        Ok(())
    }
}

/// What a backup is of.
pub(super) fn header(
    schema: u32,
    epoch: Epoch,
    revision: Revision,
    time: SystemTime,
) -> storage::BackupHeader {
    storage::BackupHeader {
        schema,
        epoch: epoch.0,
        revision: revision.0,
        time: Some(time_to_wire(time)),
    }
}

/// Reads a backup to its end and says what it holds.
///
/// # Errors
/// It is none, was cut short, is damaged, or was written by a newer program.
pub fn check(from: &mut dyn Read) -> Result<Contents, BackupError> {
    struct Nobody;

    impl Taker for Nobody {
        type Error = Infallible;

        fn pair(&mut self, _: Bytes, _: Bytes) -> Result<(), Infallible> {
            Ok(())
        }
        fn blob(&mut self, _: Digest, _: u64) -> Result<(), Infallible> {
            Ok(())
        }
        fn chunk(&mut self, _: Bytes) -> Result<(), Infallible> {
            Ok(())
        }
        fn blob_end(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    read(from, &mut Nobody).map_err(|error| match error {
        ReadError::Backup(error) => error,
        ReadError::Taker(never) => match never {},
    })
}
