//! The sample site.
