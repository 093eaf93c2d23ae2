//! Generates the gRPC code without a system `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = [
        "tidegate/v1/admin.proto",
        "tidegate/v1/cache.proto",
        "tidegate/v1/edge.proto",
        "tidegate/v1/event.proto",
        "tidegate/v1/fleet.proto",
        "tidegate/v1/site.proto",
        "tidegate/storage/v1/storage.proto",
    ];
    let descriptors = protox::compile(files, [&root])?;
    // Reflection serves this; `compile_fds` does not write it by itself.
    let out = PathBuf::from(env("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

fn env(name: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(std::env::var(name)?)
}
