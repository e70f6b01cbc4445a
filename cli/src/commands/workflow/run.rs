//! `tasker workflow run`: starts a workflow from a template or from a file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tasker_core::task::TaskId;
use tasker_wire::WorkflowStarted;
use tasker_workflow::value_from_text;

use super::show;
use super::wait::{self, Phase};
use crate::commands::definition_file::{self, DefinitionFile};
use crate::commands::values::{JsonArg, parse_deadline};
use crate::output::{Output, print_line, print_table, progress, usage_error};
use tasker_client::Client;

pub(super) const EXAMPLES: &str = "Examples:
  tasker workflow run linear_workflow --namespace example --context '{\"even_number\":6}' --wait
  tasker workflow run order_fulfillment.yaml --context @order.json --key order-4711";

/// Seconds of one `?wait` request, and so the longest time until a block is noticed.
const WAIT_STEP_SECONDS: &str = "2";
/// Fields of a request that a file may hold beside those of a definition.
const OTHER_FIELDS: &[&str] = &[
    "context",
    "configuration",
    "tags",
    "idempotency_key",
    "correlation_id",
    "deadline",
];

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name of a published template, or a file with steps: a path that ends in .yaml, .yml or .json or has a
    /// slash, or - for standard input.
    #[arg(value_name = "NAME|FILE")]
    target: Target,
    /// Namespace of the template; `default`, or the only one with a template of that name.
    #[arg(long)]
    namespace: Option<String>,
    /// Version of the template; the newest by default.
    #[arg(long)]
    version: Option<String>,
    /// Context of the workflow, an object: JSON, @file, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", value_parser = JsonArg::parse)]
    context: Option<JsonArg>,
    /// Priority from -100 to 100; higher is more urgent.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Tag of the workflow; repeat for several.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Idempotency key: repeating the request with the same key returns the same workflow.
    #[arg(long)]
    key: Option<String>,
    /// End the workflow as `error` after this duration or at this time: 2h, or 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_deadline)]
    deadline: Option<String>,
    /// Wait until the workflow ends or is blocked by a failed step, and show it.
    #[arg(long)]
    wait: bool,
}

/// The definition of a workflow to start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Template(String),
    File(DefinitionFile),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let extension = Path::new(text)
            .extension()
            .and_then(|extension| extension.to_str());
        let is_file = text == "-" || text.contains('/') || matches!(extension, Some("yaml" | "yml" | "json"));
        Ok(if is_file {
            Self::File(text.parse()?)
        } else {
            Self::Template(text.to_owned())
        })
    }
}

/// The body of a start; values keep their digits.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
struct Body(BTreeMap<String, Box<RawValue>>);

impl Body {
    /// Returns the body that a file with steps is; fails with the error of the parser.
    fn of_file(text: &str) -> anyhow::Result<Self> {
        let json = value_from_text(text)?.to_text();
        let fields = serde_json::from_str(&json);
        fields
            .map(Self)
            .map_err(|_| anyhow::anyhow!("must be an object with `name` and `steps`"))
    }

    fn set(&mut self, field: &str, value: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
        self.0.insert(field.to_owned(), to_raw_value(value)?);
        Ok(())
    }

    /// Sets the fields that the command line has a value for.
    fn set_options(&mut self, args: RunArgs) -> anyhow::Result<()> {
        if let Some(context) = args.context {
            // the other name of the same field
            self.0.remove("configuration");
            self.0.insert("context".to_owned(), context.read()?);
        }
        if let Some(priority) = args.priority {
            self.set("priority", &priority)?;
        }
        if !args.tags.is_empty() {
            self.set("tags", &args.tags)?;
        }
        let texts = [
            ("namespace", args.namespace),
            ("version", args.version),
            ("idempotency_key", args.key),
            ("deadline", args.deadline),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                self.set(field, &text)?;
            }
        }
        Ok(())
    }
}

impl RunArgs {
    /// Returns the reason why the options do not fit together.
    fn conflict(&self) -> Option<&'static str> {
        let Target::File(file) = &self.target else {
            return None;
        };
        if self.namespace.is_some() || self.version.is_some() {
            return Some(
                "--namespace and --version select a published template; a file sets both in its fields",
            );
        }
        let both_stdin = *file == DefinitionFile::Stdin && matches!(self.context, Some(JsonArg::Stdin));
        both_stdin.then_some("standard input can be the steps or the context, not both; use --context @FILE")
    }
}

/// Starts a workflow; with `--wait`, shows it when it has ended or is blocked.
pub(super) async fn run(args: RunArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(conflict) = args.conflict() {
        return Ok(usage_error(conflict));
    }
    let wait = args.wait;
    let answer = match args.target.clone() {
        Target::Template(name) => {
            let mut body = Body::default();
            body.set("name", &name)?;
            body.set_options(args)?;
            client.post(&["v1", "workflows"], &body).await?
        }
        Target::File(file) => {
            let text = file.read()?;
            let Ok(mut body) = Body::of_file(&text) else {
                let (_, findings) = definition_file::check(file.name(), &text, OTHER_FIELDS);
                definition_file::report(&findings);
                return Ok(ExitCode::FAILURE);
            };
            body.set_options(args)?;
            match client.post(&["v1", "workflows"], &body).await {
                Ok(answer) => answer,
                Err(error) => return definition_file::rejected(error, &file, &text, OTHER_FIELDS),
            }
        }
    };
    let started: WorkflowStarted = client.read(&answer)?;
    if wait {
        return wait_for(started.workflow_id, client, output).await;
    }
    if output.is_json() {
        print_line(&answer)?;
    } else {
        print_started(&started)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_started(started: &WorkflowStarted) -> std::io::Result<()> {
    let row = vec![
        started.workflow_id.to_string(),
        started.status.clone(),
        started.step_count.to_string(),
        show::time(started.created_at),
        if started.deduplicated { "yes" } else { "no" }.to_owned(),
    ];
    print_table(
        &["WORKFLOW", "STATUS", "STEPS", "CREATED", "DEDUPLICATED"],
        &[row],
    )
}

async fn wait_for(id: TaskId, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    // before the wait, for a reader who stops it
    progress(&format!("workflow {id}"));
    loop {
        let (answer, workflow) = wait::poll_again(client, id, WAIT_STEP_SECONDS).await?;
        let phase = Phase::of(&workflow);
        if phase == Phase::Live {
            continue;
        }
        show::print(&answer, client, output)?;
        if phase == Phase::Blocked {
            progress(&wait::blocked_text(&workflow));
        }
        return Ok(phase.exit_code());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn args(line: &str) -> RunArgs {
        let command = RunArgs::augment_args(clap::Command::new("run").disable_version_flag(true));
        let matches = command.try_get_matches_from(line.split(' ')).expect(line);
        RunArgs::from_arg_matches(&matches).expect(line)
    }

    fn body(mut body: Body, line: &str) -> String {
        body.set_options(args(line)).expect("a body");
        serde_json::to_string(&body).expect("JSON")
    }

    #[test]
    fn a_name_is_a_template_and_a_path_is_a_file() {
        for text in ["order", "order-2.0", "order.v1"] {
            assert_eq!(text.parse(), Ok(Target::Template(text.to_owned())));
        }
        for text in ["order.yaml", "order.yml", "order.json", "./order", "flows/order"] {
            let file = DefinitionFile::Path(text.to_owned());
            assert_eq!(text.parse(), Ok(Target::File(file)));
        }
        assert_eq!("-".parse(), Ok(Target::File(DefinitionFile::Stdin)));
    }

    #[test]
    fn options_are_fields_of_the_request() {
        let line = "run order --namespace shop --version 2.0.0 --context {\"n\":1.10} --priority -7 \
                    --tag a --tag b --key k --deadline 7200";
        assert_eq!(
            body(Body::default(), line),
            r#"{"context":{"n":1.10},"deadline":"2h","idempotency_key":"k","namespace":"shop","priority":-7,"tags":["a","b"],"version":"2.0.0"}"#
        );
        assert_eq!(body(Body::default(), "run order"), "{}");
    }

    #[test]
    fn a_file_in_yaml_is_sent_as_json_and_options_replace_its_fields() {
        let text =
            "name: x\nconfiguration: {a: 1}\ntags: [t]\nsteps:\n  - {name: a, run: echo, with: {n: 1.10}}\n";
        let file = || Body::of_file(text).expect(text);
        let steps = r#""name":"x","steps":[{"name":"a","run":"echo","with":{"n":1.10}}]"#;
        assert_eq!(
            body(file(), "run x.yaml"),
            format!(r#"{{"configuration":{{"a":1}},{steps},"tags":["t"]}}"#)
        );
        assert_eq!(
            body(file(), "run x.yaml --context {} --tag u"),
            format!(r#"{{"context":{{}},{steps},"tags":["u"]}}"#)
        );
        assert!(Body::of_file("[1]").is_err());
        assert!(Body::of_file("name: [").is_err());
    }

    #[test]
    fn options_that_do_not_fit_together_are_rejected() {
        for line in [
            "run x.yaml --version 1.0.0",
            "run x.yaml --namespace n",
            "run - --context -",
        ] {
            assert!(args(line).conflict().is_some(), "{line}");
        }
        for line in ["run x --version 1.0.0", "run x --context -", "run - --context {}"] {
            assert!(args(line).conflict().is_none(), "{line}");
        }
    }
}
