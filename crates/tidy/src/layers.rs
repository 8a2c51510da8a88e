//! In the engine, arrows only go down: a module may use what stands below it, and nobody above.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::source::{Source, is_test_file, line_of, words};

/// The engine's folder.
pub const ENGINE: &str = "crates/velodrome-engine";

/// From the kernel up. Modules of one level may know each other, as long as no two know each other mutually.
const LEVELS: &[&[&str]] = &[
    &["sys"],
    &["driver"],
    &["ready", "timers", "wakeup"],
    &["reactor", "putting_off"],
    &["hub"],
    &["transport", "streams", "net", "process"],
    &["event_loop"],
];

/// Usable by all, know nobody.
const GROUND: &[&str] = &["census", "clock"];

/// May use everything.
const ROOF: &[&str] = &["testing"];

fn level(module: &str) -> Option<usize> {
    if GROUND.contains(&module) {
        return Some(0);
    }
    if ROOF.contains(&module) {
        return Some(LEVELS.len() + 1);
    }
    LEVELS.iter().position(|level| level.contains(&module)).map(|n| n + 1)
}

/// Upward uses, circles within a level, and modules that have no level.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some((ENGINE, inside)) = source.in_crate() else { continue };
        if is_test_file(&source.path) {
            continue;
        }
        let path = module_path(inside);
        let Some(from) = path.first() else { continue };
        let Some(mine) = level(from) else {
            findings.push(Finding::new(&source.path, 0, format!("`{from}` has no level in {}", file!())));
            continue;
        };
        for (line, to) in uses(&source.product, &path) {
            let Some(theirs) = level(&to) else { continue };
            let ground = GROUND.contains(&from.as_str()) && to != *from;
            if theirs > mine || ground {
                findings.push(Finding::new(&source.path, line, format!("`{from}` must not know `{to}`")));
            }
            if to != *from && theirs == mine {
                arrows.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    findings.extend(circles(&arrows));
    findings
}

/// `src/sys/epoll.rs` is `["sys", "epoll"]`, `src/sys/mod.rs` is `["sys"]`; `src/lib.rs`, and what is not under
/// `src`, is nowhere.
fn module_path(inside: &str) -> Vec<String> {
    let Some(path) = inside.strip_prefix("src/").and_then(|p| p.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

/// The top modules that a file's code names by `crate::…` or `super::…`, with their lines.
fn uses(code: &str, path: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut depth = path.len();
    for (at, word) in words(code) {
        let rest = &code[at + word.len()..];
        let begins = !code[..at].ends_with("::");
        if begins {
            depth = path.len();
        }
        match word {
            "crate" if begins && rest.starts_with("::") => depth = 0,
            "super" if rest.starts_with("::") && depth > 0 => depth -= 1,
            _ => continue,
        }
        if depth == 0 && !rest.starts_with("::super") {
            found.extend(heads(&rest[2..]).map(|head| (line_of(code, at), head)));
        }
    }
    found
}

/// The first names behind `crate::`: one, or those of a `{…}`.
fn heads(rest: &str) -> impl Iterator<Item = String> {
    let list = match rest.strip_prefix('{') {
        Some(inside) => top_level(inside),
        None => vec![rest],
    };
    list.into_iter().filter_map(|path| words(path).next().map(|(_, word)| word.to_owned()))
}

/// The parts of a braced list up to its end, split at the commas that are not inside inner braces.
fn top_level(inside: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&inside[begin..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Modules that can be reached from themselves by the arrows within a level.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for from in arrows.keys() {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(module) = next.pop() {
            for to in arrows.get(module).into_iter().flatten() {
                if reached.insert(to) {
                    next.push(to);
                }
            }
        }
        if reached.contains(from) {
            findings.push(Finding::new(
                &format!("{ENGINE}/src/{from}"),
                0,
                format!("`{from}` knows itself by way of others: {reached:?}"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source::new(&format!("{ENGINE}/src/{path}"), text);
        let sources: Vec<Source> = files.iter().map(source).collect();
        check(&sources)
            .iter()
            .map(|f| format!("{}:{} {}", f.path.replace(ENGINE, ""), f.line, f.what))
            .collect()
    }

    #[test]
    fn downward_is_fine() {
        let none: Vec<String> = Vec::new();
        assert_eq!(found(&[("driver/epoll.rs", "use crate::sys::Peer;\nuse super::Event;")]), none);
        assert_eq!(found(&[("timers/mod.rs", "use crate::clock;")]), none);
        assert_eq!(found(&[("testing/suite.rs", "use crate::event_loop::EventLoop;")]), none);
        assert_eq!(found(&[("lib.rs", "pub use crate::event_loop::EventLoop;")]), none);
        assert_eq!(found(&[("wakeup.rs", "use crate::ready::Runnable;"), ("ready.rs", "")]), none);
    }

    #[test]
    fn comments_and_tests_may_look_up() {
        let text = "//! [`crate::hub`]\n#[cfg(test)]\nmod tests {\n    use crate::testing::suite;\n}";
        assert_eq!(found(&[("sys/mod.rs", text), ("sys_model.rs", text)]), Vec::<String>::new());
    }

    #[test]
    fn a_planted_upward_line_is_found() {
        let up = "/src/sys/socket.rs:2 `sys` must not know `driver`";
        assert_eq!(found(&[("sys/socket.rs", "\nuse crate::driver::Key;")]), [up]);
        assert_eq!(found(&[("sys/socket.rs", "\nuse crate::{clock::{A, B}, driver};")]), [up]);
        assert_eq!(found(&[("sys/socket.rs", "\nfn f(k: super::super::driver::Key) {}")]), [up]);
        assert_eq!(found(&[("hub.rs", "use super::event_loop::X;")]).len(), 1);
        assert_eq!(found(&[("clock.rs", "use crate::sys;")]).len(), 1);
        assert_eq!(found(&[("sys/mod.rs", "use crate::testing;")]).len(), 1);
    }

    #[test]
    fn a_circle_within_a_level_is_found() {
        let files = [("ready.rs", "use crate::wakeup::A;"), ("wakeup.rs", "use crate::ready::B;")];
        assert_eq!(found(&files).len(), 2);
    }

    #[test]
    fn a_module_without_a_level_is_found() {
        assert_eq!(found(&[("kitchen.rs", "")]).len(), 1);
    }
}
