//! Debian's packages.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::Outcome;
use crate::checkout::Checkout;
use crate::program::{Program, is_there};

/// Something the tests need that a Debian package brings.
struct Need {
    /// What tests call it: one whose path contains `needs_NAME` is skipped without it.
    name: &'static str,
    package: &'static str,
    sign: Sign,
}

/// How to see that it is there, whoever installed it.
enum Sign {
    Program(&'static str),
    File(&'static str),
    /// A module of Varnish, by its file.
    VarnishModule(&'static str),
    /// Python can make virtual environments.
    PythonVenv,
    /// Processes can be put into networks of their own.
    Namespaces,
}

const fn program(name: &'static str, package: &'static str, program: &'static str) -> Need {
    Need {
        name,
        package,
        sign: Sign::Program(program),
    }
}

const NEEDS: [Need; 16] = [
    program("chromium", "chromium", "chromium"),
    program("curl", "curl", "curl"),
    program("etcd", "etcd-server", "etcd"),
    program("h2load", "nghttp2-client", "h2load"),
    program("jq", "jq", "jq"),
    Need {
        name: "namespaces",
        package: "iproute2",
        sign: Sign::Namespaces,
    },
    program("nginx", "nginx", "nginx"),
    Need {
        name: "nchan",
        package: "libnginx-mod-nchan",
        sign: Sign::File("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    },
    program("node", "nodejs", "node"),
    program("nft", "nftables", "nft"),
    program("npm", "npm", "npm"),
    Need {
        name: "python3",
        package: "python3-venv",
        sign: Sign::PythonVenv,
    },
    program("strace", "strace", "strace"),
    program("varnish", "varnish", "varnishd"),
    Need {
        name: "varnish-modules",
        package: "varnish-modules",
        sign: Sign::VarnishModule("libvmod_xkey.so"),
    },
    program("wrk", "wrk", "wrk"),
];

/// Installs what is missing, all in one go, and one by one if that fails.
pub(super) fn install(checkout: &Checkout) -> Vec<(&'static str, Outcome)> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !need.is_met()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
        get(checkout, &packages);
        // One package that cannot be had keeps apt from installing any of the others.
        for need in missing.iter().filter(|need| !need.is_met()) {
            get(checkout, &[need.package]);
        }
    }
    NEEDS
        .iter()
        .map(|need| {
            let was_missing = missing.iter().any(|missing| missing.name == need.name);
            let outcome = match (need.is_met(), was_missing) {
                (true, false) => Outcome::Present,
                (true, true) => Outcome::Installed,
                (false, _) => Outcome::Unavailable(need.remedy()),
            };
            (need.name, outcome)
        })
        .collect()
}

/// `apt-get update`, once a run.
pub(super) fn refresh(checkout: &Checkout) -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| apt(checkout, &["update", "-qq"]).is_some_and(|apt| apt.run().ok))
}

/// Tries to install packages; whether it worked is seen by looking for what they bring.
fn get(checkout: &Checkout, packages: &[&str]) {
    refresh(checkout);
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    if let Some(apt) = apt(checkout, &arguments) {
        apt.run();
    }
}

/// `apt-get` as root; none where there is no way to be root without being asked.
fn apt(checkout: &Checkout, arguments: &[&str]) -> Option<Program> {
    if !is_there("apt-get") {
        return None;
    }
    let fixed = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        // Someone else may be installing.
        "DPkg::Lock::Timeout=300",
    ];
    let words = fixed.iter().chain(arguments).copied();
    let root = Program::new("id", ["-u"], checkout)
        .read()
        .is_some_and(|user| user.trim() == "0");
    if root {
        Some(Program::new("env", words.skip(1), checkout))
    } else if is_there("sudo") {
        Some(Program::new(
            "sudo",
            std::iter::once("-n").chain(words),
            checkout,
        ))
    } else {
        None
    }
}

impl Need {
    /// What a person can do.
    fn remedy(&self) -> String {
        match self.sign {
            Sign::Namespaces => {
                "as root, where the kernel lets root make them: apt-get install iproute2".to_owned()
            }
            _ => format!("as root: apt-get install {}", self.package),
        }
    }

    fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(program) => is_there(program),
            Sign::File(file) => Path::new(file).exists(),
            Sign::VarnishModule(file) => has_varnish_module(file),
            Sign::Namespaces => is_there("ip") && can_make_namespaces(),
            Sign::PythonVenv => is_there("python3") && super::python::can_make_environments(),
        }
    }
}

/// Whether this user, on this machine, may make networks for processes.
fn can_make_namespaces() -> bool {
    let words = ["--net", "--mount", "--pid", "--fork", "true"];
    Command::new("unshare")
        .args(words)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks in the library folder of every architecture.
fn has_varnish_module(file: &str) -> bool {
    std::fs::read_dir("/usr/lib").is_ok_and(|folders| {
        folders
            .flatten()
            .any(|folder| folder.path().join("varnish/vmods").join(file).is_file())
    })
}
