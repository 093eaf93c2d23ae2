//! The name of a service inside the process.

use std::fmt;

/// Which service a span or a log line belongs to.
///
/// Put it on each span a service begins on its own, so that a process that runs several services stays readable:
///
/// ```
/// use tidegate_telemetry::Component;
///
/// let span = tracing::info_span!("apply", service.component = Component::EDGE.as_str());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component(&'static str);

impl Component {
    /// The control plane.
    pub const CONTROL_PLANE: Self = Self("control-plane");
    /// An edge.
    pub const EDGE: Self = Self("edge");
    /// The command line tool.
    pub const CLI: Self = Self("cli");

    /// Names another component.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The value of `service.component`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
