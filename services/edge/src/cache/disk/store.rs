//! What foyer is given: keys and values as bytes, an engine on a folder, and a runtime of
//! its own, so that no thread that serves requests waits for a disk.

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use foyer_common::code::Code;
use foyer_common::error::{Error, ErrorKind, Result};
use foyer_common::metrics::Metrics;
use foyer_common::spawn::Spawner;
use foyer_memory::{Cache, CacheBuilder, CacheProperties};
use foyer_storage::{
    BlockEngineConfig, DeviceBuilder as _, FsDeviceBuilder, Load, PsyncIoEngineConfig, RecoverMode,
    Store, StoreBuilder,
};
use tidegate_domain::PathAndQuery;

use super::PAGE;
use crate::cache::key::{Key, KeyRef};

/// The longest value. What is larger is in several.
pub(super) const MAX_VALUE: usize = 1 << 20;
/// The longest head of responses with what is kept inside it.
const MAX_READ: u32 = 2 << 20;
/// Bytes that are being written at once, and room for as many more meanwhile.
pub(super) const BATCH_BYTES: usize = 4 << 20;
/// The disk is reclaimed in about so many pieces, the oldest first ...
const BLOCKS: u64 = 64;
/// ... each of which is a file of at least, and at most, so many bytes.
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = (4 << 20)..=(1 << 30);
/// Threads that wait for the disk.
const THREADS: usize = 8;

/// The name of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// The responses under a key.
    Responses(Key),
    /// A part of a body.
    Piece {
        /// The number of the body; never given twice.
        body: u64,
        /// Its place in the body.
        index: u32,
    },
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            // As a borrowed key is.
            Self::Responses(key) => key.hash(state),
            Self::Piece { body, index } => (body, index).hash(state),
        }
    }
}

impl quick_cache::Equivalent<Name> for KeyRef<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        matches!(name, Name::Responses(key) if self.equivalent(key))
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value(pub(super) Bytes);

fn put(writer: &mut impl Write, bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).map_err(Error::io_error)
}

fn put_text(writer: &mut impl Write, text: &str) -> Result<()> {
    put(writer, &(text.len() as u64).to_le_bytes())?;
    put(writer, text.as_bytes())
}

fn take<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(bytes)
}

fn take_bytes(reader: &mut impl Read, len: u64) -> Result<Vec<u8>> {
    if len > u64::from(MAX_READ) {
        return Err(malformed());
    }
    let mut bytes = Vec::new();
    let read = reader.take(len).read_to_end(&mut bytes);
    match read.map_err(Error::io_error)? as u64 == len {
        true => Ok(bytes),
        false => Err(malformed()),
    }
}

fn take_text(reader: &mut impl Read) -> Result<String> {
    let len = u64::from_le_bytes(take(reader)?);
    String::from_utf8(take_bytes(reader, len)?).map_err(|_| malformed())
}

fn malformed() -> Error {
    Error::new(
        ErrorKind::Parse,
        "what was read is not what is written here",
    )
}

impl Code for Name {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        match self {
            Self::Responses(key) => {
                let flags = [u8::from(key.extra.is_some()), u8::from(key.secure)];
                put(writer, &[0])?;
                put(writer, &flags)?;
                put(writer, &key.site.to_le_bytes())?;
                put(writer, &key.port.to_le_bytes())?;
                put_text(writer, &key.host)?;
                put_text(writer, key.url.as_str())?;
                put_text(writer, key.extra.as_deref().unwrap_or_default())
            }
            Self::Piece { body, index } => {
                put(writer, &[1])?;
                put(writer, &body.to_le_bytes())?;
                put(writer, &index.to_le_bytes())
            }
        }
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let [kind] = take(reader)?;
        if kind == 1 {
            return Ok(Self::Piece {
                body: u64::from_le_bytes(take(reader)?),
                index: u32::from_le_bytes(take(reader)?),
            });
        }
        let [has_extra, secure] = take(reader)?;
        let site = u64::from_le_bytes(take(reader)?);
        let port = u16::from_le_bytes(take(reader)?);
        let host = take_text(reader)?;
        let url = PathAndQuery::parse(&take_text(reader)?).map_err(|_| malformed())?;
        let extra = take_text(reader)?;
        Ok(Self::Responses(Key {
            site,
            host: host.into(),
            port,
            secure: secure == 1,
            url,
            extra: (has_extra == 1).then(|| extra.into()),
        }))
    }

    fn estimated_size(&self) -> usize {
        match self {
            Self::Responses(key) => key.bytes() + 37,
            Self::Piece { .. } => 13,
        }
    }
}

impl Code for Value {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        put(writer, &(self.0.len() as u64).to_le_bytes())?;
        put(writer, &self.0)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let len = u64::from_le_bytes(take(reader)?);
        take_bytes(reader, len).map(|bytes| Self(bytes.into()))
    }

    fn estimated_size(&self) -> usize {
        self.0.len() + 8
    }
}

/// foyer's engine. Everything is a miss that cannot be read or is not what was written:
/// each entry carries its name and a checksum over both.
pub(super) struct Engine {
    store: Store<Name, Value, std::hash::RandomState, CacheProperties>,
    /// Makes entries of names and values; it keeps none.
    entries: Cache<Name, Value, std::hash::RandomState>,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What a disk may do to what is written.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// It does not say what it holds: foyer promises that only of what is written.
    pub(super) hides: std::sync::atomic::AtomicBool,
    /// Nothing gets there.
    pub(super) loses: std::sync::atomic::AtomicBool,
    /// The engine panics, as foyer does once some writes have failed.
    pub(super) panics: std::sync::atomic::AtomicBool,
    /// While this is held nothing is known to have got there.
    pub(super) holds: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Bytes of each file.
pub(super) fn block_bytes(capacity: u64) -> u64 {
    let bytes = (capacity / BLOCKS).clamp(*BLOCK_BYTES.start(), *BLOCK_BYTES.end());
    bytes - bytes % PAGE as u64
}

/// Threads for the disk alone.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(THREADS)
        .thread_name("disk-cache")
        .enable_time()
        .build()
}

impl Engine {
    /// An empty one. The folder is made ready by whoever calls.
    pub(super) async fn open(folder: &Path, capacity: u64, spawner: Spawner) -> Result<Self> {
        let size = |bytes: u64| {
            usize::try_from(bytes).map_err(|_| Error::new(ErrorKind::Config, "too large"))
        };
        let block = block_bytes(capacity);
        let device = FsDeviceBuilder::new(folder)
            .with_capacity(size(capacity - capacity % block)?)
            .build()?;
        let entries = CacheBuilder::new(1)
            .with_shards(1)
            .with_hash_builder(std::hash::RandomState::new())
            .build();
        let engine = BlockEngineConfig::new(device)
            .with_block_size(size(block)?)
            .with_buffer_pool_size(BATCH_BYTES)
            // More is never under way: what is written waits before, where it is counted.
            .with_submit_queue_size_threshold(4 * BATCH_BYTES);
        let store = StoreBuilder::new("responses", entries.clone(), Arc::new(Metrics::noop()))
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::None)
            .with_spawner(spawner)
            .build()
            .await?;
        Ok(Self {
            store,
            entries,
            #[cfg(test)]
            faults: Faults::default(),
        })
    }

    /// Whether something of this name may be there. Looks into memory alone.
    pub(super) fn may_hold(&self, name: &(impl Hash + quick_cache::Equivalent<Name>)) -> bool {
        #[cfg(test)]
        if self.faults.hides.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        self.store.may_contains(name)
    }

    /// Begins to write.
    pub(super) fn write(&self, name: &Name, value: Value) {
        #[cfg(test)]
        if self.faults.loses.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let entry = self.entries.insert(name.clone(), value);
        self.store.enqueue(entry.piece(), true);
        self.entries.remove(name);
    }

    /// Waits until what was begun is written, or has failed.
    pub(super) async fn written(&self) {
        #[cfg(test)]
        {
            drop(self.faults.holds.lock().await);
            let panics = &self.faults.panics;
            assert!(
                !panics.load(std::sync::atomic::Ordering::Relaxed),
                "broken on purpose"
            );
        }
        self.store.wait().await;
    }

    /// What was written under this name, if it can be read and is whole.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        Ok(match self.store.load(name).await? {
            Load::Entry { value, .. } => Some(value.0),
            // It is being written. Whoever wants it looks among what waits to be written.
            Load::Piece { .. } | Load::Throttled | Load::Miss => None,
        })
    }

    /// Nothing of this name is found any more.
    pub(super) fn forget(&self, name: &Name) {
        self.store.delete(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<T: Code>(value: &T) -> T {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).unwrap();
        T::decode(&mut &bytes[..]).unwrap()
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(
            host in "[a-z.]{1,8}", path in "/[a-z?&=]{0,12}", extra in prop::option::of("[a-z]{0,4}"),
            secure: bool,
        ) {
            let url = PathAndQuery::parse(&path).unwrap();
            let key = Key { site: 7, host: host.into(), port: 81, secure, url, extra: extra.map(Into::into) };
            let name = Name::Responses(key);
            prop_assert_eq!(round_trip(&name), name);
        }

        #[test]
        fn nothing_that_is_read_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Name::decode(&mut &bytes[..]);
            let _ = Value::decode(&mut &bytes[..]);
        }
    }

    #[test]
    fn values_are_read_as_they_were_written_and_a_piece_too() {
        let value = Value(Bytes::from_static(b"some bytes"));
        assert_eq!(round_trip(&value), value);
        let name = Name::Piece {
            body: 1 << 40,
            index: 3,
        };
        assert_eq!(round_trip(&name), name);
    }

    #[test]
    fn files_are_some_tens_and_whole_pages() {
        for mib in [64, 1_000, 100_000, 4_000_000] {
            let capacity: u64 = mib << 20;
            let block = block_bytes(capacity);
            assert!(
                block.is_multiple_of(4_096) && capacity / block >= 16,
                "{mib}"
            );
            assert!(capacity / block <= 64 || block == 1 << 30, "{mib}");
        }
    }
}
