//! Tells the extension which Python it is made for, and which compiler made it (for `python -m velodrome info`).

use std::process::Command;

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=VELODROME_RUSTC={}", version.unwrap_or_else(|_| "unknown".to_owned()));
}
