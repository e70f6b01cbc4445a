//! Layers keep heavy crates out, indirect dependencies included, as `cargo tree` shows them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::finding::Finding;
use crate::packages::Package;

const RULE: &str = "layers";

/// The crates that a package must not depend on, with their families: `sqlx` stands for `sqlx-core` too.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("tasker-core", &["tokio", "sqlx", "redis", "axum"]),
    ("tasker-workflow", &["tokio", "sqlx", "redis", "axum"]),
    ("tasker-wire", &["sqlx", "redis", "opentelemetry"]),
    ("tasker-cli", &["sqlx", "redis", "opentelemetry"]),
    // the dependencies of the built-in tasks alone
    (
        "tasker-worker",
        &["tasker-builtin", "mimalloc", "brotli", "async-compression"],
    ),
];

/// Returns a finding for each forbidden crate below a package.
pub(crate) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Finding>, String> {
    // All at once: each takes some tenths of a second, mostly in reading the registry's index.
    let started: Vec<(&str, &[&str], Child)> = FORBIDDEN
        .iter()
        .map(|&(package, forbidden)| Ok((package, forbidden, start(root, package)?)))
        .collect::<Result<_, String>>()?;
    let mut findings = Vec::new();
    for (package, forbidden, child) in started {
        let output = child
            .wait_with_output()
            .map_err(|error| format!("cargo tree: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo tree -p {package}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        let folder = packages
            .iter()
            .find(|other| other.name == package)
            .map_or("", |package| &package.folder);
        findings.extend(found(
            package,
            folder,
            forbidden,
            &String::from_utf8_lossy(&output.stdout),
        ));
    }
    Ok(findings)
}

fn start(root: &Path, package: &str) -> Result<Child, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "tree",
        "-p",
        package,
        "-e",
        "normal",
        "--prefix",
        "none",
        "--offline",
    ]);
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    started.map_err(|error| format!("cargo tree: {error}"))
}

/// Returns the forbidden crates among the lines of `cargo tree`, which begin with a crate's name.
fn found(package: &str, folder: &str, forbidden: &[&str], tree: &str) -> Vec<Finding> {
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let is_forbidden = |krate: &str| {
        let rest = |name: &&str| {
            krate
                .strip_prefix(*name)
                .map(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        };
        forbidden.iter().any(|name| rest(name) == Some(true))
    };
    let found = crates.into_iter().filter(|krate| is_forbidden(krate));
    let path = format!("{folder}Cargo.toml");
    found
        .map(|krate| Finding::new(&path, 1, RULE, format!("{package} must not depend on `{krate}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_and_its_parts_are_found() {
        let tree = "tasker-wire v0.1.0 (/x)\nserde v1.0.0\nsqlx-core v0.9.0\nsqlx v0.9.0\nsqlx v0.9.0 (*)\n";
        let texts: Vec<String> = found("tasker-wire", "w/", &["sqlx"], tree)
            .iter()
            .map(Finding::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "w/Cargo.toml:1: layers: tasker-wire must not depend on `sqlx`",
                "w/Cargo.toml:1: layers: tasker-wire must not depend on `sqlx-core`"
            ]
        );
    }

    #[test]
    fn other_crates_are_fine() {
        assert_eq!(
            found(
                "a",
                "a/",
                &["redis", "tokio"],
                "a v0.1.0\nserde v1.0.0\nredistribute v1.0.0\n"
            ),
            []
        );
    }
}
