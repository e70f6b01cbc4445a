//! The load driver: runs `tasker bench`, the tool that users measure with.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::environment::Environment;

/// One row of `tasker bench --json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) tasks: u64,
    pub(crate) refused: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// Runs `tasker bench` against `url`; fails if any request was rejected, since the rate would then be wrong.
pub(crate) async fn bench(
    env: &Environment,
    url: &str,
    arguments: &[String],
) -> anyhow::Result<Vec<Measured>> {
    let bytes = env.arguments.parameter_bytes.to_string();
    let mut command = Command::from(env.program("tasker"));
    command
        .args(["--url", url, "--json", "bench"])
        .args(arguments)
        .args(["--parameter-bytes", &bytes])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.context("cannot start tasker")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "tasker bench {}: {}",
            arguments.join(" "),
            said.lines().next_back().unwrap_or("failed")
        );
    }
    let measured: Vec<Measured> = serde_json::from_slice(&output.stdout)
        .context("the output of tasker bench is not the expected JSON")?;
    for line in &measured {
        ensure!(
            line.refused == 0,
            "{}: {} requests were rejected",
            line.name,
            line.refused
        );
    }
    Ok(measured)
}

/// Measures single submits over each number of connections in turn, bounded by `seconds` and `tasks`.
pub(crate) async fn submit(
    env: &Environment,
    url: &str,
    connections: &[u32],
    seconds: u64,
    tasks: u64,
) -> anyhow::Result<Vec<Measured>> {
    let connections: Vec<String> = connections.iter().map(ToString::to_string).collect();
    let arguments = [
        "submit".to_owned(),
        "--no-hold".to_owned(),
        format!("--connections={}", connections.join(",")),
        format!("--seconds={seconds}"),
        format!("--tasks={tasks}"),
    ];
    bench(env, url, &arguments).await
}

/// Submits at least `tasks` tasks in batches over one connection.
pub(crate) async fn batch(env: &Environment, url: &str, tasks: u64) -> anyhow::Result<Measured> {
    const BATCH_TASKS: u64 = 1_000;
    let arguments = [
        "batch".to_owned(),
        "--no-hold".to_owned(),
        "--seconds=3600".to_owned(),
        format!("--size={}", tasks.min(BATCH_TASKS)),
        format!("--tasks={tasks}"),
    ];
    let measured = bench(env, url, &arguments).await?;
    measured
        .into_iter()
        .next()
        .context("tasker bench returned no results")
}
