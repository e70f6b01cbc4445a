//! The command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};
use url::Url;

/// Measures Tasker: starts the binaries with the settings of each line, drives them over HTTP, reads the rows.
///
/// Needs a Postgres whose user may create databases and a Redis, both for itself. Progress goes to stderr, the figures to
/// stdout: the median of all rounds and how far they spread.
#[derive(Debug, Clone, Parser)]
#[command(name = "tasker-bench", version)]
pub(crate) struct Arguments {
    /// What to measure.
    #[arg(value_enum, value_name = "LINE", default_value = "all")]
    pub(crate) lines: Vec<Choice>,
    /// `all` includes the lines that take an hour.
    #[arg(long)]
    pub(crate) long: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// How often each line is measured; the rounds take turns. Long lines are measured once.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// Tasks in a backlog.
    #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) tasks: u64,
    /// Bytes of JSON that each task has for parameters.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(8..=100_000))]
    pub(crate) parameter_bytes: u32,
    /// `drain-deep`: finished rows that the system has gathered before.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) finished: u32,
    /// `drain-deep`: tasks that wait behind those that are measured.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(50_000..))]
    pub(crate) backlog: u32,
    /// `churn`: tasks that go through.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) churn_tasks: u64,
    /// Folder of tasker-server, tasker-worker and tasker; that of this program when not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// Postgres; its user may create databases.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Url,
    /// Redis.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: String,
    /// `rq`: the virtual environment, made when it is not there.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.dev/bench-venv"))]
    pub(crate) venv: PathBuf,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Every line that is not long, but rq
    All,
    /// One worker of 256 slots works off a backlog; beside it the bare statements
    Drain,
    /// The same with 10 slots, half the backlog
    #[value(name = "drain-10")]
    Drain10,
    /// The same with two workers of 256 slots
    #[value(name = "drain-2")]
    Drain2,
    /// The same with four
    #[value(name = "drain-4")]
    Drain4,
    /// Single submits over 256, 32 and 1 connections, no worker
    Submit,
    /// Batches of 1,000, no worker
    Batch,
    /// 64 connections submit and a worker works
    E2e,
    /// Submit to start, 50 a second
    Latency,
    /// Submit to start at half the rate of e2e
    LatencyHalf,
    /// Most memory of server and worker, under e2e and a backlog
    Memory,
    /// What an idle system costs
    Idle,
    /// Spawn to ready
    Start,
    /// The bare statements, without the product
    Sketch,
    /// Long: a backlog and a history of millions
    DrainDeep,
    /// Long: 20 million tasks through
    Churn,
    /// The stack of fastapi, rq and Postgres; needs Python
    Rq,
}

impl Choice {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Whether it takes so long that it is measured once, and only when asked for.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::DrainDeep | Self::Churn)
    }

    /// The line whose figures it is compared with.
    fn needs(self) -> Option<Self> {
        match self {
            Self::Drain => Some(Self::Sketch),
            Self::Drain10 | Self::Drain2 | Self::Drain4 => Some(Self::Drain),
            Self::LatencyHalf => Some(Self::E2e),
            _ => None,
        }
    }
}

impl Arguments {
    /// The lines to measure, in the order in which they are measured: what a line is compared with comes before it.
    pub(crate) fn plan(&self) -> Vec<Choice> {
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        for choice in &self.lines {
            match choice {
                Choice::All => wanted.extend(ORDER.iter().enumerate().filter_map(|(at, line)| {
                    let part = *line != Choice::Rq && (self.long || !line.is_long());
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

/// Every line after what it needs.
const ORDER: [Choice; 16] = [
    Choice::Start,
    Choice::Idle,
    Choice::Sketch,
    Choice::Drain,
    Choice::Drain10,
    Choice::Drain2,
    Choice::Drain4,
    Choice::Submit,
    Choice::Batch,
    Choice::E2e,
    Choice::Latency,
    Choice::LatencyHalf,
    Choice::Memory,
    Choice::Rq,
    Choice::DrainDeep,
    Choice::Churn,
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
        arguments.plan().into_iter().map(Choice::name).collect()
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
        let lines = Choice::value_variants()
            .iter()
            .filter(|choice| **choice != Choice::All);
        assert!(lines.clone().all(|line| ORDER.contains(line)));
        assert_eq!(lines.count(), ORDER.len());
    }
}
