//! The project's rules as tests: what is written in ARCHITECTURE.md and CONTRIBUTING.md and no compiler checks.
//!
//! Each module is a rule or a few of one kind: a function from source text to findings, with a test that plants a
//! violation and sees it found. `tests/house.rs` holds the repository against them; `cargo run -p velodrome-tidy`
//! prints everything at once, with the medians. It reads words, not syntax: a rule that needs more than words belongs
//! to clippy.

pub mod source;

pub mod budgets;
pub mod built_with;
pub mod dependencies;
pub mod documents;
pub mod examples;
pub mod giving_up;
pub mod layers;
pub mod names;
pub mod platforms;
pub mod remarks;
pub mod unsafe_code;

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From the root of the repository.
    pub path: String,
    /// Counted from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong, as a sentence for whoever wrote it.
    pub what: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// All rules that need one file only, over one file.
pub fn check(source: &source::Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(names::file(&source.path));
    findings.extend(budgets::file(source));
    findings.extend(remarks::todos(source));
    if source.is_rust() {
        findings.extend(names::modules_and_globs(source));
        findings.extend(budgets::functions(source));
        findings.extend(dependencies::futures(source));
        findings.extend(examples::missing(source));
        findings.extend(platforms::cfgs(source));
        findings.extend(remarks::first_paragraph(source));
        findings.extend(unsafe_code::places(source));
    }
    findings
}
