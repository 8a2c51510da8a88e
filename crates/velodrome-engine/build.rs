//! Platforms are named once, here, so that no module spells out a list of operating systems.
//!
//! `epoll` stands for the kernels that have epoll, eventfd and `accept4`: Linux and Android. `loom` is declared only
//! so that the compiler knows the name; `RUSTFLAGS="--cfg loom"` sets it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(epoll)");
    println!("cargo::rustc-check-cfg=cfg(loom)");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if matches!(system.as_str(), "linux" | "android") {
        println!("cargo::rustc-cfg=epoll");
    }
}
