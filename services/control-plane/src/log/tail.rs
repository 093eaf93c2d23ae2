//! The newest entries of the log, in memory.

use std::collections::VecDeque;

use tidegate_domain::Revision;

use crate::command::LogEntry;

/// The newest entries, contiguous, bounded by number and bytes.
pub(crate) struct Tail {
    entries: VecDeque<LogEntry>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Tail {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_records,
            max_bytes,
        }
    }

    pub(crate) fn push(&mut self, entry: LogEntry) {
        self.bytes += entry.event.len();
        self.entries.push_back(entry);
        while self.entries.len() > self.max_records || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.event.len();
        }
    }

    /// Entries after `after` up to `up_to`, at most `limit`; `None` if the first of
    /// them is not held.
    pub(crate) fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Option<Vec<LogEntry>> {
        let first = self.entries.front()?.revision;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        let wanted = self.entries.iter().skip(skip).take(limit);
        Some(
            wanted
                .take_while(|entry| entry.revision <= up_to)
                .cloned()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(entries: Option<Vec<LogEntry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(|e| e.revision.0).collect())
    }

    #[test]
    fn holds_the_newest_within_its_bounds() {
        let mut tail = Tail::new(4, 100);
        for revision in 1..=6 {
            tail.push(LogEntry {
                revision: Revision(revision),
                site: String::new(),
                event: vec![0; if revision == 6 { 90 } else { 5 }].into(),
            });
        }
        let read =
            |after, up_to, limit| revisions(tail.read(Revision(after), Revision(up_to), limit));
        assert_eq!(tail.bytes, 100);
        assert_eq!(read(3, 9, 9), Some(vec![4, 5, 6]));
        assert_eq!(read(2, 9, 9), None, "3 is not held: bytes bound it");
        assert_eq!(read(4, 5, 9), Some(vec![5]));
        assert_eq!(read(3, 9, 1), Some(vec![4]));
        assert_eq!(read(6, 9, 9), Some(vec![]));
    }
}
