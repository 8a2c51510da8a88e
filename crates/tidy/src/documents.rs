//! The documents' links lead somewhere.

use std::path::Path;

use crate::Finding;

/// Links of a Markdown text to files that are not there. `path` is the document's, from the root.
pub fn links(root: &Path, path: &str, text: &str) -> Vec<Finding> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for target in targets(line) {
            let file = target.split('#').next().unwrap_or(target);
            if !is_elsewhere(target) && !root.join(folder).join(file).exists() {
                findings.push(Finding::new(path, n + 1, format!("there is no {file}")));
            }
        }
    }
    findings
}

/// What stands in the round brackets of `[…](…)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:") || target.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let count = |text| links(root, "README.md", text).len();
        assert_eq!(count("see [this](src/lib.rs#L3) and [that](https://example.org/x)"), 0);
        assert_eq!(count("[here](#below)"), 0);
        assert_eq!(count("a [dead](src/gone.rs) link, and [another](gone.md)"), 2);
        assert_eq!(links(root, "src/README.md", "[x](lib.rs)"), []);
    }
}
