//! `tasker task totals`: counts of submitted and finished tasks by day and type.

use std::process::ExitCode;

use clap::Args;
use tasker_core::task::limits::TOTALS_DAYS;
use tasker_wire::{TaskCounts, Totals};

use crate::output::{Output, print_line, print_table};
use tasker_client::Client;

#[derive(Debug, Args)]
pub(crate) struct TotalsArgs {
    /// Number of days (UTC), including today.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=i64::from(TOTALS_DAYS)))]
    days: i32,
    /// Only tasks of this type.
    #[arg(long)]
    task_name: Option<String>,
    /// Only tasks of this queue.
    #[arg(long)]
    queue: Option<String>,
}

pub(crate) async fn run(args: TotalsArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let days = args.days.to_string();
    let mut query = vec![("days", days.as_str())];
    query.extend(args.task_name.as_deref().map(|name| ("task_name", name)));
    query.extend(args.queue.as_deref().map(|name| ("queue", name)));
    let answer = client.get(&["tasks", "totals"], &query).await?;
    if output.is_json() {
        print_line(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let totals: Totals = client.read(&answer)?;
    let days: Vec<_> = totals
        .days
        .iter()
        .map(|of| row(of.day.to_string(), &of.counts))
        .collect();
    print_table(&heads("DAY (UTC)"), &days)?;
    print_line("")?;
    let types: Vec<_> = totals
        .types
        .iter()
        .map(|of| row(of.task_name.clone(), &of.counts))
        .collect();
    print_table(&heads("TYPE"), &types)?;
    Ok(ExitCode::SUCCESS)
}

fn heads(first: &'static str) -> [&'static str; 8] {
    [
        first,
        "SUBMITTED",
        "COMPLETED",
        "CANCELLED",
        "DEAD LETTERS",
        "RETRIES",
        "RUN AGAIN",
        "PURGED",
    ]
}

fn row(first: String, counts: &TaskCounts) -> Vec<String> {
    let numbers = [
        counts.submitted,
        counts.completed,
        counts.cancelled,
        counts.dead_letter,
        counts.retry_scheduled,
        counts.cancelled_retried + counts.dead_letter_retried,
        counts.purged,
    ];
    std::iter::once(first)
        .chain(numbers.map(|number| number.to_string()))
        .collect()
}
