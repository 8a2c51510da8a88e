//! The repository held against the rules, one test for each kind, so that the name of what fails says where to look.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what these tests cannot read fails them")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use velodrome_tidy::source::{self, Source};
use velodrome_tidy::{
    Finding, budgets, built_with, dependencies, documents, examples, giving_up, layers, names, platforms,
    remarks, unsafe_code,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<Source> {
    let sources = source::all(&root()).unwrap();
    assert!(sources.len() > 50, "only {} files found: is this the repository?", sources.len());
    sources
}

fn rust() -> Vec<Source> {
    sources().into_iter().filter(Source::is_rust).collect()
}

#[track_caller]
fn none(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn layers_point_down() {
    none(layers::check(&sources()));
}

#[test]
fn the_engine_knows_no_python_and_no_future() {
    let mut findings = dependencies::of_engine(&read("Cargo.lock"));
    findings.extend(dependencies::engine_manifest(&read("crates/velodrome-engine/Cargo.toml")));
    findings.extend(rust().iter().flat_map(dependencies::futures));
    none(findings);
}

#[test]
fn files_and_functions_keep_their_budget() {
    let sources = sources();
    let files = sources.iter().filter_map(budgets::file);
    none(files.chain(rust().iter().flat_map(budgets::functions)));
}

#[test]
fn the_median_function_is_short() {
    let sources = sources();
    for folder in ["crates/velodrome-engine", "crates/velodrome", "crates/velodrome-python"] {
        let median = budgets::median(&sources, folder).unwrap_or_else(|| panic!("no functions in {folder}"));
        assert!(median <= budgets::MEDIAN, "{folder}: the median function has {median} lines");
    }
}

#[test]
fn names_say_something() {
    let sources = sources();
    let files = sources.iter().flat_map(|source| names::file(&source.path));
    none(files.chain(rust().iter().flat_map(names::modules_and_globs)));
}

#[test]
fn what_is_public_is_shown() {
    none(rust().iter().flat_map(examples::missing));
}

#[test]
fn futures_say_what_is_lost_when_they_are_dropped() {
    none(giving_up::missing(&sources()));
}

#[test]
fn one_place_decides_about_platforms() {
    none(rust().iter().flat_map(platforms::cfgs));
}

#[test]
fn files_begin_with_a_paragraph() {
    none(rust().iter().filter_map(remarks::first_paragraph));
}

#[test]
fn open_ends_have_an_issue() {
    none(sources().iter().flat_map(remarks::todos));
}

#[test]
fn unsafe_is_in_its_places_and_argued() {
    none(rust().iter().flat_map(unsafe_code::places));
}

/// What the Rust face is built with, as cargo has it: the lock file knows neither features nor platforms.
fn tree(features: &str) -> String {
    let linux = ["--target", "x86_64-unknown-linux-gnu"];
    let what =
        ["tree", "--locked", "-p", "velodrome", "-e", "normal", "--prefix", "none", "--features", features];
    let done = Command::new(env!("CARGO")).args(what).args(linux).current_dir(root()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_readme_says_what_the_rust_face_is_built_with() {
    let (readme, plain) = (read(built_with::README), tree(""));
    let always = built_with::crates(&plain);
    let mut findings = built_with::always(&readme, &always);
    for feature in ["portable", "futures-io", "tokio", "hyper", "tls"] {
        let with = tree(feature);
        findings.extend(built_with::feature(&readme, feature, &(&built_with::crates(&with) - &always)));
    }
    findings.extend(built_with::for_tests(&readme, &read("crates/velodrome/Cargo.toml")));
    none(findings);
}

#[test]
fn links_lead_somewhere() {
    for path in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", built_with::README] {
        none(documents::links(&root(), path, &read(path)));
    }
}
