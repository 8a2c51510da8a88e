//! Every public future of the Rust face says what becomes of it when it is dropped before it is done: `**Cancel safety**`.
//! The way to a `select!` or a time-out is dropping, and only its author knows what is lost by that.

use std::collections::BTreeSet;

use crate::Finding;
use crate::source::{FACE, Source, said_above, words};

const SAYS: &str = "/// **Cancel safety**: ";

/// Public functions that are async, or return a future of the face's own or an `impl Future`, without a word about it in
/// their documentation or their future's.
pub fn missing(sources: &[Source]) -> Vec<Finding> {
    let face = || sources.iter().filter(|source| source.path.starts_with(FACE));
    let futures: BTreeSet<&str> = face().flat_map(|source| futures(&source.product)).collect();
    let told: BTreeSet<&str> = face().flat_map(told).collect();
    let silent = |signature: &str| {
        let result = result(signature);
        signature.contains("async fn")
            || ((result == "Future" || futures.contains(result)) && !told.contains(result))
    };
    let mut findings = Vec::new();
    for source in face() {
        let text: Vec<&str> = source.text.lines().collect();
        for (at, signature) in signatures(&source.product) {
            if silent(&signature) && !says(&text[..at]) {
                findings.push(Finding::new(
                    &source.path,
                    at + 1,
                    "a public future needs a line **Cancel safety**: …",
                ));
            }
        }
    }
    findings
}

/// What `Future` is implemented for.
fn futures(product: &str) -> impl Iterator<Item = &str> {
    product
        .lines()
        .filter(|line| line.starts_with("impl"))
        .filter_map(|line| head(line.split_once(" Future for ")?.1))
}

/// Public types whose documentation has the line.
fn told(source: &Source) -> Vec<&str> {
    let text: Vec<&str> = source.text.lines().collect();
    let types =
        text.iter().enumerate().filter_map(|(at, line)| Some((at, head(line.strip_prefix("pub struct ")?)?)));
    types.filter(|(at, _)| says(&text[..*at])).map(|(_, name)| name).collect()
}

/// Public functions and methods: the line in which each begins, counted from 0, and its signature in one line.
fn signatures(product: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = product.lines().collect();
    let begins = |line: &str| {
        let item = line.trim_start();
        line.len() - item.len() <= 4 && ["pub fn ", "pub async fn "].iter().any(|kind| item.starts_with(kind))
    };
    let whole = |at: usize| {
        let end = lines[at..]
            .iter()
            .position(|line| line.contains(['{', ';']))
            .map_or(lines.len(), |end| at + end + 1);
        lines[at..end].join(" ")
    };
    (0..lines.len()).filter(|at| begins(lines[*at])).map(|at| (at, whole(at))).collect()
}

/// The name of what a function returns, without its path and parameters.
fn result(signature: &str) -> &str {
    let result = signature.rsplit_once(") -> ").map_or("", |(_, result)| result);
    let result = result.strip_prefix("impl ").unwrap_or(result);
    result.split(['<', ' ']).next().and_then(|path| path.rsplit("::").next()).unwrap_or("")
}

fn head(text: &str) -> Option<&str> {
    words(text).next().map(|(_, word)| word)
}

/// Whether the comment right above has the line.
fn says(above: &[&str]) -> bool {
    said_above(above).any(|line| line.starts_with(SAYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(text: &str) -> Vec<usize> {
        let source = Source::new("crates/velodrome/src/a.rs", text);
        missing(&[source]).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_async_function_that_says_nothing_is_found() {
        assert_eq!(lines("/// A.\npub async fn a() {\n}\n"), [2]);
        assert_eq!(
            lines(
                "impl A {\n    /// A.\n    #[must_use]\n    pub async fn a(\n        &self,\n    ) -> u8 {\n"
            ),
            [4]
        );
        assert_eq!(
            lines("/// A.\n///\n/// **Cancel safety**: none.\n#[must_use]\npub async fn a() {\n}\n"),
            []
        );
        assert_eq!(lines("/// Safe to give up.\npub async fn a() {\n}\n"), [2]);
    }

    #[test]
    fn so_is_one_that_returns_a_future() {
        assert_eq!(lines("pub fn a() -> impl Future<Output = ()> {\n}\n"), [1]);
        let of_type =
            "pub fn a<'a>(\n    &'a self,\n) -> b::Nap<'a> {\n}\nimpl<'a> Future for Nap<'a> {\n}\n";
        assert_eq!(lines(of_type), [1]);
        assert_eq!(lines(&of_type.replace("pub fn", "/// **Cancel safety**: any time.\npub fn")), []);
    }

    #[test]
    fn its_type_may_say_it() {
        let text = "/// **Cancel safety**: any time.\npub struct Nap<'a>(&'a u8);\nimpl Future for Nap<'_> {\n}\npub fn a(&self) -> Nap<'_> {\n}\n";
        assert_eq!(lines(text), []);
        assert_eq!(lines(&text.replace("**Cancel safety**", "Words")), [5]);
    }

    #[test]
    fn others_need_none() {
        assert_eq!(lines("pub fn a() -> u8 {\n}\npub(crate) async fn b() {\n}\nasync fn c() {\n}\n"), []);
        assert_eq!(lines("#[cfg(test)]\nmod tests {\n    pub async fn a() {\n    }\n}\n"), []);
        assert_eq!(
            missing(&[Source::new("crates/velodrome-engine/src/a.rs", "pub async fn a() {\n}\n")]),
            []
        );
    }
}
