//! `./dev chaos`: a long chaos run with private instances of Postgres and Redis, which must be installed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tasker_e2e::chaos::{self, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Runs servers, workers, Postgres and Redis under random faults, and checks that every task completes
/// exactly once
#[derive(Debug, Parser)]
struct Arguments {
    /// Minutes of fault injection
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Seed of the random faults; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for the logs of a failed run, which go to a subfolder named after its seed
    #[arg(long, default_value = ".")]
    logs: PathBuf,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments
        .seed
        .unwrap_or_else(|| rand::random::<u64>() % 1_000_000);
    let settings = Settings {
        seed,
        length: Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0),
        logs: arguments.logs.join(format!("chaos-{seed}")),
    };
    println!(
        "chaos with seed {seed} for {:?}; logs of a failure: {}",
        settings.length,
        settings.logs.display()
    );
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be listened to");
    // on a signal the run is dropped, which stops its processes
    let report = tokio::select! {
        report = chaos::run(&settings) => report,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = terminated.recv() => return ExitCode::from(143),
    };
    println!("{report}");
    if report.violations.is_empty() {
        println!("clean: seed {seed}, {:?}", settings.length);
        return ExitCode::SUCCESS;
    }
    println!("NOT clean: seed {seed}; logs are in {}", settings.logs.display());
    ExitCode::FAILURE
}
