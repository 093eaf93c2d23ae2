//! Metric labels whose values are known when the program is compiled, so that no caller can add a time series.

/// One label: a name and its few values. Made by [`labels!`](crate::labels), which keeps the three parts in step.
pub trait Label: Copy + 'static {
    /// The label's name, in snake case.
    const NAME: &'static str;
    /// All values, in the order of [`index`](Self::index).
    const ALL: &'static [Self];

    /// The value's text.
    fn as_str(self) -> &'static str;

    /// The value's place in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

/// The labels of a metric: one, or a pair.
pub trait LabelSet: Copy + 'static {
    /// The names, in order.
    fn names() -> Vec<&'static str>;

    /// The texts of each combination, in the order of [`index`](Self::index).
    fn all() -> Vec<Vec<&'static str>>;

    /// The combination's place in [`all`](Self::all).
    fn index(self) -> usize;
}

impl<L: Label> LabelSet for L {
    fn names() -> Vec<&'static str> {
        vec![L::NAME]
    }

    fn all() -> Vec<Vec<&'static str>> {
        L::ALL.iter().map(|value| vec![value.as_str()]).collect()
    }

    fn index(self) -> usize {
        Label::index(self)
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME]
    }

    fn all() -> Vec<Vec<&'static str>> {
        A::ALL
            .iter()
            .flat_map(|a| B::ALL.iter().map(|b| vec![a.as_str(), b.as_str()]))
            .collect()
    }

    fn index(self) -> usize {
        Label::index(self.0) * B::ALL.len() + Label::index(self.1)
    }
}

/// Declares a metric label:
///
/// ```
/// tidegate_telemetry::labels! {
///     /// How the cache took part in an answer.
///     pub enum CacheOutcome as "outcome" {
///         Hit = "hit",
///         Miss = "miss",
///     }
/// }
/// ```
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* $vis:vis enum $label:ident as $name:literal {
        $($(#[$value_meta:meta])* $value:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $label {
            $($(#[$value_meta])* #[doc = concat!("`", $text, "`")] $value),+
        }

        impl $crate::Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text),+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
