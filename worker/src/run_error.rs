//! The errors that end a worker.

use tasker_queue as queue;
use tasker_store as store;

use crate::registry::RegistryError;

/// An error that ends a worker.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task type is invalid or registered twice, or there is none.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database settings cannot be used.
    #[error("the database settings cannot be used")]
    Database(#[source] store::Error),
    /// The Redis settings cannot be used.
    #[error("the Redis settings cannot be used")]
    Redis(#[source] queue::Error),
    /// The version or setup of Postgres or Redis is not supported; the text names the variable.
    #[error("{0}")]
    Unsupported(String),
    /// The listener for health and metrics failed.
    #[error("cannot listen on {0} for health and metrics")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The heartbeat thread cannot be started.
    #[error("cannot start the heartbeat thread")]
    Thread(#[source] std::io::Error),
    /// `TASK_QUEUES` names queues that are not declared.
    #[error("TASK_QUEUES: {}", .0.join("\n"))]
    UndeclaredQueues(Vec<String>),
    /// Versions of workflow templates are published with another text.
    #[error("TASKER_TEMPLATE_PATH: {}", .0.join("\n"))]
    TemplateVersions(Vec<String>),
    /// A background task of the worker panicked.
    #[error("a background task of the worker panicked; the log names it")]
    Panicked,
    /// The leader declared this worker dead and requeued its tasks.
    #[error("this worker was declared dead")]
    DeclaredDead,
}
