//! Folders that a log does not open.

use super::*;

#[test]
fn a_folder_in_use_and_a_newer_schema_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().to_string_lossy().into_owned();
    let log = open(folder.path());
    let error = EmbeddedLog::open(options(folder.path())).err().unwrap();
    assert!(matches!(
        &error,
        OpenError::Folder(StoreOpenError::InUse { .. })
    ));
    assert!(error.to_string().contains(&name), "{error}");
    drop(log);

    let store = SledStore::open(&SledOptions::new(folder.path())).unwrap();
    let mut overlay = Overlay::new(&store);
    let meta = storage::StoreMeta {
        schema: 23,
        epoch: 1,
    };
    overlay.put_message(keys::STORE_META.to_vec(), &meta);
    let writes = overlay.into_writes();
    store.commit(&writes).unwrap();
    drop(store);
    let error = EmbeddedLog::open(options(folder.path())).err().unwrap();
    assert!(matches!(
        &error,
        OpenError::NewerSchema {
            found: 23,
            known: 1,
            ..
        }
    ));
    let text = error.to_string();
    assert!(
        text.contains(&name) && text.contains("version 23") && text.contains("up to 1"),
        "{text}"
    );
}
