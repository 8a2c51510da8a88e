//! The Rust face's README lists what the crate is built with, each with its reason: all of it, and nothing else.

use std::collections::BTreeSet;

use crate::Finding;
use crate::source::line_of;

/// The document that is held to it.
pub const README: &str = "crates/velodrome/README.md";

/// Ours, which need no reason.
const OURS: &[&str] = &["velodrome", "velodrome-engine"];

/// The crates that `cargo tree --prefix none` has printed, one in a line.
pub fn crates(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !OURS.contains(name)).collect()
}

/// Where the table of what is always there says something else than `needed`.
pub fn always(readme: &str, needed: &BTreeSet<&str>) -> Vec<Finding> {
    let (at, rows) = table(readme, "| crate | why |");
    let listed = rows.iter().filter_map(|row| cell(row, 0)).flat_map(quoted).collect();
    differ(at, "the table of crates", &listed, needed)
}

/// Where the row of a feature says something else than `brought`.
pub fn feature(readme: &str, name: &str, brought: &BTreeSet<&str>) -> Vec<Finding> {
    let (at, rows) = table(readme, "| feature | brings | for |");
    let row = rows.iter().find(|row| cell(row, 0).is_some_and(|first| quoted(first) == [name]));
    let listed = row.and_then(|row| cell(row, 1)).into_iter().flat_map(quoted).collect();
    differ(at, &format!("the feature {name}"), &listed, brought)
}

/// What the manifest has for tests only, and the last paragraph does not name.
pub fn for_tests(readme: &str, manifest: &str) -> Vec<Finding> {
    let at = readme.find("\nTests and examples use ").map_or(readme.len(), |at| at + 1);
    let named = quoted(&readme[at..]);
    let missing = dev_dependencies(manifest).filter(|name| !named.contains(name));
    missing
        .map(|name| finding(line_of(readme, at), format!("tests use {name}, which is not named")))
        .collect()
}

/// The names under each `[…dev-dependencies]`.
fn dev_dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            inside = line.ends_with("dev-dependencies]");
        }
        line.split([' ', '.'])
            .next()
            .filter(|name| inside && !name.is_empty() && !name.starts_with(['[', '#']))
    })
}

fn differ(line: usize, what: &str, listed: &BTreeSet<&str>, needed: &BTreeSet<&str>) -> Vec<Finding> {
    let missing = needed.difference(listed).map(|name| finding(line, format!("{what} lacks {name}")));
    let needless =
        listed.difference(needed).map(|name| finding(line, format!("{what} need not have {name}")));
    missing.chain(needless).collect()
}

fn finding(line: usize, what: String) -> Finding {
    Finding::new(README, line, what)
}

/// The line of a table's head, and the rows below.
fn table<'a>(text: &'a str, head: &str) -> (usize, Vec<&'a str>) {
    let Some(at) = text.find(head) else { return (0, Vec::new()) };
    (line_of(text, at), text[at..].lines().skip(2).take_while(|line| line.starts_with('|')).collect())
}

fn cell(row: &str, column: usize) -> Option<&str> {
    row.split('|').nth(column + 1)
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
| crate | why |
|---|---|
| `one`, by it `two` | a `reason` |

| feature | brings | for |
|---|---|---|
| `f` | `three`, by it `four` | `five` |
| `g` | `six` | |

Tests and examples use `seven` (for
this), and `eight`.
";

    fn said(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.what.as_str()).collect()
    }

    #[test]
    fn a_tree_is_a_set() {
        let tree = "velodrome v0.1.0 (/here)\nvelodrome-engine v0.1.0 (/there)\none v1.0\none v1.0 (*)\n";
        assert_eq!(crates(tree), BTreeSet::from(["one"]));
    }

    #[test]
    fn what_a_table_lacks_or_has_for_nothing_is_found() {
        assert_eq!(always(TEXT, &BTreeSet::from(["one", "two"])), []);
        let findings = always(TEXT, &BTreeSet::from(["one", "three"]));
        assert_eq!(
            said(&findings),
            ["the table of crates lacks three", "the table of crates need not have two"]
        );
        assert_eq!(always("", &BTreeSet::from(["one"])).len(), 1, "no table lists nothing");
    }

    #[test]
    fn so_is_what_a_feature_does() {
        assert_eq!(feature(TEXT, "f", &BTreeSet::from(["three", "four"])), []);
        assert_eq!(
            said(&feature(TEXT, "f", &BTreeSet::from(["three"]))),
            ["the feature f need not have four"]
        );
        assert_eq!(said(&feature(TEXT, "h", &BTreeSet::from(["six"]))), ["the feature h lacks six"]);
    }

    #[test]
    fn what_only_tests_use_is_named() {
        let manifest = "[dependencies]\none = \"1\"\n[dev-dependencies]\nseven = \"1\"\neight.workspace = true\nnine = { version = \"1\" }\n\n[target.'cfg(loom)'.dev-dependencies]\nloom = \"0.7\"\n[lints]\nworkspace = true\n";
        assert_eq!(
            said(&for_tests(TEXT, manifest)),
            ["tests use nine, which is not named", "tests use loom, which is not named"]
        );
    }
}
