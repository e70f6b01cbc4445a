//! `tasker-bench`: measures Tasker. It starts the binaries itself, each line on a database and a key prefix of its own.
//!
//! - `arguments`: which lines there are; `run`: in which order.
//! - `lines`: how each is measured; `sketch`: the bare statements beside the product; `peer`: another stack.
//! - `environment`, `system`, `process`: what runs meanwhile; `driver`: the load.
//! - `rows`, `usage`: where figures are read; `figures`, `stats`, `report`: what they come to.

mod arguments;
mod driver;
mod environment;
mod figures;
mod lines;
mod machine;
mod peer;
mod process;
mod report;
mod rows;
mod run;
mod sketch;
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
    // what runs is stopped when the run is dropped
    let report = tokio::select! {
        report = run::run(&env) => report,
        _ = tokio::signal::ctrl_c() => return stopped(&env, 130).await,
        _ = terminated.recv() => return stopped(&env, 143).await,
    };
    // also what an error left behind
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
    lines::progress("stopped");
    env.clean().await?;
    Ok(ExitCode::from(code))
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { report.json()? } else { report.text() };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.trim_end().as_bytes())?;
    Ok(stdout.write_all(b"\n")?)
}
