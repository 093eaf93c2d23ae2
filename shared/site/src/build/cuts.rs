//! Where a page is cut: by markers in its HTML, by offsets in `site.json`, or both.

use std::collections::BTreeSet;

use super::Warning;
use crate::authoring::{Entry, Range};
use crate::html::{self, Marker, MarkerKind};
use crate::limits::MAX_PARTS;
use crate::problem::Problem;
use crate::resource::Part;

/// Finds the parts of a page, and checks that every cut may be one.
pub(super) fn parts(
    url: &str,
    file: &str,
    html: &[u8],
    entry: Option<&Entry>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Part>, Problem> {
    let problem = |offset: u64, reason: String| Problem::new(url, file, reason).at(offset);
    let mut cuts = Cuts::default();
    for marker in html::markers(html).map_err(|error| problem(error.offset, error.reason))? {
        if let Some(text) = cuts
            .add_marker(&marker)
            .map_err(|r| problem(marker.start, r))?
        {
            let mut warning = Warning::new(file, text);
            warning.offset = Some(marker.start);
            warnings.push(warning);
        }
    }
    if let Some(entry) = entry {
        cuts.add_entry(entry, html.len() as u64)
            .map_err(|(offset, reason)| problem(offset, reason))?;
    }
    let parts = cuts
        .into_parts(html.len() as u64)
        .map_err(|(offset, reason)| problem(offset, reason))?;
    html::check_cuts(html, &parts).map_err(|error| problem(error.offset, error.reason))?;
    Ok(parts)
}

#[derive(Debug, Default)]
struct Cuts {
    /// Offsets at which a slice ends and the next begins.
    flush: BTreeSet<u64>,
    hole: Option<Range>,
}

impl Cuts {
    /// Takes a marker in; returns a warning about one that does nothing.
    fn add_marker(&mut self, marker: &Marker) -> Result<Option<String>, String> {
        match &marker.kind {
            MarkerKind::Flush => {
                self.flush.insert(marker.end);
            }
            MarkerKind::State => self.set_hole(Range {
                start: marker.start,
                end: marker.end,
            })?,
            MarkerKind::Slot => {
                return Ok(Some(
                    "slots are not filled by this version; the fallback is served as it is".into(),
                ));
            }
            MarkerKind::Unknown(text) => {
                return Ok(Some(format!(
                    "the marker <!--{text}--> is not known and does nothing; known: \
                     <!--@flush:NAME--> and <!--@state-->"
                )));
            }
            MarkerKind::Ineffective(place) => {
                return Ok(Some(format!("a marker inside {place} does nothing")));
            }
        }
        Ok(None)
    }

    fn add_entry(&mut self, entry: &Entry, size: u64) -> Result<(), (u64, String)> {
        for &at in &entry.flush {
            if at > size {
                let reason = format!("site.json: flush {at} is behind the file's {size} bytes");
                return Err((at, reason));
            }
            self.flush.insert(at);
        }
        let Some(hole) = entry.state else {
            return Ok(());
        };
        if hole.start > hole.end || hole.end > size {
            let reason = format!(
                "site.json: the state hole {}..{} is not inside the file's {size} bytes",
                hole.start, hole.end
            );
            return Err((hole.start, reason));
        }
        self.set_hole(hole).map_err(|reason| (hole.start, reason))
    }

    fn set_hole(&mut self, hole: Range) -> Result<(), String> {
        match self.hole.replace(hole) {
            None => Ok(()),
            Some(first) => Err(format!(
                "a second state hole; the first is at offset {}; allowed: one a page",
                first.start
            )),
        }
    }

    fn into_parts(self, size: u64) -> Result<Vec<Part>, (u64, String)> {
        let mut parts = Vec::new();
        let mut begin = 0;
        let slice_to = |begin: u64, end: u64, parts: &mut Vec<Part>| {
            if begin < end {
                parts.push(Part::Slice { start: begin, end });
            }
        };
        let mut hole = self.hole;
        for at in self.flush {
            if let Some(range) = hole.take_if(|hole| hole.start <= at) {
                slice_to(begin, range.start, &mut parts);
                parts.push(Part::State);
                begin = range.end;
            }
            if at < begin && self.hole.is_some_and(|hole| hole.start < at) {
                return Err((at, "a flush inside the state hole".to_owned()));
            }
            if at > begin && at < size {
                slice_to(begin, at, &mut parts);
                begin = at;
            }
        }
        if let Some(range) = hole {
            slice_to(begin, range.start, &mut parts);
            parts.push(Part::State);
            begin = range.end;
        }
        slice_to(begin, size, &mut parts);
        if parts.len() > MAX_PARTS {
            let reason = format!("{} parts; allowed: at most {MAX_PARTS}", parts.len());
            return Err((0, reason));
        }
        // A page in one piece has no parts.
        if let [Part::Slice { .. }] = parts[..] {
            parts.clear();
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(size: u64, flush: &[u64], hole: Option<(u64, u64)>) -> Result<String, (u64, String)> {
        let cuts = Cuts {
            flush: flush.iter().copied().collect(),
            hole: hole.map(|(start, end)| Range { start, end }),
        };
        let parts = cuts.into_parts(size)?;
        let shown = parts.iter().map(|part| match part {
            Part::Slice { start, end } => format!("{start}-{end}"),
            Part::State => "S".to_owned(),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn cuts_become_parts_without_losing_a_byte() {
        for (size, flush, hole, expected) in [
            (9, &[][..], None, ""),
            (9, &[0, 9], None, ""),
            (9, &[3], None, "0-3 3-9"),
            (9, &[3, 6], Some((4, 5)), "0-3 3-4 S 5-6 6-9"),
            (9, &[4, 5], Some((4, 5)), "0-4 S 5-9"),
            (9, &[], Some((0, 9)), "S"),
            (9, &[], Some((0, 0)), "S 0-9"),
            (9, &[], Some((9, 9)), "0-9 S"),
            (9, &[9], Some((9, 9)), "0-9 S"),
            (9, &[], Some((4, 4)), "0-4 S 4-9"),
            (9, &[4], Some((4, 4)), "0-4 S 4-9"),
            (0, &[], Some((0, 0)), "S"),
            (0, &[], None, ""),
        ] {
            assert_eq!(
                cut(size, flush, hole).unwrap(),
                expected,
                "{flush:?} {hole:?}"
            );
        }
    }

    #[test]
    fn a_flush_inside_the_hole_is_refused() {
        assert_eq!(cut(9, &[5], Some((4, 6))).unwrap_err().0, 5);
        assert!(cut(9, &[4], Some((4, 6))).is_ok());
        assert!(cut(9, &[6], Some((4, 6))).is_ok());
    }

    #[test]
    fn too_many_cuts_are_refused() {
        let flush: Vec<u64> = (1..=300).collect();
        assert!(cut(1000, &flush, None).is_err());
    }
}
