//! `tasker`: the command line of Tasker, which uses only the HTTP API.
//!
//! Exit codes: 0 ok, 1 a failure while running, 2 an invalid command line.

mod bench;
mod commands;
mod output;
mod record;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use url::Url;

use output::Output;
use tasker_client::Client;

/// Submit and inspect tasks, and operate a Tasker deployment.
#[derive(Debug, Parser)]
#[command(
    name = "tasker",
    version,
    propagate_version = true,
    after_help = "Credentials: TASKER_API_KEY, or EXECUTION_BACKEND_API_USER and EXECUTION_BACKEND_API_PASSWORD. \
                  NAME_FILE reads the value of NAME from a file."
)]
struct Cli {
    /// URL of the server.
    #[arg(
        long,
        global = true,
        env = "TASKER_URL",
        default_value = "http://127.0.0.1:8000",
        value_parser = tasker_client::parse_url
    )]
    url: Url,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Submit and inspect tasks.
    #[command(subcommand)]
    Task(commands::task::TaskCommand),
    /// List, create, pause and resume queues.
    #[command(subcommand)]
    Queue(commands::queue::QueueCommand),
    /// List, retry and purge dead letters.
    #[command(subcommand)]
    Dlq(commands::dlq::DlqCommand),
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Key(commands::key::KeyCommand),
    /// Show the status of workers, queues and services.
    #[command(subcommand)]
    Worker(commands::worker::WorkerCommand),
    /// Start, show, watch and operate workflows.
    #[command(subcommand)]
    Workflow(commands::workflow::WorkflowCommand),
    /// Check, draw, publish, list, show and delete workflow templates.
    #[command(subcommand)]
    Template(commands::template::TemplateCommand),
    /// Create a worker project: two example tasks, a test, a Dockerfile.
    New(commands::new::NewArgs),
    /// Measure a running system.
    #[command(subcommand)]
    Bench(commands::bench::BenchCommand),
}

// one thread: `tasker bench` runs beside the system that it measures and must leave it the other cores
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(code) => code,
        // `tasker … | head` closes the pipe early
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // built on demand: `new` and `template check` need neither a server nor credentials
    let client = || anyhow::Ok(Client::new(cli.url.clone(), tasker_client::authorization()?)?);
    let output = Output::new(cli.json);
    match cli.command {
        Command::Task(command) => commands::task::run(command, &client()?, output).await,
        Command::Queue(command) => commands::queue::run(command, &client()?, output).await,
        Command::Dlq(command) => commands::dlq::run(command, &client()?, output).await,
        Command::Key(command) => commands::key::run(command, &client()?, output).await,
        Command::Worker(command) => commands::worker::run(command, &client()?, output).await,
        Command::Workflow(command) => commands::workflow::run(command, &client()?, output).await,
        Command::Template(command) => commands::template::run(command, client, output).await,
        Command::New(args) => commands::new::run(&args, output),
        Command::Bench(command) => commands::bench::run(command, &client()?, output).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_understood() {
        for line in [
            "tasker task submit noop",
            "tasker task submit noop --params {} --priority -7 --queue low --delay 1h30m --key k",
            "tasker task submit noop --max-retries 0 --timeout 5m --tag a --tag b --wait",
            "tasker task submit noop --run-at 2030-01-02T03:04:05Z",
            "tasker task get 0190a5f0-0000-7000-8000-000000000000 --wait 30",
            "tasker task totals --days 7 --task-name echo --queue low",
            "tasker queue list --json",
            "tasker queue create team.mail",
            "tasker queue pause high",
            "tasker queue resume team.mail --json",
            "tasker dlq list --task-name t --queue low --reason failed --before 2030-01-02T03:04:05Z --limit 5",
            "tasker dlq retry --reason crash_loop",
            "tasker dlq purge --dry-run",
            "tasker dlq purge --all --yes",
            "tasker key create --name deploy --role submitter --queue high --queue default --expires 90d",
            "tasker key list --json",
            "tasker key revoke deploy",
            "tasker --url http://localhost:8080 worker status",
            "tasker template list",
            "tasker template show fulfillment order_fulfillment --version 1.0.0",
            "tasker template check a.yaml b.json -",
            "tasker template graph - --format text --json",
            "tasker template apply -",
            "tasker template delete fulfillment order_fulfillment 1.0.0",
            "tasker workflow run order --namespace shop --version 2.0.0 --context {} --priority -7 --tag a --tag b",
            "tasker workflow run flow.yaml --context @context.json --key k --deadline 2h --wait",
            "tasker workflow run - --deadline 2030-01-02T03:04:05Z --json",
            "tasker workflow get 0190a5f0-0000-7000-8000-000000000000 --wait 60",
            "tasker workflow list --status complete --namespace n --name m --tag t --limit 5 --cursor c",
            "tasker workflow steps 0190a5f0-0000-7000-8000-000000000000 --status dead_letter --limit 5",
            "tasker workflow resolve 0190a5f0-0000-7000-8000-000000000000 pay --result null --reason by-hand",
            "tasker new my-worker",
            "tasker new /tmp/my-worker --tasker /opt/tasker",
            "tasker bench submit --connections 1,8 --seconds 2",
            "tasker bench batch --tasks 2000 --size 500",
            "tasker bench submit --no-hold --parameter-bytes 0",
            "tasker bench batch --no-hold --parameter-bytes 1500",
            "tasker bench drain --tasks 1000",
            "tasker bench e2e",
            "tasker bench latency --rate 10 --seconds 1",
            "tasker bench all --json",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    /// Calls `check` with each line of an example in the help of `command` and its subcommands.
    fn each_example(command: &clap::Command, check: &mut impl FnMut(&str)) {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        help.lines()
            .filter_map(|line| line.strip_prefix("  "))
            .for_each(&mut *check);
        for subcommand in command.get_subcommands() {
            each_example(subcommand, check);
        }
    }

    #[test]
    fn every_example_in_a_help_text_is_understood() {
        let mut examples = 0;
        each_example(&Cli::command(), &mut |line| {
            examples += 1;
            // as a shell would pass it; no example has a space in quotes
            assert!(parse(&line.replace('\'', "")).is_ok(), "{line}");
        });
        assert!(examples >= 18, "{examples}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "tasker",
            "tasker task submit",
            "tasker task submit noop --delay 5s --run-at 2030-01-02T03:04:05Z",
            "tasker task submit noop --delay=-5s",
            "tasker task submit noop --params {",
            "tasker task submit noop --run-at tomorrow",
            "tasker task get no-uuid",
            "tasker task get 0190a5f0-0000-7000-8000-000000000000 --wait 61",
            "tasker task totals --days 0",
            "tasker task totals --days 401",
            "tasker queue pause",
            "tasker queue create",
            "tasker new",
            "tasker dlq purge --reason bad",
            "tasker dlq purge --all --queue low",
            "tasker dlq list --limit 0",
            "tasker key create --name deploy",
            "tasker key create --name deploy --role root",
            "tasker key create --name deploy --role viewer --expires 0",
            "tasker template check",
            "tasker template graph a.yaml --format svg",
            "tasker template delete fulfillment order_fulfillment",
            "tasker workflow run",
            "tasker workflow run order --context {",
            "tasker workflow run order --deadline tomorrow",
            "tasker workflow get no-uuid",
            "tasker workflow list --limit 1001",
            "tasker workflow list --status waiting_for_retry",
            "tasker workflow steps 0190a5f0-0000-7000-8000-000000000000 --status done",
            "tasker workflow skip 0190a5f0-0000-7000-8000-000000000000",
            "tasker --url ftp://x queue list",
            "tasker bench submit --connections 0",
            "tasker bench latency --rate 0",
            "tasker bench drain --tasks 100000000",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
