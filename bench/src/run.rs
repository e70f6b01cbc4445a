//! All lines, round by round. A round measures every line once, so that what is compared was measured close together.

use crate::arguments::Choice;
use crate::environment::Environment;
use crate::figures::{Figure, compared};
use crate::lines::{self, progress};
use crate::machine::Facts;
use crate::report::{Failure, Report, rows};
use crate::usage::MachineTime;

/// Measures what the arguments ask for. A line that fails is not measured again; the others are.
pub(crate) async fn run(env: &Environment) -> anyhow::Result<Report> {
    let plan = env.arguments.plan();
    let redis = env.redis_version().await?;
    let mut facts = Facts::gather(&env.arguments, &env.binaries, &env.admin, &redis).await;
    let before = MachineTime::now();
    let mut figures = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for round in 1..=env.arguments.repeat {
        let mut measured: Vec<Figure> = Vec::new();
        for line in &plan {
            let name = line.name();
            let failed = failures.iter().any(|failure| failure.line == name);
            if failed || (line.is_long() && round > 1) {
                continue;
            }
            progress(&format!("round {round} of {}: {name}", env.arguments.repeat));
            match lines::measure(*line, env, &measured).await {
                Ok(found) => measured.extend(found),
                Err(error) => failures.push(failure(*line, &error)),
            }
            // what a line that failed left running has ended by now
            env.clean().await?;
        }
        measured.extend(compared(&measured));
        figures.extend(measured);
    }
    if let (Some(before), Some(now)) = (before, MachineTime::now()) {
        facts.note_stolen(now.stolen_since(before));
    }
    let figures = rows(&plan, &figures);
    Ok(Report {
        facts,
        figures,
        failures,
    })
}

fn failure(line: Choice, error: &anyhow::Error) -> Failure {
    let failure = Failure {
        line: line.name(),
        error: format!("{error:#}"),
    };
    progress(&format!("FAILED {}: {}", failure.line, failure.error));
    failure
}
