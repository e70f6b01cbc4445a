//! `tasker-bench`: runs benchmark scenarios against Tasker binaries that it starts itself, each with its own
//! database and Redis key prefix.
//!
//! - `arguments`: the list of scenarios; `run`: their order.
//! - `scenarios`: one measurement each; `baseline`: bare SQL and Redis commands; `comparison`: another stack.
//! - `environment`, `system`, `process`: the running system; `driver`: the load.
//! - `rows`, `usage`: sources of the figures; `figures`, `stats`, `report`: their evaluation.

mod arguments;
mod baseline;
mod comparison;
mod driver;
mod environment;
mod figures;
mod machine;
mod process;
mod progress;
mod report;
mod rows;
mod run;
mod scenarios;
mod stats;
mod system;
mod usage;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use environment::Environment;
use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tasker-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    let env = Environment::new(arguments).await?;
    // on a signal the run is dropped, which stops its processes
    let report = tokio::select! {
        report = run::run(&env) => report,
        _ = tokio::signal::ctrl_c() => return stopped(&env, 130).await,
        _ = terminated.recv() => return stopped(&env, 143).await,
    };
    // before `?`: a failed run leaves databases and keys behind
    env.clean().await?;
    let report = report?;
    print(&report, env.arguments.json)?;
    Ok(if report.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn stopped(env: &Environment, code: u8) -> anyhow::Result<ExitCode> {
    progress::progress("stopped");
    env.clean().await?;
    Ok(ExitCode::from(code))
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { report.json()? } else { report.text() };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.trim_end().as_bytes())?;
    Ok(stdout.write_all(b"\n")?)
}
