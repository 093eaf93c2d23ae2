//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one: each connection is a file,
/// and the usual soft limit of 1,024 is for programs that use `select`.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // With the old limit fewer connections are served, and that is all.
    let _ = setrlimit(Resource::Nofile, raised);
}
