//! How long a file and a function may be, and how long they are in the middle.

use crate::Finding;
use crate::source::{Source, closing_brace, line_of, words};

/// Lines of a file, its tests not counted.
pub const FILE: usize = 600;
/// Lines of code in a function (clippy's `too_many_lines` counts alike).
pub const FUNCTION: usize = 60;
/// Lines of code in a crate's median function.
pub const MEDIAN: usize = 6;

/// A file that is too long.
pub fn file(source: &Source) -> Option<Finding> {
    let text = if source.is_rust() { &source.product } else { &source.text };
    let lines = text.trim_end().lines().count();
    // Tests are as long as what they test, stubs as what they describe.
    let exempt = source.path.starts_with("tests/") || source.path.ends_with(".pyi");
    (lines > FILE && !exempt).then(|| {
        Finding::new(&source.path, 0, format!("{lines} lines, {FILE} at most: split it by phase or object"))
    })
}

/// Functions that are too long, tests included.
pub fn functions(source: &Source) -> Vec<Finding> {
    lengths(&source.code)
        .into_iter()
        .filter(|(_, _, length)| *length > FUNCTION)
        .map(|(line, name, length)| {
            Finding::new(&source.path, line, format!("`{name}` has {length} lines, {FUNCTION} at most"))
        })
        .collect()
}

/// The median length of a crate's functions, tests not counted; none where there are no functions.
pub fn median(sources: &[Source], of: &str) -> Option<usize> {
    let mine = sources.iter().filter(|s| s.in_crate().is_some_and(|(folder, _)| folder == of));
    let mut all: Vec<usize> = mine.flat_map(|s| lengths(&s.product)).map(|(_, _, length)| length).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Each function's line, name and number of lines with code in its body.
fn lengths(code: &str) -> Vec<(usize, &str, usize)> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let mut found = Vec::new();
    for pair in all.windows(2) {
        let [(at, "fn"), (name_at, name)] = *pair else { continue };
        if code[at + 2..name_at].trim().is_empty()
            && let Some(open) = body(code, name_at)
        {
            let inside = &code[open + 1..closing_brace(code, open)];
            let length = inside.lines().filter(|line| !line.trim().is_empty()).count();
            found.push((line_of(code, at), name, length));
        }
    }
    found
}

/// The brace that opens a function's body; none for a declaration.
fn body(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/x/src/a.rs", text)
    }

    #[test]
    fn a_file_too_long_is_found() {
        let long = "fn a() {}\n".repeat(FILE + 1);
        assert!(file(&source(&long)).is_some());
        assert!(file(&Source::new("python/a.py", &long)).is_some());
        assert_eq!(file(&source(&"fn a() {}\n".repeat(FILE))), None);
    }

    #[test]
    fn tests_are_not_counted() {
        let tests = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(FILE));
        assert_eq!(file(&source(&tests)), None);
        assert_eq!(file(&Source::new("tests/test_a.py", &"a()\n".repeat(FILE + 1))), None);
    }

    #[test]
    fn a_function_too_long_is_found() {
        let long = |n| format!("fn a(x: [u8; 2]) -> T {{\n{}}}\n", "    b();\n    // why\n".repeat(n));
        assert_eq!(functions(&source(&long(FUNCTION))), []);
        assert_eq!(functions(&source(&long(FUNCTION + 1))).len(), 1);
    }

    #[test]
    fn the_median_is_of_bodies() {
        let text = "trait T { fn no_body(&self); }\nfn a() {}\nfn b() { x }\nfn c() {\n    x;\n\n    y;\n}\ntype F = fn(u8);";
        assert_eq!(lengths(text), [(2, "a", 0), (3, "b", 1), (4, "c", 2)]);
        assert_eq!(median(&[source(text)], "crates/x"), Some(1));
        assert_eq!(median(&[source(text)], "crates/y"), None);
    }
}
