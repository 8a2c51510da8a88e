//! Every public item of the Rust face shows how it is used: its documentation has an example, which `cargo test` compiles.

use crate::Finding;
use crate::source::{FACE, Source, said_above, words};

const KINDS: &[&str] = &["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

/// Public functions, methods, types, traits, their methods, and macros without an example.
pub fn missing(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(FACE) {
        return Vec::new();
    }
    let (text, product): (Vec<&str>, Vec<&str>) =
        (source.text.lines().collect(), source.product.lines().collect());
    let mut in_trait = false;
    let mut findings = Vec::new();
    for (at, line) in product.iter().enumerate() {
        in_trait = line.starts_with("pub trait ") || (in_trait && *line != "}");
        let exported = line.starts_with("macro_rules! ") && at > 0 && product[at - 1] == "#[macro_export]";
        if (exported || is_public(line, in_trait)) && !is_shown(&text[..at]) {
            findings.push(Finding::new(
                &source.path,
                at + 1,
                "a public item needs an example in its documentation",
            ));
        }
    }
    findings
}

/// What stands at the left margin, and what is a method of that. Deeper are functions' insides, and private modules.
fn is_public(line: &str, in_trait: bool) -> bool {
    let (depth, item) = (line.len() - line.trim_start().len(), line.trim_start());
    if depth > 4 {
        return false;
    }
    let (public, item) = match item.strip_prefix("pub ") {
        Some(item) => (depth == 0 || is_of(item, &["fn"]), item),
        None => (in_trait && depth == 4, item),
    };
    public && is_of(item, KINDS)
}

fn is_of(item: &str, kinds: &[&str]) -> bool {
    let qualified = |word: &&str| !matches!(*word, "async" | "const" | "unsafe");
    let is = |word: &str| kinds.contains(&word);
    let mut words = words(item).map(|(_, word)| word);
    let first = words.next().unwrap_or("");
    // `const fn` is a function, `const NAME` a constant.
    is(first) || (!qualified(&first) && words.find(qualified).is_some_and(is))
}

/// Whether the comment right above has a block of code, or the item is hidden from the documentation.
fn is_shown(above: &[&str]) -> bool {
    let has = |what: &str| said_above(above).any(|line| line.starts_with(what));
    has("/// ```") || has("#[doc(hidden)]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(text: &str) -> Vec<usize> {
        let source = Source::new("crates/velodrome/src/a.rs", text);
        missing(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_item_without_an_example_is_found() {
        assert_eq!(lines("/// Words.\n#[must_use]\npub fn a() {}\n"), [3]);
        assert_eq!(lines("/// Words.\n///\n/// ```\n/// a();\n/// ```\n#[must_use]\npub fn a() {}\n"), []);
        assert_eq!(
            lines("/// A.\npub struct A;\nimpl A {\n    /// B.\n    pub async fn b() {}\n}\n"),
            [2, 5]
        );
        assert_eq!(lines("/// A.\npub const fn a() {}\n/// B.\npub const B: u8 = 1;\n"), [2, 4]);
    }

    #[test]
    fn methods_of_public_traits_count() {
        let text = "/// ```\n/// ```\npub trait A {\n    /// B.\n    fn b();\n    #[doc(hidden)]\n    fn c();\n}\nfn d() {}\n";
        assert_eq!(lines(text), [5]);
    }

    #[test]
    fn what_is_not_public_needs_none() {
        assert_eq!(
            lines("pub(crate) fn a() {}\nfn b() {\n    const C: u8 = 1;\n}\npub use d::e;\npub mod f;\n"),
            []
        );
        assert_eq!(
            lines(
                "mod sealed {\n    pub trait Sealed {}\n}\n#[cfg(test)]\nmod tests {\n    pub fn a() {}\n}\n"
            ),
            []
        );
        assert_eq!(missing(&Source::new("crates/velodrome-engine/src/a.rs", "pub fn a() {}")), []);
    }

    #[test]
    fn an_exported_macro_needs_one() {
        assert_eq!(lines("/// A.\n#[macro_export]\nmacro_rules! a {\n}\n"), [3]);
        assert_eq!(lines("macro_rules! a {\n}\n"), []);
    }
}
