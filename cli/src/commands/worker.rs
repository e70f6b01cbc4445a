//! `tasker worker`: the status of services, queues and live workers.

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use tasker_wire::{Queues, Worker, Workers};

use crate::output::{Output, print_line, print_table};
use crate::record::{Record, plain};
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Show the health of Postgres and Redis, the queues, and the live workers.
    Status,
}

#[derive(Debug, Serialize)]
struct Status {
    health: Box<RawValue>,
    queues: Box<RawValue>,
    workers: Box<RawValue>,
}

pub(crate) async fn run(command: WorkerCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let WorkerCommand::Status = command;
    let health = client.get_even_if_unavailable(&["health", "detailed"]).await?;
    let queues = client.get(&["queues"], &[]).await?;
    let workers = client.get(&["workers"], &[]).await?;
    if output.is_json() {
        let status = Status {
            health: client.read(&health)?,
            queues: client.read(&queues)?,
            workers: client.read(&workers)?,
        };
        print_line(&serde_json::to_string(&status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_table(&["CHECK", "STATUS"], &health_rows(&client.read(&health)?))?;
    print_line("")?;
    super::queue::print(&client.read::<Queues>(&queues)?.queues)?;
    print_line("")?;
    let rows: Vec<_> = client
        .read::<Workers>(&workers)?
        .workers
        .iter()
        .map(worker_row)
        .collect();
    print_table(
        &[
            "WORKER",
            "STATUS",
            "QUEUES",
            "ACTIVE",
            "SLOTS",
            "HEARTBEAT",
            "VERSION",
        ],
        &rows,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Returns one row for each health check: the fields of `checks`, or of the whole document if it has none.
fn health_rows(health: &Record) -> Vec<Vec<String>> {
    let checks = health.0.iter().find(|(name, _)| name == "checks");
    let checks = checks.and_then(|(_, value)| serde_json::from_str::<Record>(value.get()).ok());
    let fields = checks.as_ref().unwrap_or(health);
    fields
        .0
        .iter()
        .map(|(name, value)| vec![name.clone(), check_text(value)])
        .collect()
}

/// Formats a check as `healthy`, as `degraded: the message`, or verbatim if it has no status.
fn check_text(value: &RawValue) -> String {
    let Ok(check) = serde_json::from_str::<Record>(value.get()) else {
        return plain(value);
    };
    let field = |wanted: &str| {
        let found = check
            .0
            .iter()
            .find(|(name, value)| name == wanted && value.get() != "null");
        found.map(|(_, value)| plain(value))
    };
    match (field("status"), field("message")) {
        (Some(status), Some(message)) => format!("{status}: {message}"),
        (Some(status), None) => status,
        _ => value.get().to_owned(),
    }
}

fn worker_row(worker: &Worker) -> Vec<String> {
    vec![
        worker.id.clone(),
        worker.status.clone(),
        worker.queues.join(","),
        worker.active.to_string(),
        worker.pool_size.to_string(),
        worker.last_heartbeat.format("%H:%M:%S").to_string(),
        worker.version.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_shown_by_name_with_status_and_message() {
        let text = r#"{"status":"degraded","checks":{"postgres":{"status":"healthy","duration_ms":1},
            "redis":{"status":"degraded","message":"refused"},"uptime":7}}"#;
        let rows = health_rows(&serde_json::from_str(text).expect("an object"));
        let lines: Vec<_> = rows.iter().map(|row| row.join(" ")).collect();
        assert_eq!(lines, ["postgres healthy", "redis degraded: refused", "uptime 7"]);
    }
}
