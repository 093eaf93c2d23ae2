//! Releases built from folders, through the public interface alone.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its stage has failed"
)]

mod build;
mod content;
mod folder;
mod real;
mod walk;
