//! Installs the Python packages of the comparison into a virtual environment.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::progress::progress;

const REQUIREMENTS: &str = include_str!("../../rq/requirements.txt");
/// File in the environment with the installed requirements, written after a complete installation.
const MARKER: &str = "installed-requirements.txt";

/// Creates the environment in `folder`, unless it exists with exactly these packages.
pub(super) async fn ensure(folder: &Path) -> anyhow::Result<()> {
    let mark = folder.join(MARKER);
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(());
    }
    progress(&format!("  installing Python packages into {}", folder.display()));
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    run(venv).await.context(
        "cannot create a virtual environment: Python 3 with its module venv is needed (Debian: apt-get install python3-venv)",
    )?;
    let wanted = folder.join("requirements.txt");
    std::fs::write(&wanted, REQUIREMENTS).with_context(|| format!("cannot write {}", wanted.display()))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(&wanted);
    run(pip).await.context("cannot install the Python packages")?;
    Ok(std::fs::rename(&wanted, &mark)?)
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    // venv and pip write errors to stdout or stderr
    let said = [output.stdout, output.stderr].concat();
    bail!("{}", String::from_utf8_lossy(&said).trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_environment_that_is_complete_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(MARKER), REQUIREMENTS).expect("written");
        ensure(folder.path()).await.expect("nothing to do");
        assert!(!folder.path().join("bin").exists());
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo ensurepip is not available; exit 1"]);
        let error = run(command).await.expect_err("it failed").to_string();
        assert_eq!(error, "ensurepip is not available");
    }

    #[test]
    fn every_package_is_pinned() {
        let packages = REQUIREMENTS.lines().filter(|line| !line.starts_with('#'));
        for package in packages {
            assert!(package.contains("=="), "{package}");
        }
    }
}
