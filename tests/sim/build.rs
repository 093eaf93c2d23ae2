//! Lets the crate `getrandom`, which looks the function up by name while it runs, find
//! the one of this program.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getrandom");
    println!("cargo::rerun-if-changed=build.rs");
}
