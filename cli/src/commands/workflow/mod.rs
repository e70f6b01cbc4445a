//! `tasker workflow`: starts, shows, watches and operates workflows.

mod list;
mod operate;
mod run;
mod show;
mod wait;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;
use tasker_core::task::TaskId;

use super::values::JsonArg;
use crate::output::Output;
use list::{ListArgs, StepsArgs};
use operate::StepAction;
use run::RunArgs;
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Start a workflow from a template or from a file. With --wait, exits 1 unless it completes.
    // `--version` is an option of this command, so the program's own is switched off here
    #[command(disable_version_flag = true, after_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show a workflow and its steps.
    #[command(after_help = "Example:\n  tasker workflow get 0190a5f0-0000-7000-8000-000000000000 --wait 30")]
    Get {
        /// Id of the workflow.
        id: TaskId,
        /// Wait up to SECONDS for the workflow to end.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=60))]
        wait: Option<u32>,
    },
    /// List workflows, newest first.
    #[command(after_help = "Example:\n  tasker workflow list --status blocked_by_failures --limit 20")]
    List(ListArgs),
    /// List the steps of a workflow.
    #[command(after_help = "Example:\n  tasker workflow steps 0190a5f0-0000-7000-8000-000000000000")]
    Steps(StepsArgs),
    /// List the changes of a workflow, oldest first.
    #[command(after_help = "Example:\n  tasker workflow history 0190a5f0-0000-7000-8000-000000000000")]
    History {
        /// Id of the workflow.
        id: TaskId,
    },
    /// Print each step when its state changes, until the workflow ends. Exits 1 unless it completes.
    #[command(after_help = "Example:\n  tasker workflow watch 0190a5f0-0000-7000-8000-000000000000")]
    Watch {
        /// Id of the workflow.
        id: TaskId,
    },
    /// Cancel a workflow. Running steps are requested to stop.
    #[command(after_help = "Example:\n  tasker workflow cancel 0190a5f0-0000-7000-8000-000000000000")]
    Cancel {
        /// Id of the workflow.
        id: TaskId,
    },
    /// Give up a workflow: cancel its steps and end it as `error`.
    #[command(after_help = "Example:\n  tasker workflow give-up 0190a5f0-0000-7000-8000-000000000000")]
    GiveUp {
        /// Id of the workflow.
        id: TaskId,
    },
    /// Retry all failed steps of a workflow.
    #[command(after_help = "Example:\n  tasker workflow retry 0190a5f0-0000-7000-8000-000000000000")]
    Retry {
        /// Id of the workflow.
        id: TaskId,
    },
    /// Retry one failed step, from its first attempt.
    #[command(after_help = "Example:\n  tasker workflow reset 0190a5f0-0000-7000-8000-000000000000 pay")]
    Reset {
        /// Id of the workflow.
        id: TaskId,
        /// Name or id of the step.
        step: String,
    },
    /// Resolve a failed step by hand, with the result that later steps read.
    #[command(
        after_help = "Example:\n  tasker workflow resolve 0190a5f0-0000-7000-8000-000000000000 pay --result '{\"paid\":true}'"
    )]
    Resolve {
        /// Id of the workflow.
        id: TaskId,
        /// Name or id of the step.
        step: String,
        /// Result of the step: JSON, @file, or - for standard input; null by default.
        #[arg(long, value_name = "JSON|@FILE|-", value_parser = JsonArg::parse)]
        result: Option<JsonArg>,
        /// Reason of the decision.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Skip a failed or waiting step.
    #[command(after_help = "Example:\n  tasker workflow skip 0190a5f0-0000-7000-8000-000000000000 notify")]
    Skip {
        /// Id of the workflow.
        id: TaskId,
        /// Name or id of the step.
        step: String,
    },
}

pub(crate) async fn run(
    command: WorkflowCommand,
    client: &Client,
    output: Output,
) -> anyhow::Result<ExitCode> {
    match command {
        WorkflowCommand::Run(args) => return run::run(*args, client, output).await,
        WorkflowCommand::Watch { id } => return watch::watch(id, client, output).await,
        WorkflowCommand::Get { id, wait } => show::get(id, wait, client, output).await?,
        WorkflowCommand::List(args) => list::list(args, client, output).await?,
        WorkflowCommand::Steps(args) => list::steps(args, client, output).await?,
        WorkflowCommand::History { id } => show::history(id, client, output).await?,
        WorkflowCommand::Cancel { id } => operate::whole(id, "cancel", client, output).await?,
        WorkflowCommand::GiveUp { id } => operate::whole(id, "give_up", client, output).await?,
        WorkflowCommand::Retry { id } => operate::whole(id, "retry", client, output).await?,
        WorkflowCommand::Reset { id, step } => {
            operate::step(id, &step, StepAction::Reset, client, output).await?;
        }
        WorkflowCommand::Resolve {
            id,
            step,
            result,
            reason,
        } => {
            let action = StepAction::Resolve { result, reason };
            operate::step(id, &step, action, client, output).await?;
        }
        WorkflowCommand::Skip { id, step } => {
            operate::step(id, &step, StepAction::Skip, client, output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
