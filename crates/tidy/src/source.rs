//! Source files as the rules see them: code, comments and tests told apart, line by line.
//!
//! This is a reader of words, good enough for code that rustfmt has laid out; it does not parse Rust.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The crate whose public items users see. The engine is for the faces.
pub const FACE: &str = "crates/velodrome/src/";

/// A file, with views of it that keep each line in its place.
#[derive(Debug, Clone)]
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Rust: with comments and the insides of literals blanked. Others: all of it.
    pub code: String,
    /// As `code`, and with test items blanked too: what is compiled into the product.
    pub product: String,
    /// Rust: with everything but the comments blanked. Others: all of it.
    pub comments: String,
}

impl Source {
    /// A file of that name and content.
    pub fn new(path: &str, text: &str) -> Source {
        if !path.ends_with(".rs") {
            let text = text.to_owned();
            let (code, product, comments) = (text.clone(), text.clone(), text.clone());
            return Source { path: path.to_owned(), text, code, product, comments };
        }
        let kinds = kinds(text.as_bytes());
        let code = keep(text, &kinds, |kind| kind == Kind::Code);
        let comments = keep(text, &kinds, |kind| kind == Kind::Comment);
        let product = if is_test_file(path) { blank(text) } else { without_tests(&code) };
        Source { path: path.to_owned(), text: text.to_owned(), code, product, comments }
    }

    /// Whether the views are more than copies.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate's folder (`crates/velodrome-engine`) and the path inside it (`src/sys/mod.rs`).
    pub fn in_crate(&self) -> Option<(&str, &str)> {
        let inside = self.path.strip_prefix("crates/")?;
        let slash = inside.find('/')? + "crates/".len();
        Some((&self.path[..slash], &self.path[slash + 1..]))
    }
}

/// Files of Rust and Python that are ours, and the scripts.
pub fn all(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["crates", "python", "tests", "tools", "examples", "benchmarks", ".ci"] {
        let mut paths = files(&root.join(folder))?;
        paths.sort();
        for path in paths {
            // What is not UTF-8 is no source.
            if let (Ok(text), Ok(inside)) = (fs::read_to_string(&path), path.strip_prefix(root)) {
                sources.push(Source::new(&inside.to_string_lossy().replace('\\', "/"), &text));
            }
        }
    }
    Ok(sources)
}

/// The files below a folder, as far as they are read by these rules.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "results", "__pycache__"].contains(&name.as_str()) {
                found.extend(files(&path)?);
            }
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "py" | "pyi" | "c") | None)
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// A file under `src` that holds tests only, named for what it tests: `wakeup_model.rs`, `sys/tests.rs`. Besides, all
/// that is not under a crate's `src`.
pub fn is_test_file(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    stem == "tests" || stem.ends_with("_tests") || stem.ends_with("_model") || !path.contains("/src/")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What each byte of a Rust file is. The quotes of a literal count as code, so that something stands there.
fn kinds(text: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let (kind, end) = token(text, at);
        let (from, to) = if kind == Kind::Literal { (at + 1, end - 1) } else { (at, end) };
        kinds[from..to.max(from)].fill(kind);
        at = end;
    }
    kinds
}

/// The kind of what begins at a byte, and where it ends: a comment, a literal, or a bit of code.
fn token(text: &[u8], at: usize) -> (Kind, usize) {
    let rest = &text[at..];
    let in_word = at > 0 && is_word(text[at - 1]);
    if rest.starts_with(b"//") {
        (Kind::Comment, at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()))
    } else if rest.starts_with(b"/*") {
        (Kind::Comment, at + block_comment(rest))
    } else if rest[0] == b'"' {
        (Kind::Literal, at + quoted(rest, b'"'))
    } else if let Some(length) = (!in_word).then(|| raw_string(rest)).flatten() {
        (Kind::Literal, at + length)
    } else if rest[0] == b'\'' && is_char(rest) {
        (Kind::Literal, at + quoted(rest, b'\''))
    } else {
        (Kind::Code, at + 1)
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; none for anything else.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let after_prefix = [&b"r"[..], b"br", b"cr"].iter().find_map(|p| rest.strip_prefix(*p))?;
    let hashes = after_prefix.iter().take_while(|&&b| b == b'#').count();
    let body = after_prefix[hashes..].strip_prefix(b"\"")?;
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let length = body.windows(end.len()).position(|w| w == end).unwrap_or(body.len());
    Some((rest.len() - body.len() + length + end.len()).min(rest.len()))
}

/// A character, not a lifetime.
fn is_char(rest: &[u8]) -> bool {
    match rest.get(1) {
        None => false,
        Some(b'\\') => true,
        Some(&first) => {
            let length =
                if first < 0x80 { 1 } else { 4 - usize::from(first < 0xF0) - usize::from(first < 0xE0) };
            rest.get(1 + length) == Some(&b'\'')
        }
    }
}

fn keep(text: &str, kinds: &[Kind], wanted: impl Fn(Kind) -> bool) -> String {
    let bytes = text.bytes().zip(kinds).map(|(b, &kind)| if b == b'\n' || wanted(kind) { b } else { b' ' });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// Code without the items under an attribute that says `test`.
fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    let mut from = 0;
    while let Some(found) = left[from..].find("#[cfg(").map(|at| from + at) {
        let line = left[found..].lines().next().unwrap_or("");
        let end = if is_for_tests(line) { item_end(&left, found) } else { found + 1 };
        if is_for_tests(line) {
            let blanked = blank(&left[found..end]);
            left.replace_range(found..end, &blanked);
        }
        from = end;
    }
    left
}

/// Whether an attribute says that what follows is compiled for tests only.
pub fn is_for_tests(attribute: &str) -> bool {
    words(attribute).any(|(_, word)| word == "test" || word == "doctest") && !attribute.contains("not(")
}

/// Where the item that begins (with its attributes) at a byte ends: behind its `;` or its closing brace.
pub fn item_end(code: &str, at: usize) -> usize {
    match code[at..].find([';', '{']).map(|found| at + found) {
        Some(brace) if code[brace..].starts_with('{') => closing_brace(code, brace) + 1,
        Some(semicolon) => semicolon + 1,
        None => code.len(),
    }
}

/// The brace that closes the one at a byte, or the last byte.
pub fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

/// The words of a text (letters, digits, underscores), each with the byte at which it begins.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter_map(move |word| {
        let begin = at;
        at = begin + word.len() + text[begin + word.len()..].chars().next().map_or(0, char::len_utf8);
        (!word.is_empty()).then_some((begin, word))
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The lines of documentation and attributes right above an item, from below and without margins, out of all that is
/// above it.
pub fn said_above<'a>(above: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let lines = above.iter().rev().map(|line| line.trim());
    lines.take_while(|line| line.starts_with("///") || line.starts_with("#["))
}

/// The line, counted from 1, in which a byte is.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|&b| b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("crates/x/src/a.rs", text).code
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code(r#"f("x // \" y") // z"#), r#"f("         ")     "#);
        assert_eq!(code(r##"r#"a " b"# c"##), r##"r        # c"##);
        assert_eq!(code("'a' '\\'' '—' 'static x"), "' ' '  ' '   ' 'static x");
        assert_eq!(code("for_r\"a\""), "for_r\" \"");
    }

    #[test]
    fn comments_alone() {
        let source = Source::new("crates/x/src/a.rs", "a(); // say\nb(\"// no\");");
        assert_eq!(source.comments.trim_end(), "     // say");
    }

    #[test]
    fn tests_are_no_product() {
        let source = Source::new(
            "crates/x/src/a.rs",
            "fn a() {}\n#[cfg(test)]\n#[path = \"m.rs\"]\nmod model;\nfn b() {}\n#[cfg(all(loom, test))]\nmod t {\n fn c() {}\n}\n#[cfg(not(test))]\nfn d() {}\n",
        );
        let product = source.product;
        assert!(product.contains("fn a") && product.contains("fn b") && product.contains("fn d"));
        assert!(!product.contains("fn c") && !product.contains("model"));
        assert_eq!(product.lines().count(), source.text.lines().count());
    }

    #[test]
    fn words_know_where_they_are() {
        assert_eq!(words("a—b_1 (c)").collect::<Vec<_>>(), [(0, "a"), (4, "b_1"), (9, "c")]);
    }
}
