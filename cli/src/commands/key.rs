//! `tasker key`: API keys, the credentials of programs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use tasker_core::duration;
use tasker_wire::{ApiKey, ApiKeyCreated, ApiKeyRequest, ApiKeys};
use uuid::Uuid;

use crate::output::{Output, print_line, print_table, printable, progress};
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key and print it; it cannot be shown again.
    Create(CreateArgs),
    /// List the keys, revoked ones last.
    List,
    /// Revoke a key; every server rejects it within five seconds.
    Revoke {
        /// Id of the key, or name of a key that is not revoked.
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the key, shown as the actor in task histories.
    #[arg(long)]
    name: String,
    /// Role of the key.
    #[arg(long, value_parser = ["viewer", "submitter", "operator", "admin"])]
    role: String,
    /// Queue that the key may use; repeat for several, omit for all queues.
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Time until the key expires, like 12h or 90d; omit for no expiry.
    #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
    expires: Option<Duration>,
}

pub(crate) async fn run(command: KeyCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create(args) => create(args, client, output).await?,
        KeyCommand::List => {
            let answer = client.get(&["auth", "keys"], &[]).await?;
            if output.is_json() {
                print_line(&answer)?;
            } else {
                print(&client.read::<ApiKeys>(&answer)?.keys)?;
            }
        }
        KeyCommand::Revoke { key } => {
            let id = id_of(&key, client).await?;
            let answer = client.delete(&["auth", "keys", &id.to_string()]).await?;
            if output.is_json() {
                print_line(&answer)?;
            } else {
                print(&[client.read::<ApiKey>(&answer)?])?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let request = ApiKeyRequest {
        name: args.name,
        role: args.role,
        queues: Some(args.queue).filter(|queues| !queues.is_empty()),
        expires_in_seconds: args.expires.map(|time| time.as_secs()),
    };
    let answer = client.post(&["auth", "keys"], &request).await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let created: ApiKeyCreated = client.read(&answer)?;
    // only the key goes to stdout, so that a script can capture it
    print_line(&printable(&created.key))?;
    progress(&format!(
        "Created key {} ({}). Store it now: it is not shown again.",
        created.record.name, created.record.id
    ));
    Ok(())
}

/// Returns `key` if it is an id, else the id of the key of that name; fails if there is none.
async fn id_of(key: &str, client: &Client) -> anyhow::Result<Uuid> {
    if let Ok(id) = key.parse() {
        return Ok(id);
    }
    let answer = client.get(&["auth", "keys"], &[]).await?;
    let keys = client.read::<ApiKeys>(&answer)?.keys;
    // a name is unique only among keys that are not revoked
    let named = keys
        .iter()
        .find(|known| known.name == key && known.revoked_at.is_none());
    let named = named.with_context(|| format!("no active key has the name {key}"))?;
    Ok(named.id)
}

fn print(keys: &[ApiKey]) -> std::io::Result<()> {
    let heads = [
        "ID",
        "NAME",
        "ROLE",
        "QUEUES",
        "CREATED",
        "EXPIRES",
        "LAST USED",
        "STATE",
    ];
    let rows: Vec<_> = keys.iter().map(row).collect();
    print_table(&heads, &rows)
}

fn row(key: &ApiKey) -> Vec<String> {
    let time = |time: Option<DateTime<Utc>>| time.map_or_else(|| "-".to_owned(), minute);
    let queues = key.queues.as_ref().map_or_else(
        || "all".to_owned(),
        |queues| {
            queues
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        },
    );
    vec![
        key.id.to_string(),
        key.name.clone(),
        key.role.to_string(),
        queues,
        minute(key.created_at),
        time(key.expires_at),
        time(key.last_used_at),
        if key.revoked_at.is_some() {
            "revoked"
        } else {
            "valid"
        }
        .to_owned(),
    ]
}

fn minute(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

fn parse_expiry(text: &str) -> anyhow::Result<Duration> {
    let time = duration::parse(text)?;
    if time < Duration::from_secs(1) {
        bail!("must be at least one second");
    }
    Ok(time)
}
