//! Platforms are named once, here, so that no module spells out a list of operating systems.
//!
//! `epoll` stands for the kernels that have epoll, eventfd and `accept4`: Linux and Android. `portable` stands for the
//! driver by that name: there is no other without epoll, and with it who wants both asks by the feature. `loom` is declared
//! only so that the compiler knows the name; `RUSTFLAGS="--cfg loom"` sets it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(epoll)");
    println!("cargo::rustc-check-cfg=cfg(portable)");
    println!("cargo::rustc-check-cfg=cfg(loom)");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let epoll = matches!(system.as_str(), "linux" | "android");
    if epoll {
        println!("cargo::rustc-cfg=epoll");
    }
    if !epoll || std::env::var_os("CARGO_FEATURE_PORTABLE").is_some() {
        println!("cargo::rustc-cfg=portable");
    }
}
