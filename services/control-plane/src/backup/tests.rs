//! What is taken comes back, and what is not whole is refused before anything is
//! written.

use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tidegate_clock::SystemClock;
use tidegate_domain::{Digest, Mode, Revision, SiteFilter};

use super::*;
use crate::blobs::{LocalBlobs, collect_garbage};
use crate::command::{Command, EntryBody};
use crate::log::{EmbeddedLog, Facts as _, Log as _, OpenOptions};
use crate::state::testing::{applied, content, entry, invalidate, proposal, push, put_site, site};
use crate::state::{SledOptions, SledStore, StoreOpenError, View as _};

const MAX: u64 = 1 << 20;

/// A control plane's storage.
struct Rig {
    log: Arc<EmbeddedLog>,
    blobs: Arc<LocalBlobs>,
    backups: Backups,
    folder: tempfile::TempDir,
}

impl Rig {
    fn open() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: tempfile::TempDir) -> Self {
        let clock = Arc::new(SystemClock);
        let log = EmbeddedLog::open(OpenOptions::new(folder.path(), clock.clone())).unwrap();
        let blobs = LocalBlobs::open(folder.path().join("blobs"), MAX, clock.clone()).unwrap();
        let blobs = Arc::new(blobs);
        let (alive, _) = Alive::new();
        let backups = Backups::new(log.clone(), blobs.clone(), clock, alive);
        Self {
            log,
            blobs,
            backups,
            folder,
        }
    }

    /// With a site, a pushed entry whose body is a blob, and some invalidations.
    async fn filled() -> (Self, Digest) {
        let rig = Self::open();
        rig.propose(put_site("dev", &["*"])).await;
        let body = rig.blobs.put_bytes(b"a body").unwrap();
        let mut pushed = entry("/p", &[], &[]);
        pushed.body = EntryBody::Blob {
            digest: body,
            size: 6,
        };
        let read_as_of = rig.log.cursor_at(rig.log.head(), SiteFilter::ALL).unwrap();
        rig.propose(push("dev", pushed, read_as_of)).await;
        for n in 0..50 {
            rig.propose(hit(&format!("t{n}"))).await;
        }
        (rig, body)
    }

    async fn propose(&self, command: Command) -> u64 {
        let proposal = proposal(command, SystemTime::now());
        applied(&self.log.propose(proposal).await.unwrap())
    }

    async fn backup(&self) -> (Contents, Vec<u8>) {
        let backup = self.backups.begin().await.unwrap();
        let mut bytes = Vec::new();
        (backup.write(&mut bytes).unwrap(), bytes)
    }

    /// Ends, so that its folder can be looked at.
    async fn stop(self) -> tempfile::TempDir {
        self.log.stop().await;
        self.folder
    }
}

fn hit(tag: &str) -> Command {
    invalidate("dev", &[tag], Mode::Hard)
}

fn put_back(bytes: &[u8], data: &Path) -> Result<Restoration, RestoreError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.backup");
    std::fs::write(&file, bytes).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    restore(&file, data, &clock, Duration::ZERO)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().count() == 0
}

#[tokio::test]
async fn what_was_taken_while_more_was_written_comes_back_as_of_its_revision() {
    let (rig, body) = Rig::filled().await;
    let backup = rig.backups.begin().await.unwrap();
    let revision = rig.log.head();
    let late = rig.propose(hit("late")).await;
    assert_eq!(Revision(late), revision.next());
    let mut bytes = Vec::new();
    let contents = backup.write(&mut bytes).unwrap();
    assert_eq!(contents.revision, revision);
    assert_eq!(contents.epoch, rig.log.epoch());
    assert_eq!((contents.blobs, contents.bytes), (1, bytes.len() as u64));
    assert_eq!(check(&mut &bytes[..]).unwrap(), contents);
    let before = rig.log.read(Revision::ZERO, revision, 1_000).unwrap();

    let data = tempfile::tempdir().unwrap();
    let restored = put_back(&bytes, data.path()).unwrap();
    assert_eq!(restored.contents, contents);
    assert_ne!(restored.epoch, rig.log.epoch());
    let again = Rig::on(data);
    assert_eq!(again.log.epoch(), restored.epoch);
    let after = again.log.read(Revision::ZERO, revision, 1_000).unwrap();
    let events = |entries: &[crate::command::LogEntry]| -> Vec<_> {
        entries.iter().map(|entry| entry.event.clone()).collect()
    };
    assert_eq!(events(&after), events(&before));
    let more = again.log.read(revision, again.log.head(), 1_000).unwrap();
    assert!(more.iter().all(|entry| entry.site.is_empty()), "{more:?}");
    assert!(again.log.reader().site(&site("dev")).is_some());
    assert_eq!(
        &again.blobs.read(&body, MAX).unwrap().unwrap()[..],
        b"a body"
    );
    assert!(again.log.unknown_leases().unwrap().is_some());
    // It is a control plane like any other.
    again.propose(hit("after")).await;
    let (contents, _) = again.backup().await;
    assert_eq!(contents.epoch, restored.epoch);
}

#[tokio::test]
async fn one_that_was_cut_short_anywhere_is_refused_and_nothing_is_written() {
    let (rig, _) = Rig::filled().await;
    let (_, bytes) = rig.backup().await;
    for length in (0..bytes.len())
        .step_by(97)
        .chain(bytes.len() - 40..bytes.len())
    {
        let error = check(&mut &bytes[..length]).unwrap_err();
        let expected = match length {
            0 => matches!(error, BackupError::NoBackup),
            _ => matches!(error, BackupError::CutShort(_)),
        };
        assert!(expected, "{length}: {error}");
    }
    let data = tempfile::tempdir().unwrap();
    let error = put_back(&bytes[..bytes.len() - 1], data.path()).unwrap_err();
    let text = error.to_string();
    for part in ["a.backup", "cut short", "take it again"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(is_empty(data.path()));
}

#[tokio::test]
async fn one_wrong_byte_anywhere_is_noticed() {
    let (rig, _) = Rig::filled().await;
    let (_, bytes) = rig.backup().await;
    let last = bytes.len() - 1;
    for at in (0..bytes.len()).step_by(89).chain([11, 16, 17, last]) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        check(&mut &wrong[..]).expect_err(&format!("byte {at}"));
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(
        check(&mut &longer[..]),
        Err(BackupError::Damaged(_))
    ));
}

proptest! {
    #[test]
    fn no_bytes_from_outside_are_taken_for_a_backup(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"tidegatebak\n\0\0\0\x01".to_vec();
        prop_assert!(check(&mut &rest[..]).is_err());
        bytes.extend(rest);
        prop_assert!(check(&mut &bytes[..]).is_err());
    }
}

#[tokio::test]
async fn what_a_newer_program_wrote_or_is_something_else_is_refused_by_name() {
    let (rig, _) = Rig::filled().await;
    let (_, bytes) = rig.backup().await;
    let mut later = bytes;
    later[15] = 2;
    let data = tempfile::tempdir().unwrap();
    for (bytes, parts) in [
        (&later[..], ["format 2", "up to 1"]),
        (
            b"PK\x03\x04 something else",
            ["no backup", "control-plane backup"],
        ),
    ] {
        let text = put_back(bytes, data.path()).unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    assert!(is_empty(data.path()));
}

#[tokio::test]
async fn only_an_empty_folder_that_nobody_uses_is_filled() {
    let (rig, _) = Rig::filled().await;
    let (_, bytes) = rig.backup().await;
    let error = put_back(&bytes, rig.folder.path()).unwrap_err().to_string();
    let name = rig.folder.path().to_string_lossy().into_owned();
    assert!(error.contains(&name) && error.contains("in use"), "{error}");
    let head = rig.log.head();
    let folder = rig.stop().await;
    let error = put_back(&bytes, folder.path()).unwrap_err().to_string();
    assert!(
        error.contains(&name) && error.contains("not empty"),
        "{error}"
    );
    assert_eq!(Rig::on(folder).log.head(), head.next(), "it is as it was");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("mine.txt"), "x").unwrap();
    put_back(&bytes, other.path()).unwrap_err();
    let names: Vec<_> = std::fs::read_dir(other.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // A volume may hold what its file system puts there, and a folder may be made.
    std::fs::create_dir(folder_in(&other, "volume")).unwrap();
    std::fs::create_dir(folder_in(&other, "volume/lost+found")).unwrap();
    for name in ["volume", "new/deep"] {
        put_back(&bytes, &folder_in(&other, name)).unwrap();
    }
}

fn folder_in(folder: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    folder.path().join(name)
}

#[tokio::test]
async fn a_half_filled_folder_is_used_by_nobody_until_it_is_filled_again() {
    let (rig, _) = Rig::filled().await;
    let (contents, bytes) = rig.backup().await;
    let data = tempfile::tempdir().unwrap();
    put_back(&bytes, data.path()).unwrap();
    // As a crash would have left it.
    std::fs::write(data.path().join("UNFINISHED-RESTORE"), "").unwrap();
    std::fs::write(data.path().join("blobs/rest"), "x").unwrap();
    let options = SledOptions::new(data.path());
    let error = SledStore::open(&options).err().unwrap();
    assert!(matches!(error, StoreOpenError::Unfinished { .. }));
    assert!(error.to_string().contains("restore --data"), "{error}");
    let restored = put_back(&bytes, data.path()).unwrap();
    assert_eq!(restored.contents, contents);
    assert!(!data.path().join("blobs/rest").exists());
    let store = SledStore::open(&options).unwrap();
    assert!(!content(&store).is_empty());
    assert!(store.get(b"meta/unknown-leases").unwrap().is_some());
}

#[tokio::test]
async fn there_is_one_at_a_time_and_no_blob_goes_meanwhile() {
    let (rig, body) = Rig::filled().await;
    let backup = rig.backups.begin().await.unwrap();
    let second = rig.backups.begin().await;
    assert!(matches!(second.err(), Some(BeginError::UnderWay)));
    assert!(rig.backups.try_collect().is_none());
    // The entry goes, and with it what names its body.
    rig.propose(hit("*")).await;
    rig.log.compact_to(rig.log.head()).await.unwrap();
    let mut bytes = Vec::new();
    assert_eq!(backup.write(&mut bytes).unwrap().blobs, 1);
    let turn = rig.backups.try_collect();
    assert!(turn.is_some());
    drop(turn);
    let gone = async {
        while rig.log.reader().entry_blobs().unwrap().contains(&body) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .unwrap();
    let reader = rig.log.reader();
    let collected = collect_garbage(&reader, &*rig.blobs, Duration::ZERO).unwrap();
    assert_eq!(collected.removed, 1);
    rig.backup().await;
}

#[tokio::test]
async fn a_blob_that_is_missing_ends_it_and_the_next_one_can_begin() {
    let (rig, body) = Rig::filled().await;
    let hex = body.to_hex();
    let path = rig.folder.path().join("blobs").join(&hex[..2]).join(&hex);
    std::fs::remove_file(path).unwrap();
    let backup = rig.backups.begin().await.unwrap();
    let mut bytes = Vec::new();
    let error = backup.write(&mut bytes).unwrap_err();
    assert!(error.to_string().contains(&body.to_string()), "{error}");
    assert!(matches!(
        check(&mut &bytes[..]),
        Err(BackupError::CutShort(_))
    ));
    rig.blobs.put_bytes(b"a body").unwrap();
    rig.backup().await;
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_name_says_ends_it() {
    let (rig, body) = Rig::filled().await;
    let hex = body.to_hex();
    let path = rig.folder.path().join("blobs").join(&hex[..2]).join(&hex);
    std::fs::write(path, b"a bodY").unwrap();
    let backup = rig.backups.begin().await.unwrap();
    let error = backup.write(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, TakeError::Damaged { digest, .. } if digest == body));
}

#[test]
fn a_folder_that_does_not_say_whether_it_is_filled_is_not_used() {
    let data = tempfile::tempdir().unwrap();
    let note = data.path().join("UNFINISHED-RESTORE");
    // It leads to itself, so nobody can tell what is there.
    std::os::unix::fs::symlink(&note, &note).unwrap();
    let error = SledStore::open(&SledOptions::new(data.path())).err();
    assert!(matches!(error, Some(StoreOpenError::Io { .. })));
}
