//! What is read from files: manifests, states of pages, backups, records.

use bytes::Bytes;
use prost::Message as _;
use tidegate_proto::storage::v1 as storage;
use tidegate_site::{Manifest, SinceTable, escape_state};

/// A manifest that is taken is the same when it is written.
pub(super) fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let written = manifest.to_json();
        let again = Manifest::parse(&written).expect("what was taken once is taken again");
        assert_eq!(again.to_json(), written);
    }
    if let Ok(table) = SinceTable::parse(data) {
        let written = table.to_json();
        let again = SinceTable::parse(&written).expect("what was taken once is taken again");
        assert_eq!(again.to_json(), written);
    }
}

/// A state within a page is the same value, and nothing of it is markup.
pub(super) fn page_state(data: &[u8]) {
    let Ok(escaped) = escape_state(data) else {
        return;
    };
    let text = std::str::from_utf8(&escaped).expect("UTF-8 stays UTF-8");
    assert!(
        !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']),
        "{text}"
    );
    let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).ok();
    assert_eq!(value(&escaped), value(data));
}

/// A backup that is damaged is refused and reserves no more than it has.
pub(super) fn backup(data: &[u8]) {
    let _ = tidegate_control_plane::backup::check(&mut &data[..]);
}

/// Records of the store: what can be read is written again as it is understood.
pub(super) fn records(data: &[u8]) {
    fn again<M: prost::Message + Default + PartialEq>(data: &[u8]) {
        if let Ok(record) = M::decode(data) {
            let read = M::decode(&record.encode_to_vec()[..]);
            assert!(read.is_ok_and(|read| read == record));
        }
    }
    again::<storage::LogRecord>(data);
    again::<storage::EntryRecord>(data);
    again::<storage::ScheduleRecord>(data);
    again::<storage::AuditRecord>(data);
    again::<storage::TermRecord>(data);
    again::<storage::LeaseRecord>(data);
    if let Ok(record) = storage::LogRecord::decode(data) {
        again::<tidegate_proto::v1::Event>(&record.event);
    }
}

/// What a disk holds of responses: read whole or not at all.
pub(super) fn disk(data: &[u8]) {
    let responses = tidegate_edge::fuzzing::disk_record(Bytes::copy_from_slice(data));
    assert!(responses.is_none_or(|responses| responses <= data.len()));
}
