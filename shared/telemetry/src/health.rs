//! Whether a service can do its work: the conditions it has to meet, and what it says of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The conditions of one service. Clones share them.
///
/// A condition is named once and begins unmet. `/readyz`, the gRPC health service and the shutdown all look at this:
/// [`subscribe`](Self::subscribe) tells of every change.
#[derive(Clone, Debug)]
pub struct Health {
    readiness: Arc<watch::Sender<Readiness>>,
}

/// The conditions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    conditions: BTreeMap<&'static str, Result<(), String>>,
    notes: BTreeMap<&'static str, String>,
    draining: bool,
}

impl Health {
    /// A service that is ready once it has met every one of `conditions`.
    pub fn new(conditions: &[&'static str]) -> Self {
        let starting = || Err("starting".to_owned());
        let readiness = Readiness {
            conditions: conditions.iter().map(|name| (*name, starting())).collect(),
            notes: BTreeMap::new(),
            draining: false,
        };
        Self {
            readiness: Arc::new(watch::Sender::new(readiness)),
        }
    }

    /// Says whether the condition `name` is met, and if not why. Nobody is woken if nothing changed.
    pub fn set_ready(&self, name: &'static str, met: Result<(), String>) {
        self.readiness.send_if_modified(|readiness| {
            let changed = readiness.conditions.get(name) != Some(&met);
            readiness.conditions.insert(name, met);
            changed
        });
    }

    /// Says what is worth knowing although it does not make the service unready; `None` takes it back.
    pub fn note(&self, name: &'static str, note: Option<String>) {
        self.readiness.send_if_modified(|readiness| {
            let changed = readiness.notes.get(name) != note.as_ref();
            match note {
                Some(note) => readiness.notes.insert(name, note),
                None => readiness.notes.remove(name),
            };
            changed
        });
    }

    /// Says that the service is about to end. It never becomes ready again.
    pub fn drain(&self) {
        self.readiness
            .send_if_modified(|readiness| !std::mem::replace(&mut readiness.draining, true));
    }

    /// The conditions now.
    pub fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }

    /// Every change of the conditions; what changes faster than it is read is merged.
    pub fn subscribe(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }
}

impl Readiness {
    /// Whether all conditions are met and the service is not about to end.
    pub fn is_ready(&self) -> bool {
        !self.draining && self.conditions.values().all(Result::is_ok)
    }

    /// The conditions that are not met, with the reason.
    pub fn unmet(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let draining = self
            .draining
            .then_some(("draining", "the service is about to end"));
        let unmet = self.conditions.iter().filter_map(|(name, met)| {
            let reason = met.as_ref().err()?;
            Some((*name, reason.as_str()))
        });
        draining.into_iter().chain(unmet)
    }
}

/// `ready` or `not ready`, then a line for each condition that is not met and for each note.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_ready() {
            "ready"
        } else {
            "not ready"
        })?;
        let notes = self.notes.iter().map(|(name, note)| (*name, note.as_str()));
        for (name, text) in self.unmet().chain(notes) {
            write!(f, "\n{name}: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_every_condition_is_met() {
        let health = Health::new(&["log", "snapshot"]);
        assert!(!health.readiness().is_ready());
        health.set_ready("log", Ok(()));
        assert_eq!(
            health.readiness().unmet().collect::<Vec<_>>(),
            [("snapshot", "starting")]
        );
        health.set_ready("snapshot", Ok(()));
        assert!(health.readiness().is_ready());
        health.set_ready("log", Err("the disk is full".to_owned()));
        assert_eq!(
            health.readiness().to_string(),
            "not ready\nlog: the disk is full"
        );
    }

    #[test]
    fn a_note_is_told_and_changes_nothing() {
        let health = Health::new(&[]);
        health.note("lease", Some("none".to_owned()));
        assert_eq!(health.readiness().to_string(), "ready\nlease: none");
        assert!(health.readiness().is_ready());
        health.note("lease", None);
        assert_eq!(health.readiness().to_string(), "ready");
    }

    #[test]
    fn a_draining_service_stays_unready() {
        let health = Health::new(&["log"]);
        health.drain();
        health.set_ready("log", Ok(()));
        assert!(!health.readiness().is_ready());
    }

    #[test]
    fn only_changes_wake_those_who_watch() {
        let health = Health::new(&["log"]);
        let mut changes = health.subscribe();
        health.set_ready("log", Err("starting".to_owned()));
        assert!(!changes.has_changed().unwrap());
        health.set_ready("log", Ok(()));
        assert!(changes.has_changed().unwrap());
        assert!(changes.borrow_and_update().is_ready());
    }
}
