//! `loom` is declared only so that the compiler knows the name; `RUSTFLAGS="--cfg loom"` sets it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(loom)");
}
