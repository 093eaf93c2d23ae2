//! Says a thing once: what goes wrong with every try is worth one line, not one a try.

/// What was complained of last.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<String>);

impl Complaint {
    /// Whether this is not what was complained of last.
    pub(super) fn is_new(&mut self, what: &impl ToString) -> bool {
        let what = what.to_string();
        let is_new = self.0.as_ref() != Some(&what);
        self.0 = Some(what);
        is_new
    }

    /// All is well again.
    pub(super) fn settle(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_again_only_after_something_else() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_new(&"a"));
        assert!(!complaint.is_new(&"a"));
        assert!(complaint.is_new(&"b"));
        complaint.settle();
        assert!(complaint.is_new(&"b"));
    }
}
