//! `control-plane backup|restore`: what is not whole appears under no name.

use bytes::Bytes;

use super::*;

/// Frames of a backup that holds nothing but its header, cut after so many bytes.
fn pieces(bytes: &'static [u8]) -> Vec<Result<v1::BackupResponse, Status>> {
    let pieces = bytes.chunks(5).map(|chunk| {
        Ok(v1::BackupResponse {
            chunk: Bytes::from_static(chunk),
        })
    });
    pieces.collect()
}

const CUT_SHORT: &[u8] = b"tidegatebak\n\0\0\0\x01\0\0";

#[tokio::test]
async fn what_is_received_and_not_whole_appears_under_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.backup");
    std::fs::write(&file, "the one before").unwrap();
    let broken = [
        (pieces(CUT_SHORT), "cut short"),
        (pieces(b"something else"), "no backup"),
        (Vec::new(), "no backup"),
        (
            vec![Err(Status::resource_exhausted("one at a time"))],
            "one at a time",
        ),
        (
            pieces(CUT_SHORT)
                .into_iter()
                .chain([Err(Status::aborted("too much was overwritten"))])
                .collect(),
            "overwritten",
        ),
    ];
    for (pieces, reason) in broken {
        let fake = Fake::default();
        fake.script().backup = pieces;
        let words = ["control-plane", "backup", file.to_str().unwrap()];
        let (ended, written) = tidegate(&fake, &words).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.to_string().contains(reason), "{failure}");
        assert_eq!(written.text(), "");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"the one before");
    }
}

#[tokio::test]
async fn what_goes_to_standard_output_and_is_not_whole_is_a_failure_too() {
    let fake = Fake::default();
    fake.script().backup = pieces(CUT_SHORT);
    let (ended, written) = tidegate(&fake, &["control-plane", "backup", "-"]).await;
    assert!(ended.unwrap_err().to_string().contains("cut short"));
    assert_eq!(written.text().as_bytes(), CUT_SHORT);
}

#[tokio::test]
async fn a_file_that_is_no_backup_is_refused_by_its_name_and_the_folder_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("a.backup"), folder.path().join("data"));
    let (name, data_name) = (file.to_str().unwrap(), data.to_str().unwrap());
    let words = ["control-plane", "restore", "--data", data_name, name];
    for (bytes, reason) in [
        (None, "cannot be read"),
        (Some(b"".as_slice()), "no backup"),
        (Some(CUT_SHORT), "cut short"),
        (
            Some(b"tidegatebak\n\0\0\0\x09 later".as_slice()),
            "format 9",
        ),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(&file, bytes).unwrap();
        }
        let (ended, _) = tidegate(&Fake::default(), &words).await;
        let text = ended.unwrap_err().to_text();
        for part in [name, reason, "Nothing was written"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!data.exists());
    }
}
