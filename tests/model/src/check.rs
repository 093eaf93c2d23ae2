//! Runs the checker and tells what it found.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker as _, Expectation, HasDiscoveries, Model, Path};

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Threads.
    pub threads: usize,
    /// The longest path; all of them if there is none.
    pub depth: Option<usize>,
    /// Whether to stop at the first broken promise.
    pub until_broken: bool,
}

impl Effort {
    /// Every reachable state.
    pub const ALL: Self = Self {
        threads: 1,
        depth: None,
        until_broken: false,
    };

    /// Every reachable state, up to the first broken promise.
    pub const UNTIL_BROKEN: Self = Self {
        until_broken: true,
        ..Self::ALL
    };
}

/// What the checker found.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Different states.
    pub states: usize,
    /// Steps from one to another.
    pub steps: usize,
    /// The longest of the shortest paths to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Promises that are broken, and how.
    pub broken: Vec<Counterexample>,
    /// What should be possible and was not seen.
    pub unseen: Vec<&'static str>,
}

/// How a promise is broken.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The promise.
    pub promise: &'static str,
    /// What happens, one step after the other.
    pub steps: Vec<String>,
    /// Where that leads.
    pub state: String,
}

impl Findings {
    /// The way in which a promise is broken, if it is.
    #[must_use]
    pub fn breaks(&self, promise: &str) -> Option<&Counterexample> {
        self.broken.iter().find(|one| one.promise == promise)
    }

    /// Whether everything promised holds and everything that should be possible is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.unseen.is_empty()
    }
}

impl Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            steps,
            depth,
            took,
            ..
        } = self;
        write!(
            f,
            "{states} states, {steps} steps, depth {depth}, {:.1} s",
            took.as_secs_f32()
        )?;
        for unseen in &self.unseen {
            write!(f, "\nnever seen: {unseen}")?;
        }
        for broken in &self.broken {
            write!(f, "\n{broken}")?;
        }
        Ok(())
    }
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}", self.promise)?;
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "\n  {:>2}. {step}", number + 1)?;
        }
        write!(f, "\n  leads to {}", self.state)
    }
}

/// Explores a model.
pub fn explore<M>(model: &M, effort: Effort) -> Findings
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let began = Instant::now();
    let mut checker = model.clone().checker().threads(effort.threads);
    if effort.until_broken {
        checker = checker.finish_when(HasDiscoveries::AnyFailures);
    }
    if let Some(depth) = effort.depth {
        checker = checker.target_max_depth(depth);
    }
    let checker = checker.spawn_bfs().join();
    let mut found = checker.discoveries();
    let mut broken = Vec::new();
    let mut unseen = Vec::new();
    for property in model.properties() {
        match (property.expectation.clone(), found.remove(property.name)) {
            (Expectation::Always, Some(path)) => {
                broken.push(shortened(model, property.name, path));
            }
            (Expectation::Sometimes, None) => unseen.push(property.name),
            _ => {}
        }
    }
    Findings {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        broken,
        unseen,
    }
}

/// Leaves out what a counterexample does not need: the checker finds a short one, not
/// the shortest.
fn shortened<M>(model: &M, promise: &'static str, path: Path<M::State, M::Action>) -> Counterexample
where
    M: Model,
    M::State: Debug,
    M::Action: Clone + Debug + PartialEq,
{
    let mut actions = path.into_actions();
    let mut end = replayed(model, promise, &actions);
    let mut at = 0;
    while at < actions.len() {
        let mut fewer = actions.clone();
        fewer.remove(at);
        match replayed(model, promise, &fewer) {
            Some(state) => {
                end = Some(state);
                actions = fewer;
                // What was needed before may not be any more.
                at = 0;
            }
            None => at += 1,
        }
    }
    Counterexample {
        promise,
        steps: actions.iter().map(|a| model.format_action(a)).collect(),
        state: end.map_or_else(String::new, |state| format!("{state:?}")),
    }
}

/// Where the steps lead, if they are possible and break the promise.
fn replayed<M>(model: &M, promise: &'static str, actions: &[M::Action]) -> Option<M::State>
where
    M: Model,
    M::Action: Clone + PartialEq,
{
    let mut state = model.init_states().into_iter().next()?;
    for action in actions {
        let mut possible = Vec::new();
        model.actions(&state, &mut possible);
        if !possible.contains(action) {
            return None;
        }
        state = model.next_state(&state, action.clone())?;
    }
    let holds = model.property(promise).condition;
    (!holds(model, &state)).then_some(state)
}
