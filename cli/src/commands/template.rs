//! `tasker template`: lists and shows workflow templates.

use std::process::ExitCode;

use chrono::SecondsFormat;
use clap::Subcommand;
use tasker_wire::{TemplateSummary, Templates};

use crate::output::{Output, print_line, print_table};
use crate::record::Record;
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List all versions of the templates that workers have published.
    List,
    /// Show a template.
    // `--version` is an option of this command, so the program's own is switched off here
    #[command(disable_version_flag = true)]
    Show {
        /// Namespace of the template.
        namespace: String,
        /// Name of the template.
        name: String,
        /// Version; the newest by default.
        #[arg(long)]
        version: Option<String>,
    },
}

pub(crate) async fn run(
    command: TemplateCommand,
    client: &Client,
    output: Output,
) -> anyhow::Result<ExitCode> {
    match command {
        TemplateCommand::List => list(client, output).await?,
        TemplateCommand::Show {
            namespace,
            name,
            version,
        } => {
            let mut path = vec!["v1", "templates", &namespace, &name];
            path.extend(version.as_deref());
            let answer = client.get(&path, &[]).await?;
            if output.is_json() {
                print_line(&answer)?;
            } else {
                print_table(&["FIELD", "VALUE"], &client.read::<Record>(&answer)?.rows())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.get(&["v1", "templates"], &[]).await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let listed: Templates = client.read(&answer)?;
    let heads = [
        "NAMESPACE",
        "NAME",
        "VERSION",
        "STEPS",
        "PUBLISHED",
        "DESCRIPTION",
    ];
    let rows: Vec<_> = listed.templates.iter().map(row).collect();
    Ok(print_table(&heads, &rows)?)
}

fn row(template: &TemplateSummary) -> Vec<String> {
    vec![
        template.namespace.clone(),
        template.name.clone(),
        template.version.clone(),
        template.steps.to_string(),
        template.published_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        template.description.clone(),
    ]
}
