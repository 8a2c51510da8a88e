//! Where `unsafe` may stand, and that each one is argued.

use crate::Finding;
use crate::source::{Source, line_of, words};

/// The only list of it. Clippy checks the arguments more closely; this checks the places.
const PLACES: &[&str] = &[
    "crates/velodrome-engine/src/sys/",
    "crates/velodrome-engine/src/ready.rs",
    // A task is one allocation, and its waker a count of it.
    "crates/velodrome/src/task/cell.rs",
    "crates/velodrome-python/src/kit/",
];

/// How far above its `unsafe` a SAFETY comment may begin to end: a statement that is broken over lines lies between.
const NEAR: usize = 6;

/// `unsafe` in other places, and blocks and impls without a SAFETY comment.
pub fn places(source: &Source) -> Vec<Finding> {
    let allowed = PLACES.iter().any(|place| source.path.starts_with(place));
    let mut findings = Vec::new();
    for (at, _) in words(&source.code).filter(|(_, word)| *word == "unsafe") {
        let line = line_of(&source.code, at);
        let mut report = |what: &str| findings.push(Finding::new(&source.path, line, what));
        if !allowed {
            report("`unsafe` has its places, see crates/tidy/src/unsafe_code.rs");
        } else if needs_argument(&source.code[at..]) && !is_argued(&source.comments, line) {
            report("`unsafe` without a SAFETY comment that says who keeps the promise");
        }
    }
    findings
}

/// A block or an impl; functions and traits state a contract instead of keeping one.
fn needs_argument(from: &str) -> bool {
    let after = from["unsafe".len()..].trim_start();
    after.starts_with('{') || after.starts_with("impl")
}

fn is_argued(comments: &str, line: usize) -> bool {
    comments.lines().take(line).skip(line.saturating_sub(NEAR + 1)).any(|l| l.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        places(&Source::new(path, text)).len()
    }

    #[test]
    fn unsafe_out_of_place_is_found() {
        let argued = "fn f() {\n    // SAFETY: it is.\n    unsafe { g() }\n}";
        assert_eq!(count("crates/velodrome-engine/src/hub.rs", argued), 1);
        assert_eq!(count("crates/velodrome-engine/tests/a.rs", argued), 1);
        assert_eq!(count("crates/velodrome-engine/src/sys/socket.rs", argued), 0);
        assert_eq!(count("crates/velodrome-engine/src/hub.rs", "// unsafe\n#![allow(unsafe_code)]"), 0);
    }

    #[test]
    fn unsafe_without_an_argument_is_found() {
        let path = "crates/velodrome-engine/src/sys/socket.rs";
        assert_eq!(count(path, "fn f() {\n    unsafe { g() }\n}"), 1);
        assert_eq!(count(path, "unsafe impl Send for A {}"), 1);
        assert_eq!(count(path, "// SAFETY: no pointers.\nunsafe impl Send for A {}"), 0);
        assert_eq!(count(path, "/// # Safety\n/// Do not.\nunsafe fn f();"), 0);
    }
}
