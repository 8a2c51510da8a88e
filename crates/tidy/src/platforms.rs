//! One place decides about platforms: a `cfg` stands on a `mod` line, or in the file that is there for it. Whether
//! debug assertions are on is no platform.

use crate::Finding;
use crate::source::{Source, is_for_tests, words};

/// Files, and folders, in which a `cfg` may stand anywhere.
const SWITCHES: &[&str] = &[
    "crates/velodrome-engine/src/driver/mod.rs",
    "crates/velodrome-engine/src/sys/mod.rs",
    // Where the versions of CPython differ.
    "crates/velodrome-python/src/kit/",
];

/// `cfg`s that stand elsewhere. Tests may have theirs.
pub fn cfgs(source: &Source) -> Vec<Finding> {
    let ours = source.path.starts_with("crates/") && !source.path.ends_with("/build.rs");
    if !ours || SWITCHES.iter().any(|path| source.path.starts_with(path)) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.product.lines().map(str::trim).collect();
    (0..lines.len())
        .filter(|&n| {
            says_cfg(lines[n])
                && !lines[n].contains("(debug_assertions)")
                && !is_for_tests(lines[n])
                && !is_on_mod(&lines[n..])
        })
        .map(|n| Finding::new(&source.path, n + 1, "a `cfg` belongs on a `mod` line or into driver/mod.rs"))
        .collect()
}

fn says_cfg(line: &str) -> bool {
    words(line).any(|(at, word)| match word {
        "cfg" | "cfg_attr" => line[at + word.len()..].starts_with(['(', '!']),
        _ => false,
    })
}

/// Whether the attributes that begin here belong to a `mod` line.
fn is_on_mod(lines: &[&str]) -> bool {
    let item = lines.iter().find(|line| !line.starts_with("#[")).unwrap_or(&"");
    lines[0].starts_with("#[cfg(") && item.split_whitespace().take(2).any(|word| word == "mod")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        cfgs(&Source::new(&format!("crates/velodrome-engine/{path}"), text)).len()
    }

    #[test]
    fn a_cfg_in_a_function_is_found() {
        assert_eq!(count("src/hub.rs", "fn f() {\n    #[cfg(epoll)]\n    g();\n}"), 1);
        assert_eq!(count("src/hub.rs", "fn f() { if cfg!(epoll) {} }"), 1);
        assert_eq!(count("src/hub.rs", "#[cfg(epoll)]\nfn f() {}"), 1);
        assert_eq!(count("src/hub.rs", "#[cfg_attr(epoll, inline)]\nfn f() {}"), 1);
    }

    #[test]
    fn its_own_places_are_fine() {
        assert_eq!(count("src/hub.rs", "#[cfg(epoll)]\n#[path = \"a.rs\"]\npub(crate) mod a;"), 0);
        assert_eq!(count("src/hub.rs", "#[cfg(test)]\nmod tests {\n    #[cfg(epoll)]\n    fn f() {}\n}"), 0);
        assert_eq!(count("src/driver/mod.rs", "fn f() { if cfg!(epoll) {} }"), 0);
        assert_eq!(count("src/hub.rs", "fn f() { if cfg!(debug_assertions) {} }"), 0);
        assert_eq!(count("build.rs", "#[cfg(unix)]\nfn f() {}"), 0);
        assert_eq!(count("src/hub.rs", "// #[cfg(epoll)]\nfn f() { reads_cfg(a) }"), 0);
    }
}
