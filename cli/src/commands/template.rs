//! `tasker template`: checks, draws, publishes, lists, shows and deletes workflow templates.

use std::process::ExitCode;

use chrono::SecondsFormat;
use clap::Subcommand;
use serde_json::json;
use tasker_client::Client;
use tasker_wire::{TemplatePublished, TemplateSummary, Templates};
use tasker_workflow::is_json;

use super::definition_file::{self, DefinitionFile, Finding};
use super::template_check::{self, GraphFormat};
use crate::output::{Output, print_line, print_table};
use crate::record::Record;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List all published versions of all templates.
    #[command(after_help = "Example:\n  tasker template list")]
    List,
    /// Show a template.
    // `--version` is an option of this command, so the program's own is switched off here
    #[command(
        disable_version_flag = true,
        after_help = "Example:\n  tasker template show example linear_workflow --version 1.0.0"
    )]
    Show {
        /// Namespace of the template.
        namespace: String,
        /// Name of the template.
        name: String,
        /// Version; the newest by default.
        #[arg(long)]
        version: Option<String>,
    },
    /// Check files without a server. Prints errors with file, line and JSON pointer; exits 1 on errors.
    ///
    /// Whether the task types and queues exist is checked by the server at the start of a workflow.
    #[command(after_help = "Example:\n  tasker template check order_fulfillment.yaml refund.yaml")]
    Check {
        /// Files in YAML or JSON; - for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<DefinitionFile>,
    },
    /// Draw the steps of a file, without a server.
    #[command(after_help = "Example:\n  tasker template graph order_fulfillment.yaml --format mermaid")]
    Graph {
        /// File in YAML or JSON; - for standard input.
        file: DefinitionFile,
        /// Format of the drawing; with --json, nodes and edges.
        #[arg(long, value_enum, default_value = "text")]
        format: GraphFormat,
    },
    /// Publish a template. A published version never changes: another text needs another version.
    #[command(after_help = "Example:\n  tasker template apply order_fulfillment.yaml")]
    Apply {
        /// File in YAML or JSON; - for standard input.
        file: DefinitionFile,
    },
    /// Delete a version of a template. Workflows that were started from it continue.
    #[command(
        disable_version_flag = true,
        after_help = "Example:\n  tasker template delete fulfillment order_fulfillment 1.0.0"
    )]
    Delete {
        /// Namespace of the template.
        namespace: String,
        /// Name of the template.
        name: String,
        /// Version to delete.
        version: String,
    },
}

/// Runs a command. `client` connects to the server, which checks and drawings do without.
pub(crate) async fn run(
    command: TemplateCommand,
    client: impl FnOnce() -> anyhow::Result<Client>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    match command {
        TemplateCommand::Check { files } => template_check::check(&files, output),
        TemplateCommand::Graph { file, format } => template_check::graph(&file, format, output),
        TemplateCommand::Apply { file } => apply(&file, &client()?, output).await,
        TemplateCommand::List => list(&client()?, output).await,
        TemplateCommand::Show {
            namespace,
            name,
            version,
        } => {
            let mut path = vec!["v1", "templates", &namespace, &name];
            path.extend(version.as_deref());
            show(&path, &client()?, output).await
        }
        TemplateCommand::Delete {
            namespace,
            name,
            version,
        } => delete([&namespace, &name, &version], &client()?, output).await,
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let answer = client.get(&["v1", "templates"], &[]).await?;
    if output.is_json() {
        print_line(&answer)?;
        return Ok(ExitCode::SUCCESS);
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
    print_table(&heads, &rows)?;
    Ok(ExitCode::SUCCESS)
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

async fn show(path: &[&str], client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let answer = client.get(path, &[]).await?;
    if output.is_json() {
        print_line(&answer)?;
    } else {
        print_table(&["FIELD", "VALUE"], &client.read::<Record>(&answer)?.rows())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(file: &DefinitionFile, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let text = file.read()?;
    let media_type = media_type(&text);
    let answer = match client
        .put_text(&["v1", "templates"], media_type, text.clone())
        .await
    {
        Err(error) => return definition_file::rejected(error, file, &text, &[]),
        Ok(answer) => answer,
    };
    let published: TemplatePublished = client.read(&answer)?;
    let warnings = published.warnings.into_iter();
    let warnings = warnings.map(|warning| Finding::published(file.name(), warning));
    definition_file::report(&warnings.collect::<Vec<_>>());
    if output.is_json() {
        print_line(&answer)?;
    } else {
        let row = vec![
            published.namespace,
            published.name,
            published.version,
            published.steps.to_string(),
            published.hash,
        ];
        print_table(&["NAMESPACE", "NAME", "VERSION", "STEPS", "HASH"], &[row])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn media_type(text: &str) -> &'static str {
    if is_json(text) {
        "application/json"
    } else {
        "application/yaml"
    }
}

async fn delete(id: [&str; 3], client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let [namespace, name, version] = id;
    client
        .delete(&["v1", "templates", namespace, name, version])
        .await?;
    if output.is_json() {
        let deleted = json!({"namespace": namespace, "name": name, "version": version});
        print_line(&deleted.to_string())?;
    } else {
        print_line(&format!("deleted {namespace}/{name} {version}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_as_what_it_holds_and_not_by_its_name() {
        assert_eq!(media_type(r#"{"name": "x"}"#), "application/json");
        assert_eq!(media_type("name: x\n"), "application/yaml");
        assert_eq!(media_type("{name: x}"), "application/yaml");
    }
}
