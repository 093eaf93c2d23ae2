//! What is refused is told to whoever sent it, and logged where he may be a program
//! that says it again and again and shows nobody the answer: edges, and what sets up
//! schedules. Each is named once for each field.

use tidegate_domain::{FieldError, InstanceId, ScheduleName, SiteName};

use super::fault::Fault;
use crate::complaints::Complaints;

/// What was logged of whom.
#[derive(Debug, Default)]
pub(crate) struct Refused(Complaints<String>);

impl Refused {
    /// A call that an edge, by `(edge_id, instance_id)` as it says, has sent.
    pub(crate) fn of_edge(
        &self,
        call: &'static str,
        (edge, instance): (&str, &str),
        error: FieldError,
    ) -> Fault {
        // Of those without a name that can be one, all are one.
        let known = InstanceId::parse(instance).map(|it| it.to_string());
        let thing = format!("{call} {}", known.unwrap_or_default());
        if self.0.is_news(thing, &error.field) {
            tracing::error!(
                edge = short(edge),
                instance = short(instance),
                call,
                "an edge sends what cannot be read: {error}"
            );
        }
        error.into()
    }

    /// A schedule that was to be put.
    pub(crate) fn of_schedule(&self, site: &SiteName, name: &str, error: FieldError) -> Fault {
        let known = ScheduleName::parse(name).map(|it| it.to_string());
        let thing = format!("PutSchedule {site} {}", known.unwrap_or_default());
        if self.0.is_news(thing, &error.field) {
            tracing::warn!(%site, schedule = short(name), "a schedule is refused: {error}");
        }
        error.into()
    }
}

/// The beginning of a text that may have any length.
fn short(text: &str) -> &str {
    const MAX_CHARS: usize = 64;
    let end = text.char_indices().nth(MAX_CHARS);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_kept::Kept;

    #[test]
    fn each_is_named_once_for_each_field_however_it_calls_itself() {
        let (kept, _guard) = Kept::begin();
        let refused = Refused::default();
        let wrong = |field| FieldError::new(field, "x", "y");
        let endless = "é".repeat(1 << 20);
        for _ in 0..10 {
            for instance in ["one", "two", "", &endless] {
                refused.of_edge("Heartbeat", (&endless, instance), wrong("cursor"));
            }
        }
        assert_eq!(kept.count(&["cannot be read"]), 3);
        assert_eq!(kept.count(&["instance=\"one\"", "Heartbeat", "cursor"]), 1);
        assert_eq!(
            kept.count(&[&"é".repeat(65)]),
            0,
            "what is logged has an end"
        );
        refused.of_edge("Heartbeat", ("e", "one"), wrong("edge_id"));
        refused.of_edge("Subscribe", ("e", "one"), wrong("cursor"));
        assert_eq!(kept.count(&["cannot be read"]), 5);
    }
}
