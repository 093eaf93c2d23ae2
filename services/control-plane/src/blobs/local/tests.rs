//! What blobs in a folder promise.

use super::*;
use tidegate_clock::ManualClock;

const MAX: u64 = 1_000;

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    blobs: LocalBlobs,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let blobs = LocalBlobs::open(folder.path().join("blobs"), MAX, clock.clone()).unwrap();
    Fixture {
        folder,
        clock,
        blobs,
    }
}

impl Fixture {
    /// Every file there is.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(self.folder.path(), &mut files);
        files
    }
}

#[test]
fn a_blob_written_in_pieces_is_read_back() {
    let f = fixture();
    let digest = Digest::of(b"hello");
    assert_eq!(f.blobs.missing(&[digest]).unwrap(), [digest]);
    let mut writer = f.blobs.begin(digest, 5).unwrap();
    writer.write(b"he").unwrap();
    writer.write(b"llo").unwrap();
    assert!(
        f.blobs.open(&digest).unwrap().is_none(),
        "not before the end"
    );
    writer.finish().unwrap();
    assert!(f.blobs.missing(&[digest]).unwrap().is_empty());
    assert_eq!(f.blobs.read(&digest, MAX).unwrap().unwrap(), "hello");
    assert_eq!(f.blobs.put_bytes(b"hello").unwrap(), digest);
    assert!(matches!(
        f.blobs.read(&digest, 4),
        Err(BlobError::TooLarge { .. })
    ));
    assert_eq!(f.files().len(), 1);
}

#[test]
fn a_wrong_digest_leaves_no_file() {
    let f = fixture();
    let mut writer = f.blobs.begin(Digest::of(b"other"), 5).unwrap();
    writer.write(b"hello").unwrap();
    assert!(matches!(
        writer.finish(),
        Err(BlobError::WrongDigest { .. })
    ));
    assert!(f.files().is_empty());
}

#[test]
fn a_blob_cut_short_or_dropped_leaves_no_file() {
    let f = fixture();
    let digest = Digest::of(b"hello");
    let mut writer = f.blobs.begin(digest, 5).unwrap();
    writer.write(b"hell").unwrap();
    assert!(matches!(writer.finish(), Err(BlobError::WrongSize { .. })));
    let mut writer = f.blobs.begin(digest, 5).unwrap();
    writer.write(b"hell").unwrap();
    drop(writer);
    assert!(f.files().is_empty());
}

#[test]
fn too_many_bytes_are_refused_before_they_are_written() {
    let f = fixture();
    let digest = Digest::of(b"hello");
    let Err(BlobError::TooLarge { max, .. }) = f.blobs.begin(digest, MAX + 1).map(drop) else {
        panic!("must be too large");
    };
    assert_eq!(max, MAX);
    let mut writer = f.blobs.begin(digest, 5).unwrap();
    assert!(matches!(
        writer.write(b"hello!"),
        Err(BlobError::WrongSize { found: 6, .. })
    ));
    drop(writer);
    assert!(f.files().is_empty());
}

#[test]
fn what_a_crash_left_unfinished_is_removed_at_the_start() {
    let f = fixture();
    let digest = f.blobs.put_bytes(b"kept").unwrap();
    let unfinished = f.folder.path().join("blobs").join(UNFINISHED);
    fs::write(unfinished.join("left"), b"over").unwrap();
    let again = LocalBlobs::open(f.folder.path().join("blobs"), MAX, f.clock.clone()).unwrap();
    assert_eq!(f.files().len(), 1);
    assert!(again.missing(&[digest]).unwrap().is_empty());
}

/// Blobs in a folder whose syncs `sync` sees.
fn with_sync(
    folder: &Path,
    sync: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static,
) -> LocalBlobs {
    let clock = Arc::new(ManualClock::default());
    LocalBlobs::open_with(folder.join("blobs"), MAX, clock, Box::new(sync)).unwrap()
}

#[test]
fn a_blob_is_not_held_before_its_name_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Arc::new(std::sync::OnceLock::<LocalBlobs>::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (late, saw) = (blobs.clone(), seen.clone());
    let digest = Digest::of(b"hello");
    let opened = with_sync(folder.path(), move |_| {
        if let Some(blobs) = late.get() {
            let missing = blobs.missing(&[digest]).unwrap().len();
            saw.lock()
                .push((missing, blobs.open(&digest).unwrap().is_some()));
        }
        Ok(())
    });
    let blobs = blobs.get_or_init(|| opened);
    blobs.put_bytes(b"hello").unwrap();
    assert_eq!(*seen.lock(), [(1, false)]);
    assert!(blobs.missing(&[digest]).unwrap().is_empty());
    assert!(blobs.open(&digest).unwrap().is_some());
}

#[test]
fn a_blob_whose_name_may_be_lost_is_wanted_again() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_broken = broken.clone();
    let blobs = with_sync(folder.path(), move |_| {
        match is_broken.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    });
    broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let digest = Digest::of(b"hello");
    assert!(blobs.put_bytes(b"hello").is_err());
    assert_eq!(blobs.missing(&[digest]).unwrap(), [digest]);
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    blobs.put_bytes(b"hello").unwrap();
    assert!(blobs.missing(&[digest]).unwrap().is_empty());
}

#[test]
fn every_folder_of_blobs_is_there_and_durable_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let synced = Arc::new(Mutex::new(Vec::new()));
    let note = synced.clone();
    let blobs = with_sync(folder.path(), move |path| {
        let folders = fs::read_dir(path).unwrap().count();
        note.lock().push((path.to_owned(), folders));
        Ok(())
    });
    let root = folder.path().join("blobs");
    assert_eq!(synced.lock()[0], (root.clone(), 257));
    synced.lock().clear();
    let digest = blobs.put_bytes(b"hello").unwrap();
    let own = root.join(&digest.to_hex()[..2]);
    assert_eq!(
        *synced.lock(),
        [(own, 1)],
        "and no blob waits for another's"
    );
}

#[test]
fn a_collection_spares_what_is_referenced_new_or_touched() {
    let f = fixture();
    let (used, touched, old) = (
        f.blobs.put_bytes(b"used").unwrap(),
        f.blobs.put_bytes(b"touched").unwrap(),
        f.blobs.put_bytes(b"old").unwrap(),
    );
    f.clock.advance(Duration::from_secs(100));
    let new = f.blobs.put_bytes(b"new").unwrap();
    assert!(f.blobs.missing(&[touched]).unwrap().is_empty());
    let referenced = HashSet::from([used]);
    let collected = f
        .blobs
        .collect(&referenced, Duration::from_secs(50))
        .unwrap();
    assert_eq!(
        collected,
        Collected {
            removed: 1,
            bytes: 3,
            kept: 3
        }
    );
    assert_eq!(f.blobs.missing(&[used, touched, old, new]).unwrap(), [old]);
}
