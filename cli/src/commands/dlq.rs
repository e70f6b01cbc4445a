//! `tasker dlq`: lists, retries and purges dead letters in bulk.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::Deserialize;
use tasker_wire::{DeadLetterFilter, DeadLettersPurged, DeadLettersRetried, Task, TaskPage};

use super::values::parse_time;
use crate::output::{Output, print_error, print_line, print_table, usage_error};
use tasker_client::Client;

/// Maximum length of an error text in a table.
const ERROR_CHARS_MAX: usize = 60;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the dead letters, newest first.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Maximum number of dead letters.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Continue after an earlier page, with the cursor that it printed.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Retry the dead letters that match the filter, or --all.
    Retry(ManyArgs),
    /// Delete the dead letters that match the filter, or --all. Asks for confirmation.
    Purge(ManyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All dead letters, without a filter.
    #[arg(long, conflicts_with_all = ["task_name", "queue", "reason", "before"])]
    all: bool,
    /// Only count the matching dead letters.
    #[arg(long)]
    dry_run: bool,
    /// Skip the confirmation, for scripts.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only dead letters of this task type.
    #[arg(long)]
    task_name: Option<String>,
    /// Only dead letters of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only dead letters with this reason.
    #[arg(long, value_parser = ["exhausted", "failed", "timeout", "crash_loop"])]
    reason: Option<String>,
    /// Only tasks dead-lettered before this time (RFC 3339).
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
            all: false,
            dry_run: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.task_name.is_none() && self.queue.is_none() && self.reason.is_none() && self.before.is_none()
    }
}

/// A bulk action on dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Retry,
    Purge,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Purge => "purge",
        }
    }

    fn question(self, count: u64) -> String {
        let letters = if count == 1 { "dead letter" } else { "dead letters" };
        match self {
            Self::Retry => format!("Retry {count} {letters}?"),
            Self::Purge => format!("Permanently delete {count} {letters}?"),
        }
    }
}

/// The reason for rejecting a command line.
#[derive(Debug, PartialEq, Eq)]
enum Rejection {
    /// Neither a filter nor `--all` is given.
    NoFilter,
    /// The action needs a confirmation, but stdin or stderr are not a terminal.
    NoTerminal,
}

impl Rejection {
    fn text(&self, action: Action) -> String {
        let action = action.name();
        match self {
            Self::NoFilter => format!(
                "`dlq {action}` needs --task-name, --queue, --reason or --before, or --all for every dead letter"
            ),
            Self::NoTerminal => {
                format!("`dlq {action}` needs a terminal to ask for confirmation; add --yes to confirm")
            }
        }
    }
}

/// Returns true if `action` needs a confirmation: a purge always does, a retry only with `--all`.
fn asks_first(action: Action, args: &ManyArgs, terminal: bool) -> Result<bool, Rejection> {
    if args.dry_run {
        return Ok(false);
    }
    if args.filter.is_empty() && !args.all {
        return Err(Rejection::NoFilter);
    }
    let asks = !args.yes && (action == Action::Purge || args.all);
    if asks && !terminal {
        return Err(Rejection::NoTerminal);
    }
    Ok(asks)
}

pub(crate) async fn run(command: DlqCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List {
            filter,
            limit,
            cursor,
        } => list(filter.into_wire(), limit, cursor, client, output).await?,
        DlqCommand::Retry(args) => return many(Action::Retry, args, client, output).await,
        DlqCommand::Purge(args) => return many(Action::Purge, args, client, output).await,
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
    let answer = client.get(&["dead-letters"], &query).await?;
    if output.is_json() {
        print_line(&answer)?;
        return Ok(());
    }
    let page: TaskPage = client.read(&answer)?;
    let rows: Vec<_> = page.tasks.iter().map(row).collect();
    print_table(&["TASK", "TYPE", "QUEUE", "REASON", "FAILED AT", "ERROR"], &rows)?;
    if let Some(cursor) = page.next_cursor {
        print_line(&format!("more: --cursor {cursor}"))?;
    }
    Ok(())
}

async fn many(action: Action, args: ManyArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    // stderr shows the question and stdin has the reply; stdout may be a pipe
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    let asks = match asks_first(action, &args, terminal) {
        Ok(asks) => asks,
        Err(rejection) => return Ok(usage_error(&rejection.text(action))),
    };
    let dry_run = args.dry_run;
    let mut filter = args.filter.into_wire();
    filter.all = args.all;
    if asks && !confirmed(action, &filter, client).await? {
        print_error(&anyhow::Error::msg("aborted; no dead letters were changed"));
        return Ok(ExitCode::FAILURE);
    }
    let answer = send(action, &filter, dry_run, client).await?;
    if output.is_json() {
        print_line(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    match action {
        Action::Retry => {
            let done: DeadLettersRetried = client.read(&answer)?;
            print_outcome("RETRIED", [done.matched, done.retried, done.skipped])?;
        }
        Action::Purge => {
            let done: DeadLettersPurged = client.read(&answer)?;
            print_outcome("PURGED", [done.matched, done.purged, done.skipped])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts the matching dead letters and asks for confirmation on the terminal.
async fn confirmed(action: Action, filter: &DeadLetterFilter, client: &Client) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Counted {
        matched: u64,
    }
    // an estimate: the action evaluates the filter again
    let answer = send(action, filter, true, client).await?;
    let Counted { matched } = client.read(&answer)?;
    let mut stderr = io::stderr();
    write!(stderr, "{} [y/N] ", action.question(matched))?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("cannot read the confirmation")?;
    Ok(is_yes(&line))
}

fn is_yes(line: &str) -> bool {
    // the end of stdin and an empty line mean no
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

async fn send(
    action: Action,
    filter: &DeadLetterFilter,
    dry_run: bool,
    client: &Client,
) -> anyhow::Result<String> {
    let query: &[_] = if dry_run { &[("dry_run", "true")] } else { &[] };
    Ok(client
        .post_with(&["dead-letters", action.name()], query, filter)
        .await?)
}

fn print_outcome(done: &str, [matched, count, skipped]: [u64; 3]) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(filter: bool, all: bool, yes: bool) -> ManyArgs {
        ManyArgs {
            filter: FilterArgs {
                task_name: filter.then(|| "echo".to_owned()),
                queue: None,
                reason: None,
                before: None,
            },
            all,
            dry_run: false,
            yes,
        }
    }

    #[test]
    fn every_dead_letter_is_meant_only_where_it_is_said() {
        for action in [Action::Retry, Action::Purge] {
            for yes in [false, true] {
                assert_eq!(
                    asks_first(action, &args(false, false, yes), true),
                    Err(Rejection::NoFilter)
                );
            }
            let mut counts = args(false, false, false);
            counts.dry_run = true;
            assert_eq!(asks_first(action, &counts, false), Ok(false));
        }
    }

    #[test]
    fn a_purge_asks_always_and_a_retry_only_for_all() {
        for (action, filter, all, asks) in [
            (Action::Purge, true, false, true),
            (Action::Purge, false, true, true),
            (Action::Retry, true, false, false),
            (Action::Retry, false, true, true),
        ] {
            assert_eq!(asks_first(action, &args(filter, all, false), true), Ok(asks));
            assert_eq!(asks_first(action, &args(filter, all, true), false), Ok(false));
            let without_terminal = asks_first(action, &args(filter, all, false), false);
            assert_eq!(
                without_terminal,
                if asks {
                    Err(Rejection::NoTerminal)
                } else {
                    Ok(false)
                }
            );
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (line, yes) in [
            ("y\n", true),
            (" Yes \n", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
            ("yep\n", false),
        ] {
            assert_eq!(is_yes(line), yes, "{line:?}");
        }
    }
}
