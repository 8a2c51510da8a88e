//! The engine knows no Python and no `Future`: neither by a dependency, nor by a feature, nor by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::layers::ENGINE;
use crate::source::{Source, line_of, words};

const FORBIDDEN: &[&str] = &["pyo3", "pyo3-ffi", "velodrome", "velodrome-python", "futures", "tokio"];

/// What Cargo.lock says that a crate may be built with, by way of others too, tests and other platforms included.
pub fn closure(lock: &str, of: &str) -> BTreeSet<String> {
    let packages = packages(lock);
    let mut reached = BTreeSet::new();
    let mut next = vec![of.to_owned()];
    while let Some(name) = next.pop() {
        for dependency in packages.get(&name).into_iter().flatten() {
            if reached.insert(dependency.clone()) {
                next.push(dependency.clone());
            }
        }
    }
    reached
}

/// Each package's dependencies. Versions of one name are taken together: too much is the safe side here.
fn packages(lock: &str) -> BTreeMap<String, Vec<String>> {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(dependency) = line.strip_prefix(" \"") {
            // "libc" or "libc 0.2.1"
            let first = dependency.split([' ', '"']).next().unwrap_or_default();
            packages.entry(name.to_owned()).or_default().push(first.to_owned());
        }
    }
    packages
}

/// What the engine is built with and must not be.
pub fn of_engine(lock: &str) -> Vec<Finding> {
    if !lock.contains("name = \"velodrome-engine\"") {
        return vec![Finding::new("Cargo.lock", 0, "velodrome-engine is not in it")];
    }
    let reached = closure(lock, "velodrome-engine");
    let bad = FORBIDDEN.iter().filter(|name| reached.contains(**name));
    bad.map(|name| Finding::new("Cargo.lock", 0, format!("velodrome-engine depends on {name}"))).collect()
}

/// A `python` feature, or a dependency by that name, in the engine's manifest.
pub fn engine_manifest(manifest: &str) -> Vec<Finding> {
    let path = format!("{ENGINE}/Cargo.toml");
    let lines = manifest.lines().enumerate();
    lines
        .filter(|(_, line)| ["python", "pyo3"].iter().any(|word| line.trim_start().starts_with(word)))
        .map(|(n, line)| Finding::new(&path, n + 1, format!("no Python in the engine: {line}")))
        .collect()
}

/// `Future`, `async` and `await` in the engine's code: whoever needs those is a face.
pub fn futures(source: &Source) -> Vec<Finding> {
    if !matches!(source.in_crate(), Some((ENGINE, _))) {
        return Vec::new();
    }
    words(&source.product)
        .filter(|(_, word)| ["Future", "async", "await"].contains(word))
        .map(|(at, word)| {
            Finding::new(&source.path, line_of(&source.product, at), format!("`{word}` belongs to a face"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
[[package]]
name = "velodrome-engine"
dependencies = [
 "rustix",
 "odd 0.2.1",
]

[[package]]
name = "odd"
dependencies = [
 "pyo3",
]

[[package]]
name = "rustix"
"#;

    #[test]
    fn a_dependency_by_way_of_another_is_found() {
        assert_eq!(of_engine(LOCK).len(), 1);
        assert_eq!(of_engine(&LOCK.replace(" \"pyo3\",\n", "")), []);
        assert_eq!(of_engine("").len(), 1, "an empty lock file says nothing");
    }

    #[test]
    fn a_python_feature_is_found() {
        assert_eq!(engine_manifest("[features]\npython = []\n").len(), 1);
        assert_eq!(engine_manifest("description = \"knows no python\"\n"), []);
    }

    #[test]
    fn a_future_is_found() {
        let at = |path: &str, text: &str| futures(&Source::new(path, text)).len();
        assert_eq!(at("crates/velodrome-engine/src/hub.rs", "use std::future::Future;"), 1);
        assert_eq!(at("crates/velodrome-engine/src/hub.rs", "// a Future\nfn f() {}"), 0);
        assert_eq!(at("crates/velodrome/src/task.rs", "use std::future::Future;"), 0);
    }
}
