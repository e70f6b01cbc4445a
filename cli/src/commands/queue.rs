//! `tasker queue`: list, declare, pause and resume queues.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use tasker_wire::{QueueInfo, QueueRequest, Queues};

use crate::output::{Output, print_line, print_table};
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the queues with their numbers of pending and running tasks.
    List,
    /// Declare a queue. Every server knows it within two seconds; repeating it has no effect.
    Create {
        /// Name of the queue: 1 to 64 of a-z, 0-9, `_`, `.` and `-`, the first a letter or digit.
        name: String,
    },
    /// Stop claiming tasks from a queue until it is resumed; submits are still accepted.
    Pause {
        /// Name or alias of the queue.
        name: String,
    },
    /// Resume claiming tasks from a paused queue.
    Resume {
        /// Name or alias of the queue.
        name: String,
    },
}

pub(crate) async fn run(command: QueueCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let (answer, one) = match command {
        QueueCommand::List => (client.get(&["queues"], &[]).await?, false),
        QueueCommand::Create { name } => (client.post(&["queues"], &QueueRequest { name }).await?, true),
        QueueCommand::Pause { name } => (act(client, &name, "pause").await?, true),
        QueueCommand::Resume { name } => (act(client, &name, "resume").await?, true),
    };
    if output.is_json() {
        print_line(&answer)?;
    } else if one {
        print(&[client.read::<QueueInfo>(&answer)?])?;
    } else {
        print(&client.read::<Queues>(&answer)?.queues)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(client: &Client, name: &str, action: &str) -> anyhow::Result<String> {
    Ok(client.post(&["queues", name, action], &json!({})).await?)
}

/// Prints `queues` as a table.
pub(super) fn print(queues: &[QueueInfo]) -> std::io::Result<()> {
    let heads = [
        "QUEUE",
        "DEPTH",
        "PENDING",
        "RUNNING",
        "SCHEDULED",
        "RETRY",
        "UNROUTABLE",
        "OLDEST",
        "PAUSED",
        "WORKERS",
    ];
    let rows: Vec<_> = queues.iter().map(row).collect();
    print_table(&heads, &rows)
}

fn row(queue: &QueueInfo) -> Vec<String> {
    // `None` while Redis is unavailable
    let length = |length: Option<u64>| length.map_or_else(|| "?".to_owned(), |length| length.to_string());
    vec![
        queue.name.to_string(),
        length(queue.depth),
        queue.pending.to_string(),
        queue.running.to_string(),
        queue.scheduled.to_string(),
        queue.retry.to_string(),
        length(queue.unroutable),
        queue
            .oldest_age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{age:.1}s")),
        if queue.paused { "yes" } else { "no" }.to_owned(),
        queue.workers.to_string(),
    ]
}
