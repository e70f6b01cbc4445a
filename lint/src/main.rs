//! Checks of the sources and documents that no compiler makes; `./dev lint` runs them.
//!
//! Prints a line for each finding, `path:line: rule: text`, and fails if there is one. A rule is a file.

mod circles;
mod dependencies;
mod finding;
mod function_length;
mod layers;
mod numbers;
mod packages;
mod rust;
mod size;
mod texts;
mod tree;
mod words;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use finding::Finding;

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    match run(Path::new("."), &mut out) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(out, "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Checks the checkout at `root` and prints what it finds. Returns the number of findings.
fn run(root: &Path, out: &mut impl Write) -> Result<usize, String> {
    let files = tree::read(root)?;
    let packages = packages::read(&files)?;
    let (numbers, summary) = numbers::check(&files)?;
    let rules: [Vec<Finding>; 7] = std::thread::scope(|scope| {
        let layers = scope.spawn(|| layers::check(root, &packages));
        Ok::<_, String>([
            words::check(&files)?,
            circles::check(&files, &packages, circles::NOT_YET),
            function_length::check(&files),
            size::check(&files),
            numbers,
            dependencies::check(&files, &packages)?,
            layers
                .join()
                .unwrap_or_else(|_| Err("the check of layers panicked".into()))?,
        ])
    })?;
    let mut findings: Vec<Finding> = rules.into_iter().flatten().collect();
    findings.sort();
    print(&findings, &summary, out).map_err(|error| format!("cannot print: {error}"))?;
    Ok(findings.len())
}

fn print(findings: &[Finding], numbers: &[String], out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    for number in numbers {
        writeln!(out, "note: numbers: {number}")?;
    }
    if !circles::NOT_YET.is_empty() {
        writeln!(
            out,
            "note: circle: not yet checked: {}",
            circles::NOT_YET.join(", ")
        )?;
    }
    writeln!(out, "{} findings", findings.len())
}
