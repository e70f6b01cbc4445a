//! A long run of chaos, for `./dev chaos`: it needs Postgres and Redis installed and starts instances of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tasker_e2e::chaos::{self, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Runs servers, workers, Postgres and Redis under faults at random, and checks that nothing is lost and nothing is done twice
#[derive(Debug, Parser)]
struct Arguments {
    /// How long faults go on
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Decides the faults; random when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Where the logs of a failed run are kept, in a folder named after its seed
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
    // what runs is stopped when the run is dropped
    let report = tokio::select! {
        report = chaos::run(&settings) => report,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = terminated.recv() => return ExitCode::from(143),
    };
    println!("{report}");
    if report.wrongs.is_empty() {
        println!("clean: seed {seed}, {:?}", settings.length);
        return ExitCode::SUCCESS;
    }
    println!("NOT clean: seed {seed}; logs are in {}", settings.logs.display());
    ExitCode::FAILURE
}
