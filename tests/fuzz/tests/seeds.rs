//! Each seed through its target, and some thousand inputs without guidance: a target that
//! no longer holds for what it began with fails here, without libFuzzer.

use std::path::Path;

use proptest::prelude::*;
use tidegate_fuzz::TARGETS;

#[test]
fn each_target_holds_for_its_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in TARGETS {
        let seeds = std::fs::read_dir(folder.join(target.name));
        let seeds: Vec<_> = seeds
            .unwrap_or_else(|error| panic!("{} has no seeds: {error}", target.name))
            .collect();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            (target.run)(&std::fs::read(path).unwrap());
        }
    }
}

#[test]
fn each_folder_of_seeds_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        let is_known = TARGETS.iter().any(|target| *target.name == *name);
        assert!(is_known, "{name:?}");
    }
}

proptest! {
    #[test]
    fn each_target_holds_for_any_bytes(data: Vec<u8>, text in "[ -~\n]{0,80}") {
        for target in TARGETS {
            (target.run)(&data);
            (target.run)(text.as_bytes());
        }
    }
}
