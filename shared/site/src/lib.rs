//! A release's manifest and everything that is decided about it away from the
//! network: building it from a folder, checking it, comparing two of them, and
//! making state safe to embed in a page.
//!
//! No async and no wire protocol may enter this crate: the command line tool, the
//! control plane and the edge share it. File access is confined to [`build`] and to
//! the output folder it writes.
//!
//! The flow: [`build`] turns a folder into a [`Build`] (a [`Manifest`] and the blobs
//! it names); the control plane runs [`Manifest::parse`], [`check_content`] and
//! [`Changes::between`]; an edge runs [`Manifest::parse`] and [`Manifest::get`].

mod authoring;
mod build;
mod changes;
mod check;
#[cfg(test)]
mod check_tests;
mod content;
mod content_type;
mod decode;
mod html;
mod json;
mod limits;
mod manifest;
mod problem;
mod resource;
mod since;
mod state;
#[cfg(test)]
mod testing;

pub use build::{BlobSource, Build, BuildError, BuildOptions, Level, Progress, Warning, build};
pub use changes::Changes;
pub use content::{BlobReader, ContentError, check_changed_content, check_content};
pub use limits::{
    MAX_FILE_BYTES, MAX_FILES, MAX_LINKS, MAX_MANIFEST_BYTES, MAX_PAGE_BYTES, MAX_PARTS,
    MAX_STATE_BYTES, MAX_STATE_DEPTH,
};
pub use manifest::{Kind, Manifest, ManifestError};
pub use problem::Problem;
pub use resource::{Coding, Part, Resource, Variant};
pub use since::SinceTable;
pub use state::{STATE_SCRIPT_CLOSE, STATE_SCRIPT_OPEN, StateError, escape_state, state_script};
