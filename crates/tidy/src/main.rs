//! Prints all that breaks a rule of the house, and how long the functions are: `cargo run -p velodrome-tidy`.

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use velodrome_tidy::{budgets, check, giving_up, layers, source};

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = source::all(&root)?;
    let mut findings: Vec<_> = sources.iter().flat_map(check).collect();
    findings.extend(layers::check(&sources));
    findings.extend(giving_up::missing(&sources));
    for finding in &findings {
        println!("{finding}");
    }
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = format!("crates/{}", entry?.file_name().to_string_lossy());
        if let Some(median) = budgets::median(&sources, &folder) {
            println!("{folder}: the median function has {median} lines");
        }
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
