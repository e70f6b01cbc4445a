//! `tasker key`: the API keys by which programs sign in.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use tasker_shared::config::duration;
use tasker_shared::wire::{ApiKey, ApiKeyCreated, ApiKeyRequest, ApiKeys};
use uuid::Uuid;

use crate::client::Client;
use crate::output::{Output, print_line, print_table, printable, progress};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key. It is printed this once.
    Create(CreateArgs),
    /// List the keys, those that are not revoked first.
    List,
    /// Revoke a key: within five seconds no server takes it any more.
    Revoke {
        /// The key's id, or the name of one that is not revoked.
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name, by which the history tells of it.
    #[arg(long)]
    name: String,
    /// What it may do.
    #[arg(long, value_parser = ["viewer", "submitter", "operator", "admin"])]
    role: String,
    /// A queue that it may see and use, once for each; every queue if left out.
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// How long it holds, like 12h or 90d; for ever if left out.
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
    // alone on stdout, so that a script can take it as it stands
    print_line(&printable(&created.key))?;
    progress(&format!(
        "This is the key {} ({}). It is not shown again.",
        created.record.name, created.record.id
    ));
    Ok(())
}

/// The id that was given, or that of the key of this name.
async fn id_of(key: &str, client: &Client) -> anyhow::Result<Uuid> {
    if let Ok(id) = key.parse() {
        return Ok(id);
    }
    let answer = client.get(&["auth", "keys"], &[]).await?;
    let keys = client.read::<ApiKeys>(&answer)?.keys;
    let named = keys
        .iter()
        .find(|known| known.name == key && known.revoked_at.is_none());
    let named = named.with_context(|| format!("no key that is not revoked has the name {key}"))?;
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
        bail!("must be a second at least");
    }
    Ok(time)
}
