//! Runs the scenarios in rounds. Each round measures every scenario once, so that compared figures were
//! measured close together in time.

use crate::arguments::Scenario;
use crate::environment::Environment;
use crate::figures::{Figure, compared};
use crate::machine::Facts;
use crate::progress::progress;
use crate::report::{Failure, Report, rows};
use crate::scenarios;
use crate::usage::MachineTime;

/// Measures the planned scenarios. One that fails is not measured in later rounds; the others are.
pub(crate) async fn run(env: &Environment) -> anyhow::Result<Report> {
    let plan = env.arguments.plan();
    let redis = env.redis_version().await?;
    let mut facts = Facts::gather(&env.arguments, &env.binaries, &env.admin, &redis).await;
    let before = MachineTime::now();
    let mut figures = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for round in 1..=env.arguments.repeat {
        let mut measured: Vec<Figure> = Vec::new();
        for scenario in &plan {
            let name = scenario.name();
            let failed = failures.iter().any(|failure| failure.line == name);
            if failed || (scenario.is_long() && round > 1) {
                continue;
            }
            progress(&format!("round {round} of {}: {name}", env.arguments.repeat));
            match scenarios::measure(*scenario, env, &measured).await {
                Ok(found) => measured.extend(found),
                Err(error) => failures.push(failure(*scenario, &error)),
            }
            // the processes of a failed scenario ended when it was dropped, so its database can be dropped
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

fn failure(scenario: Scenario, error: &anyhow::Error) -> Failure {
    let failure = Failure {
        line: scenario.name(),
        error: format!("{error:#}"),
    };
    progress(&format!("FAILED {}: {}", failure.line, failure.error));
    failure
}
