//! Names that say nothing, and re-exports that hide where a name comes from.

use crate::Finding;
use crate::source::{Source, line_of, words};

/// What a file or module must not be called.
const EMPTY: &[&str] = &["utils", "util", "common", "misc", "helpers", "helper"];

/// A file or folder whose name says nothing.
pub fn file(path: &str) -> Vec<Finding> {
    let parts = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    parts
        .filter(|part| EMPTY.contains(&part.trim_matches('_')))
        .map(|part| Finding::new(path, 0, format!("`{part}` says nothing of what is inside")))
        .collect()
}

/// Modules by such a name, and `pub use …::*`.
pub fn modules_and_globs(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all: Vec<(usize, &str)> = words(&source.code).collect();
    for pair in all.windows(2) {
        let [(at, first), (_, second)] = *pair else { continue };
        let mut report =
            |what: String| findings.push(Finding::new(&source.path, line_of(&source.code, at), what));
        if first == "mod" && EMPTY.contains(&second) {
            report(format!("module `{second}` says nothing of what is inside"));
        }
        if first == "use" && is_public(&source.code[..at]) && statement(&source.code[at..]).contains("::*") {
            report("a glob re-export: a name must be greppable to one path".to_owned());
        }
    }
    findings
}

/// Whether what stands before a `use` makes it public: `pub`, `pub(crate)`, `pub(in …)`.
fn is_public(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or(before).trim_start();
    line.starts_with("pub")
}

fn statement(from: &str) -> &str {
    from.split(';').next().unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found() {
        for path in ["crates/x/src/utils.rs", "crates/x/src/common/mod.rs", "python/velodrome/_helpers.py"] {
            assert_eq!(file(path).len(), 1, "{path}");
        }
        assert_eq!(file("crates/x/src/community.rs"), []);
    }

    #[test]
    fn empty_modules_and_globs_are_found() {
        let count = |text| modules_and_globs(&Source::new("crates/x/src/a.rs", text)).len();
        assert_eq!(count("mod misc;"), 1);
        assert_eq!(count("pub use crate::a::*;"), 1);
        assert_eq!(count("pub(crate) use crate::{\n    a::*,\n    b,\n};"), 1);
        assert_eq!(count("mod tests { use super::*; }"), 0);
        assert_eq!(count("pub use crate::a::B;\nuse crate::c::*;"), 0);
    }
}
