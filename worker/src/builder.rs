//! Building and running a worker.

use std::sync::Arc;

use tasker_config::{EXIT_CONFIG, EXIT_FAILURE, WorkerCommand, WorkerConfig};
use tasker_engine::panics::{self, Panics};
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::{self, Component};
use tracing::{error, warn};

use crate::commands;
use crate::http;
use crate::registry::Registry;
use crate::run_error::RunError;
use crate::runtime;
use crate::task_type::AnyTaskType;

/// A worker: task types, and the loops that run their tasks.
#[derive(Debug)]
pub struct Worker;

/// Collects the task types of a worker.
#[derive(Debug, Default)]
pub struct WorkerBuilder {
    tasks: Vec<AnyTaskType>,
    panics: Panics,
}

impl Worker {
    /// Returns a builder without task types.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }
}

impl WorkerBuilder {
    /// Adds a task type. A name that is registered twice is an error at start.
    #[must_use]
    pub fn register(mut self, task: impl Into<AnyTaskType>) -> Self {
        self.tasks.push(task.into());
        self
    }

    /// Adds several task types.
    #[must_use]
    pub fn register_all(mut self, tasks: impl IntoIterator<Item: Into<AnyTaskType>>) -> Self {
        self.tasks.extend(tasks.into_iter().map(Into::into));
        self
    }

    /// Calls the process's panic hook for panics of handlers, too: for error trackers, or for backtraces on
    /// standard error. Without it such a panic is stored as the attempt's error and logged with its place
    /// only, since its message may hold parameters.
    #[must_use]
    pub fn call_panic_hook(mut self) -> Self {
        self.panics = Panics::CallHook;
        self
    }

    /// Runs the worker of a process: reads its configuration from variables and files, sets up logs and
    /// metrics, works until SIGTERM, SIGINT or SIGQUIT, and returns the exit code.
    ///
    /// Pass the code to [`std::process::exit`]. A `main` that returns instead drops the runtime, which waits
    /// for blocking handlers that outlived their runs.
    ///
    /// It does not read the command line. A program that takes the flags and commands of `tasker-worker`
    /// reads them with [`WorkerConfig::load`] and calls [`Self::run_with`].
    #[must_use = "pass the exit code to `std::process::exit`"]
    pub async fn run(self) -> i32 {
        match WorkerConfig::from_env() {
            Ok(config) => self.run_with(config).await,
            Err(error) => error.report(),
        }
    }

    /// Runs the worker of a process with a configuration that was read before, and returns the exit code, as
    /// [`Self::run`] does. If the configuration has another command than [`WorkerCommand::Run`], it runs that
    /// one instead.
    #[must_use = "pass the exit code to `std::process::exit`"]
    pub async fn run_with(self, config: WorkerConfig) -> i32 {
        match config.command {
            // boxed: the future of a user's `main` would otherwise embed all state of the worker
            WorkerCommand::Run => Box::pin(self.run_to_the_end(config)).await,
            WorkerCommand::Types { json } => commands::types(self.tasks, json),
            WorkerCommand::Ping => Box::pin(commands::ping(&config)).await,
        }
    }

    async fn run_to_the_end(self, config: WorkerConfig) -> i32 {
        // dropped last, so the final log lines are written whichever way this function returns
        let logging = match telemetry::init_logging(Component::Worker, &config.log) {
            Ok(logging) => logging,
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "failed to set up logging"
                );
                return EXIT_FAILURE;
            }
        };
        let shutdown = Shutdown::new();
        let signals = shutdown.listen(Component::Worker);
        let (urgent, hard) = (shutdown.urgent().clone(), shutdown.hard().clone());
        let ended = tokio::select! {
            biased;
            () = hard.cancelled() => return EXIT_FAILURE,
            ended = self.run_until(config, shutdown) => ended,
        };
        drop(signals);
        let code = match ended {
            Ok(()) if urgent.is_cancelled() => EXIT_FAILURE,
            Ok(()) => 0,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "worker failed");
                match error {
                    RunError::UndeclaredQueues(_)
                    | RunError::Unsupported(_)
                    | RunError::TemplateVersions(_) => EXIT_CONFIG,
                    _ => EXIT_FAILURE,
                }
            }
        };
        logging.flush().await;
        code
    }

    /// Runs the worker inside a process that sets up logs and signals itself, until `shutdown`'s soft token
    /// is cancelled. It ignores the command of `config`.
    ///
    /// Dropping the future stops the worker at once, as a crash would; recovery requeues its tasks.
    ///
    /// A worker that was declared dead drops its runs, since its tasks were requeued, and registers again
    /// under a new id.
    pub async fn run_until(self, config: WorkerConfig, shutdown: Shutdown) -> Result<(), RunError> {
        panics::install_hook();
        let registry = Arc::new(Registry::new(self.tasks)?);
        let metrics = http::install_metrics();
        loop {
            let ended = runtime::run(
                config.clone(),
                Arc::clone(&registry),
                metrics.clone(),
                self.panics,
                shutdown.child(),
            )
            .await;
            match ended {
                Err(RunError::DeclaredDead) if !shutdown.soft().is_cancelled() => {
                    // a new id, since the leader may still be requeueing the runs of the old one
                    warn!("restarting the worker under a new id");
                }
                Err(RunError::DeclaredDead) => return Ok(()),
                other => return other,
            }
        }
    }
}
