//! The stack's Python packages, in a virtual environment of their own.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::lines::progress;

const REQUIREMENTS: &str = include_str!("../../rq/requirements.txt");
/// In the environment, once all is installed: what was.
const MARK: &str = "installed-requirements.txt";

/// Makes the environment in `folder`, unless it is there with just these packages.
pub(super) async fn ensure(folder: &Path) -> anyhow::Result<()> {
    let mark = folder.join(MARK);
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(());
    }
    progress(&format!("  installing Python packages into {}", folder.display()));
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    run(venv).await.context(
        "cannot make a virtual environment: Python 3 with its module venv is needed (Debian: apt-get install python3-venv)",
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
    // python tells on either
    let said = [output.stdout, output.stderr].concat();
    bail!("{}", String::from_utf8_lossy(&said).trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_environment_that_is_complete_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(MARK), REQUIREMENTS).expect("written");
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
