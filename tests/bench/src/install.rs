//! Gets what a bench needs from Debian's packages, and says by name what it cannot get.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::peer::Absent;

/// A Debian package, known to be there by a file of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
}

pub(crate) const NGINX: Package = Package::new("nginx", "/usr/sbin/nginx");
pub(crate) const NCHAN: Package = Package::new(
    "libnginx-mod-nchan",
    "/usr/lib/nginx/modules/ngx_nchan_module.so",
);
pub(crate) const VARNISH: Package = Package::new("varnish", "/usr/sbin/varnishd");
pub(crate) const VARNISH_MODULES: Package = Package::new(
    "varnish-modules",
    "/usr/lib/x86_64-linux-gnu/varnish/vmods/libvmod_xkey.so",
);
pub(crate) const ETCD: Package = Package::new("etcd-server", "/usr/bin/etcd");
pub(crate) const WRK: Package = Package::new("wrk", "/usr/bin/wrk");
pub(crate) const H2LOAD: Package = Package::new("nghttp2-client", "/usr/bin/h2load");

impl Package {
    const fn new(name: &'static str, file: &'static str) -> Self {
        Self { name, file }
    }

    /// The file it is known by: for a program, the program.
    pub(crate) const fn file(self) -> &'static str {
        self.file
    }

    /// Installs the package if it is missing.
    ///
    /// # Errors
    /// [`Absent::Skipped`] with the reason where it cannot be had.
    pub(crate) fn ensure(self) -> Result<(), Absent> {
        if self.is_there() {
            return Ok(());
        }
        eprintln!("installing {} with apt-get", self.name);
        // The lists of packages may be old or missing: the second try has new ones.
        if !apt(&["install", "--yes", "--no-install-recommends", self.name]) {
            apt(&["update"]);
            apt(&["install", "--yes", "--no-install-recommends", self.name]);
        }
        if self.is_there() {
            Ok(())
        } else {
            let reason = format!(
                "Debian package {} is not installed and apt-get could not install it",
                self.name
            );
            Err(Absent::Skipped(reason))
        }
    }

    fn is_there(self) -> bool {
        Path::new(self.file).exists()
    }
}

/// Runs apt-get, as root where that needs no password.
fn apt(arguments: &[&str]) -> bool {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "apt-get"]);
        sudo
    };
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
