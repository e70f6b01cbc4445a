//! The command line of `tasker-bench` and the list of scenarios.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};
use url::Url;

/// Benchmarks Tasker: starts the binaries, applies load over HTTP, and computes the figures from the rows in
/// Postgres.
///
/// Needs a Redis and a Postgres whose user may create databases, both without other load. Progress goes to
/// stderr, the figures to stdout: median, minimum and maximum of all rounds.
#[derive(Debug, Clone, Parser)]
#[command(name = "tasker-bench", version)]
pub(crate) struct Arguments {
    /// Scenarios to measure.
    #[arg(value_enum, value_name = "SCENARIO", default_value = "all")]
    pub(crate) scenarios: Vec<Scenario>,
    /// Include the scenarios that take an hour in `all`.
    #[arg(long)]
    pub(crate) long: bool,
    /// Print the figures as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// Number of rounds; each measures every scenario once. Long scenarios are measured in the first only.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// Number of tasks in a backlog.
    #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) tasks: u64,
    /// Bytes of JSON parameters of each task.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(8..=100_000))]
    pub(crate) parameter_bytes: u32,
    /// `drain-deep`: number of finished tasks in the database.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) finished: u32,
    /// `drain-deep`: number of pending tasks behind the measured ones.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(50_000..))]
    pub(crate) backlog: u32,
    /// `churn`: number of tasks.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) churn_tasks: u64,
    /// Folder of tasker-server, tasker-worker and tasker; by default the folder of this program.
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// URL of Postgres; its user must be allowed to create databases.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Url,
    /// URL of Redis.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: String,
    /// `rq`: folder of the Python virtual environment, created if missing.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.dev/bench-venv"))]
    pub(crate) venv: PathBuf,
}

/// A benchmark scenario, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Every scenario except rq and the long ones
    All,
    /// One worker with 256 slots drains a backlog; compared with the baseline
    Drain,
    /// Drain half the backlog with 10 slots
    #[value(name = "drain-10")]
    Drain10,
    /// Drain with two workers of 256 slots
    #[value(name = "drain-2")]
    Drain2,
    /// Drain with four workers of 256 slots
    #[value(name = "drain-4")]
    Drain4,
    /// Single submits over 256, 32 and 1 connections, without a worker
    Submit,
    /// Batches of 1,000, without a worker
    Batch,
    /// 64 connections submit while a worker runs the tasks
    E2e,
    /// Time from submit to start at 50 submits per second
    Latency,
    /// Time from submit to start at half the rate of e2e
    LatencyHalf,
    /// Workflows: latency of four steps, hand-off, chains, fan-outs and starts
    Workflows,
    /// Peak memory of server and worker, under e2e and a backlog
    Memory,
    /// CPU and Postgres statements of an idle system
    Idle,
    /// Time from process start to ready
    Start,
    /// Baseline: the bare SQL statements and Redis commands, without Tasker
    #[value(name = "sketch")]
    Baseline,
    /// Long: drain with millions of finished and pending tasks in the database
    DrainDeep,
    /// Long: 20 million tasks, to detect growth and slowdown
    Churn,
    /// Comparison: the same tasks with FastAPI, RQ and Postgres; needs Python
    Rq,
}

impl Scenario {
    /// Returns the name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Returns true for scenarios that take about an hour: measured once, and only on request.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::DrainDeep | Self::Churn)
    }

    /// Returns the scenario whose figures this one is compared with.
    fn needs(self) -> Option<Self> {
        match self {
            Self::Drain => Some(Self::Baseline),
            Self::Drain10 | Self::Drain2 | Self::Drain4 => Some(Self::Drain),
            Self::LatencyHalf => Some(Self::E2e),
            _ => None,
        }
    }
}

impl Arguments {
    /// Returns the scenarios to measure in order; each comes after the one it is compared with.
    pub(crate) fn plan(&self) -> Vec<Scenario> {
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        for choice in &self.scenarios {
            match choice {
                Scenario::All => wanted.extend(ORDER.iter().enumerate().filter_map(|(at, line)| {
                    let part = *line != Scenario::Rq && (self.long || !line.is_long());
                    part.then_some(at)
                })),
                choice => {
                    let line = Some(*choice);
                    let with_needs = std::iter::successors(line, |line| line.needs());
                    wanted.extend(with_needs.filter_map(|line| ORDER.iter().position(|at| *at == line)));
                }
            }
        }
        wanted.into_iter().map(|at| ORDER[at]).collect()
    }
}

/// All scenarios, each after the one that it needs.
const ORDER: [Scenario; 17] = [
    Scenario::Start,
    Scenario::Idle,
    Scenario::Baseline,
    Scenario::Drain,
    Scenario::Drain10,
    Scenario::Drain2,
    Scenario::Drain4,
    Scenario::Submit,
    Scenario::Batch,
    Scenario::E2e,
    Scenario::Latency,
    Scenario::LatencyHalf,
    Scenario::Workflows,
    Scenario::Memory,
    Scenario::Rq,
    Scenario::DrainDeep,
    Scenario::Churn,
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn plan(line: &str) -> Vec<String> {
        let urls = ["--database-url=postgres://x/x", "--redis-url=redis://x"];
        let words = std::iter::once("tasker-bench")
            .chain(urls)
            .chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).expect("understood");
        arguments.plan().into_iter().map(Scenario::name).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_a_line_is_compared_with_is_measured_before_it() {
        assert_eq!(plan("drain-4 drain-2"), ["sketch", "drain", "drain-2", "drain-4"]);
        assert_eq!(plan("latency-half"), ["e2e", "latency-half"]);
        for line in ORDER {
            let at = |line| ORDER.iter().position(|other| *other == line);
            assert!(
                line.needs().is_none_or(|needed| at(needed) < at(line)),
                "{line:?}"
            );
        }
    }

    #[test]
    fn all_is_every_line_that_is_not_long() {
        assert_eq!(plan("").len(), ORDER.len() - 3);
        assert_eq!(plan("all rq").len(), ORDER.len() - 2);
        let long = plan("--long");
        assert_eq!(long.len(), ORDER.len() - 1);
        assert_eq!(long.last().map(String::as_str), Some("churn"));
        assert_eq!(plan("churn"), ["churn"]);
    }

    #[test]
    fn every_line_is_in_the_order() {
        let lines = Scenario::value_variants()
            .iter()
            .filter(|choice| **choice != Scenario::All);
        assert!(lines.clone().all(|line| ORDER.contains(line)));
        assert_eq!(lines.count(), ORDER.len());
    }
}
