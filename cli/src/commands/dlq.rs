//! `tasker dlq`: dead letters, many at once.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use tasker_shared::wire::{DeadLetterFilter, DeadLettersPurged, DeadLettersRetried, Task, TaskPage};

use super::task::parse_time;
use crate::client::Client;
use crate::output::{Output, print_line, print_table};

/// Longest error text in a table.
const ERROR_CHARS_MAX: usize = 60;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the dead letters, the newest first.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Begin where a page before ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Run dead letters again: all that match.
    Retry(ManyArgs),
    /// Delete dead letters: all that match.
    Purge(ManyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only those of this type.
    #[arg(long)]
    task_name: Option<String>,
    /// Only those of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only those that died for this reason.
    #[arg(long, value_parser = ["exhausted", "failed", "timeout", "crash_loop"])]
    reason: Option<String>,
    /// Only those that died before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    before: Option<DateTime<Utc>>,
}

impl FilterArgs {
    fn into_wire(self) -> DeadLetterFilter {
        DeadLetterFilter {
            task_name: self.task_name,
            queue: self.queue,
            reason: self.reason,
            before: self
                .before
                .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

pub(crate) async fn run(command: DlqCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List {
            filter,
            limit,
            cursor,
        } => list(filter.into_wire(), limit, cursor, client, output).await?,
        DlqCommand::Retry(args) => {
            let answer = many("retry", args, client).await?;
            if output.is_json() {
                print_line(&answer)?;
            } else {
                let done: DeadLettersRetried = client.read(&answer)?;
                print_outcome("RETRIED", [done.matched, done.retried, done.skipped])?;
            }
        }
        DlqCommand::Purge(args) => {
            let answer = many("purge", args, client).await?;
            if output.is_json() {
                print_line(&answer)?;
            } else {
                let done: DeadLettersPurged = client.read(&answer)?;
                print_outcome("PURGED", [done.matched, done.purged, done.skipped])?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    filter: DeadLetterFilter,
    limit: u32,
    cursor: Option<String>,
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let parameters = [
        ("task_name", filter.task_name),
        ("queue", filter.queue),
        ("reason", filter.reason),
        ("before", filter.before),
        ("limit", Some(limit.to_string())),
        ("cursor", cursor),
    ];
    let query: Vec<(&str, &str)> = parameters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let answer = client.get(&["dead-letter"], &query).await?;
    if output.is_json() {
        print_line(&answer)?;
        return Ok(());
    }
    let page: TaskPage = client.read(&answer)?;
    let rows: Vec<_> = page.tasks.iter().map(row).collect();
    print_table(&["TASK", "TYPE", "QUEUE", "REASON", "DIED", "ERROR"], &rows)?;
    if let Some(cursor) = page.next_cursor {
        print_line(&format!("more: --cursor {cursor}"))?;
    }
    Ok(())
}

async fn many(action: &str, args: ManyArgs, client: &Client) -> anyhow::Result<String> {
    let query: &[_] = if args.dry_run { &[("dry_run", "true")] } else { &[] };
    let filter = args.filter.into_wire();
    Ok(client.post_with(&["dead-letter", action], query, &filter).await?)
}

fn print_outcome(done: &str, [matched, count, skipped]: [u64; 3]) -> std::io::Result<()> {
    let row = vec![matched.to_string(), count.to_string(), skipped.to_string()];
    print_table(&["MATCHED", done, "SKIPPED"], &[row])
}

fn row(task: &Task) -> Vec<String> {
    let error = task.error.as_deref().unwrap_or("-");
    vec![
        task.task_id.to_string(),
        task.task_name.clone(),
        task.queue.to_string(),
        task.reason.clone().unwrap_or_else(|| "-".to_owned()),
        task.updated_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        error.chars().take(ERROR_CHARS_MAX).collect(),
    ]
}
