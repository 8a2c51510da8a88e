//! What must be said in comments: why a module exists, and where an open end is written down.

use crate::Finding;
use crate::source::{Source, words};

// In two parts, so that this file does not find itself.
const OPEN_ENDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Open ends without the number of an issue in the same line.
pub fn todos(source: &Source) -> Vec<Finding> {
    let lines = source.comments.lines().enumerate();
    lines
        .filter(|(_, line)| words(line).any(|(_, word)| OPEN_ENDS.contains(&word)) && !has_issue(line))
        .map(|(n, _)| Finding::new(&source.path, n + 1, "an open end needs the number of its issue: (#12)"))
        .collect()
}

fn has_issue(line: &str) -> bool {
    line.split('#').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()))
}

/// A Rust file that does not begin with its paragraph.
pub fn first_paragraph(source: &Source) -> Option<Finding> {
    let begins = source.text.starts_with("//! ");
    (!begins).then(|| Finding::new(&source.path, 1, "a file begins with a `//!` paragraph: why it exists"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_end_without_an_issue_is_found() {
        let mark = OPEN_ENDS[0];
        let count = |path, text: String| todos(&Source::new(path, &text)).len();
        assert_eq!(count("a.rs", format!("// {mark}: more")), 1);
        assert_eq!(count("a.py", format!("# {mark} more\n")), 1);
        assert_eq!(count("a.rs", format!("// {mark}(#12): more")), 0);
        assert_eq!(count("a.rs", format!("let a = \"{mark}\";")), 0);
    }

    #[test]
    fn a_file_without_a_paragraph_is_found() {
        assert!(first_paragraph(&Source::new("a.rs", "use std::io;")).is_some());
        assert!(first_paragraph(&Source::new("a.rs", "// why\n")).is_some());
        assert_eq!(first_paragraph(&Source::new("a.rs", "//! Why.\n")), None);
    }
}
