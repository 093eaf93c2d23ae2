//! One target under libFuzzer: the one that `TIDEGATE_FUZZ_TARGET` names. One program for
//! all of them links once.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{TARGETS, Target};

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("TIDEGATE_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("TIDEGATE_FUZZ_TARGET={name}: there is no such target"))
    })
}

fuzz_target!(|data: &[u8]| (chosen().run)(data));
