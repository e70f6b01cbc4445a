//! `tasker queue`: look at the queues.

use std::process::ExitCode;

use clap::Subcommand;
use tasker_shared::wire::{QueueInfo, Queues};

use crate::client::Client;
use crate::output::{Output, print_line, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the queues with what waits and runs in them.
    List,
}

pub(crate) async fn run(command: QueueCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let QueueCommand::List = command;
    let answer = client.get(&["queues"], &[]).await?;
    if output.is_json() {
        print_line(&answer)?;
    } else {
        print(&client.read::<Queues>(&answer)?.queues)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the queues as a table.
pub(super) fn print(queues: &[QueueInfo]) -> std::io::Result<()> {
    let heads = [
        "QUEUE", "DEPTH", "PENDING", "RUNNING", "OLDEST", "PAUSED", "WORKERS",
    ];
    let rows: Vec<_> = queues.iter().map(row).collect();
    print_table(&heads, &rows)
}

fn row(queue: &QueueInfo) -> Vec<String> {
    vec![
        queue.name.to_string(),
        queue
            .depth
            .map_or_else(|| "?".to_owned(), |depth| depth.to_string()),
        queue.pending.to_string(),
        queue.running.to_string(),
        queue
            .oldest_age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{age:.1}s")),
        if queue.paused { "yes" } else { "no" }.to_owned(),
        queue.workers.to_string(),
    ]
}
