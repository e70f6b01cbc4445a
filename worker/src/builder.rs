//! Building and running a worker.

use std::process::ExitCode;
use std::sync::Arc;

use tasker_config::{EXIT_CONFIG, EXIT_FAILURE, WorkerConfig};
use tasker_engine::panics::{self, Panics};
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::{self, Component};
use tracing::{error, warn};

use crate::http;
use crate::registry::Registry;
use crate::run_error::RunError;
use crate::runtime;
use crate::task_type::TaskType;

/// A worker: task types, and the loops that run their tasks.
#[derive(Debug)]
pub struct Worker;

/// Collects the task types of a worker.
#[derive(Debug, Default)]
pub struct WorkerBuilder {
    tasks: Vec<TaskType>,
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
    pub fn register(mut self, task: TaskType) -> Self {
        self.tasks.push(task);
        self
    }

    /// Adds several task types.
    #[must_use]
    pub fn register_all(mut self, tasks: impl IntoIterator<Item = TaskType>) -> Self {
        self.tasks.extend(tasks);
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

    /// Runs the worker process from start to exit: reads its configuration from variables and files, sets up
    /// logs and metrics, works until SIGTERM, SIGINT or SIGQUIT, and exits. It returns only if the
    /// configuration cannot be used, with the exit code for that.
    ///
    /// It does not read the command line. A program that takes the flags of `tasker-worker` reads them with
    /// [`WorkerConfig::load`] and calls [`Self::run_with`].
    pub async fn run(self) -> ExitCode {
        match WorkerConfig::from_env() {
            Ok(config) => self.run_with(config).await,
            Err(error) => exit_code(error.report()),
        }
    }

    /// Runs the worker process with a configuration that was read before, and exits; never returns.
    pub async fn run_with(self, config: WorkerConfig) -> ExitCode {
        // boxed: the future of a user's `main` would otherwise embed all state of the worker
        let code = Box::pin(self.run_to_the_end(config)).await;
        // Returning from `main` drops the runtime, which waits for threads of blocking handlers that outlived
        // their runs.
        std::process::exit(code)
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
                    RunError::UndeclaredQueues(_) | RunError::Unsupported(_) => EXIT_CONFIG,
                    _ => EXIT_FAILURE,
                }
            }
        };
        logging.flush().await;
        code
    }

    /// Runs the worker inside a process that sets up logs and signals itself, until `shutdown`'s soft token
    /// is cancelled.
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

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
