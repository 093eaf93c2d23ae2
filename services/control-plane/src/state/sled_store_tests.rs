use super::*;
use crate::state::testing::copy_all;

fn open(folder: &Path) -> SledStore {
    SledStore::open(&SledOptions::new(folder)).unwrap()
}

fn put(store: &SledStore, key: &str, value: impl Into<Bytes>) {
    let writes = [(key.as_bytes().to_vec(), Some(value.into()))];
    store.commit(&WriteSet(writes.into())).unwrap();
}

fn remove(store: &SledStore, key: &str) {
    let writes = [(key.as_bytes().to_vec(), None)];
    store.commit(&WriteSet(writes.into())).unwrap();
}

#[test]
fn large_values_come_back_whole_and_leave_no_piece_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "a", vec![1; 3]);
    put(&store, "b", vec![2; 100_000]);
    put(&store, "c", vec![3; 4_097]);
    let large = store.get(b"b").unwrap().unwrap();
    assert_eq!(large, vec![2; 100_000]);
    assert_eq!(store.tree.len(), 3 + 25 + 2);

    let range = KeyRange::prefix("");
    let keys = |d| -> Vec<_> {
        let pairs = store.scan(&range, 9, d).unwrap();
        pairs.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(Direction::Forward), ["a", "b", "c"]);
    assert_eq!(keys(Direction::Backward), ["c", "b", "a"]);

    put(&store, "b", vec![4; 5_000]);
    assert_eq!(store.get(b"b").unwrap().unwrap(), vec![4; 5_000]);
    assert_eq!(store.tree.len(), 3 + 2 + 2, "overwritten by a shorter one");
    put(&store, "b", vec![5]);
    remove(&store, "c");
    remove(&store, "a");
    remove(&store, "never there");
    assert_eq!(store.tree.len(), 1, "only the small value is left");
}

#[test]
fn overwriting_large_values_leaves_no_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 0..40 {
        for key in ["a", "b", "c"] {
            put(&store, key, vec![round; 200_000]);
        }
    }
    let leaked = std::fs::read_dir(folder.path().join("store/blobs")).unwrap();
    assert_eq!(leaked.count(), 0);
}

#[test]
fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = SledStore::open(&SledOptions::new(folder.path()))
        .err()
        .unwrap();
    assert!(matches!(error, StoreOpenError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains(&*folder.path().to_string_lossy()), "{text}");
    drop(store);
    open(folder.path());
}

#[test]
fn a_damaged_store_says_how_to_restore() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let conf = folder.path().join("store/conf");
    std::fs::write(
        &conf,
        b"segment_size: 99\nuse_compression: false\nversion: 0.1\n####",
    )
    .unwrap();
    let text = SledStore::open(&SledOptions::new(folder.path()))
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("tidegate control-plane restore --data"),
        "{text}"
    );
    assert!(text.contains(&*folder.path().to_string_lossy()), "{text}");
}

#[test]
fn a_snapshot_cut_short_does_not_keep_the_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "a", "1");
    drop(store);
    let unfinished = folder.path().join("store/snap.00000000FFFFFFFF.generating");
    for bytes in [&b""[..], b"more than twelve bytes of a snapshot"] {
        std::fs::write(&unfinished, bytes).unwrap();
        let store = open(folder.path());
        assert_eq!(store.get(b"a").unwrap().unwrap(), "1");
        assert!(!unfinished.exists());
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let conf = folder.path().join("store/conf");
    std::fs::remove_file(&conf).unwrap();
    std::fs::create_dir(&conf).unwrap();
    let error = SledStore::open(&SledOptions::new(folder.path()))
        .err()
        .unwrap();
    assert!(matches!(error, StoreOpenError::Io { .. }), "{error}");
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = told.clone();
    let options = SledOptions {
        fatal: Arc::new(move |reason| teller.lock().push(reason.to_owned())),
        ..SledOptions::new(folder.path())
    };
    let sync = Box::new(|_: &File| Err(io::Error::other("the disk is gone")));
    let store = SledStore::open_with(&options, sync).unwrap();
    let writes = WriteSet([(b"a".to_vec(), Some(Bytes::from_static(b"1")))].into());
    assert!(store.commit(&writes).is_err());
    assert!(store.commit(&writes).is_err());
    let told = told.lock();
    assert_eq!(told.len(), 1, "told once");
    assert!(told[0].contains("the disk is gone"), "{}", told[0]);
}

#[test]
fn what_was_committed_is_in_a_copy_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "a", vec![7; 10_000]);
    // No drop, so nothing but the commit itself can have written.
    copy_all(folder.path(), copy.path());
    let copied = open(copy.path());
    assert_eq!(copied.get(b"a").unwrap().unwrap(), vec![7; 10_000]);
    drop(store);
}
