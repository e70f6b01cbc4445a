//! Configuration of the server and the worker, read and validated as a whole at start.
//!
//! A value comes from the first source that has it: flag, variable, `NAME_FILE`, config files
//! (`<TASKER_ENV>.toml` before `base.toml`), default. An empty variable counts as not set.
//! Every problem is collected with the name of its variable, so that one start reports all of them.

mod allow;
mod backup;
mod builtin_tasks;
mod common;
mod connections;
mod environment;
mod files;
mod flags;
mod healthcheck;
mod problem;
mod queues;
mod reader;
mod secrets;
mod server;
mod services;
mod sign_in;
mod table;
mod templates;
#[cfg(test)]
mod tests;
mod tls;
mod variable;
mod worker;

pub use allow::AllowList;
pub use backup::BackupConfig;
pub use builtin_tasks::BuiltinTasks;
pub use environment::{Environment, TaskLogMode};
pub use problem::{LoadError, Problem, Problems};
pub use queues::{QueueSlots, QueuesConfig};
pub use server::{DeploymentMode, ServerCommand, ServerConfig};
pub use services::{ServiceCommand, ServiceCommands};
pub use sign_in::{Admin, SignInConfig, networks};
pub use table::VARIABLES;
pub use tasker_queue::DispatchMode;
pub use tls::ServerTls;
pub use variable::{Binary, UsedBy, Variable};
pub use worker::{ApiAccess, WorkerCommand, WorkerConfig};

/// Exit code of a failure at run time.
pub const EXIT_FAILURE: i32 = 1;
/// Exit code of an invalid command line.
pub const EXIT_USAGE: i32 = 2;
/// Exit code of an invalid configuration (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIG: i32 = 78;
/// Exit code of migrations that took longer than `DB_MIGRATION_TIMEOUT`.
pub const EXIT_MIGRATION_TIMEOUT: i32 = 124;
