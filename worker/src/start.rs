//! Startup: waits for the services that a worker needs, then registers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_config::{DispatchMode, WorkerConfig};
use tasker_core::task::QueueName;
use tasker_core::task::priority::undeclared;
use tasker_platform::telemetry::Reminder;
use tasker_platform::tls;
use tasker_queue::RedisQueues;
use tasker_store::liveness::{LivenessKey, behind_pooler};
use tasker_store::migrations::{current_version, wanted_version};
use tasker_store::workers::{self, NewWorker};
use tasker_store::{self as store, queues, task_types};
use tasker_workflow::Definition;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::identity;
use crate::publish::publish;
use crate::registry::Registry;
use crate::run_error::RunError;

/// Time between checks of a service that is not ready yet.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit for the queues of `TASK_QUEUES` to be declared.
const DECLARED_WAIT: Duration = Duration::from_secs(3);
/// Time limit of the wait for the API, which a worker does not depend on.
const API_WAIT: Duration = Duration::from_secs(30);
/// Time limit for finding the cause of a failure.
const CAUSE_LIMIT: Duration = Duration::from_secs(2);
/// Time limit of one request to the API.
const API_REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// Time limit for the detection of a transaction pooler.
const POOLER_LIMIT: Duration = Duration::from_secs(5);

/// The handles of a worker that is starting.
pub(crate) struct Startup {
    pub(crate) config: WorkerConfig,
    pub(crate) worker_id: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) db: store::PgPool,
    pub(crate) queue: Arc<RedisQueues>,
    /// Cancelled when the worker is stopped.
    pub(crate) stop: CancellationToken,
}

pub(crate) fn worker_id(config: &WorkerConfig) -> Arc<str> {
    identity::worker_id(
        &config.id_prefix,
        &identity::hostname(),
        std::process::id(),
        rand::random(),
    )
}

/// Waits for Postgres with the required schema, for Redis in `EventDrivenOnly`, and for the API; then
/// registers. `None` if the worker was stopped meanwhile.
///
/// # Errors
/// If Postgres or Redis is not supported, if `TASK_QUEUES` names queues that are not declared, or if a
/// version of a workflow template is published with another text.
pub(crate) async fn register(startup: &Startup) -> Result<Option<LivenessKey>, RunError> {
    tokio::select! {
        biased;
        () = startup.stop.cancelled() => Ok(None),
        key = async {
            wait_for_schema(startup).await?;
            check_queues(startup).await?;
            wait_for_redis(startup).await;
            check_redis(startup).await?;
            wait_for_api(startup).await;
            if let Some(templates) = &startup.config.templates {
                publish(&startup.db, templates, startup.config.environment).await?;
            }
            Ok(until_registered(startup).await)
        } => key.map(Some),
    }
}

async fn wait_for_schema(startup: &Startup) -> Result<(), RunError> {
    let wanted = wanted_version();
    let mut reminder = Reminder::default();
    loop {
        if let Ok(version) = store::server_version(&startup.db).await
            && let Some(why) = store::unsupported_postgres(version)
        {
            return Err(RunError::Unsupported(format!("DATABASE_URL: {why}")));
        }
        match current_version(&startup.db).await {
            Ok(version) if version >= wanted => {
                info!(wanted, "Postgres has the required schema");
                return Ok(());
            }
            Ok(version) => {
                if reminder.is_due(&version.to_string(), Instant::now()) {
                    info!(
                        wanted,
                        version, "waiting for Postgres to have the schema that this worker needs"
                    );
                }
            }
            Err(error) => {
                let cause = cause(&startup.db, error).await;
                if reminder.is_due(&cause.to_string(), Instant::now()) {
                    warn!(error = %cause, "cannot use Postgres; retrying: {}", advice(&cause));
                }
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Declares the queues of the configuration and checks that those of `TASK_QUEUES` are declared, in Postgres
/// or here. Waits a moment for a server that starts at the same time and declares its own.
async fn check_queues(startup: &Startup) -> Result<(), RunError> {
    let give_up = Instant::now() + DECLARED_WAIT;
    let mut said = None;
    loop {
        match undeclared_queues(startup).await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) if Instant::now() >= give_up => return Err(RunError::UndeclaredQueues(missing)),
            Ok(_) => {}
            Err(error) => {
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    warn!(%error, "failed to read the declared queues; retrying");
                    said = Some(error);
                }
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Returns a sentence about each queue of `TASK_QUEUES` that is not declared.
async fn undeclared_queues(startup: &Startup) -> Result<Vec<String>, store::Error> {
    // With the queues of the templates that it publishes next, so that its TASK_QUEUES may name them.
    let templates = startup.config.templates.iter().flatten();
    let mut queues = startup.config.queues.known.clone();
    queues.extend(templates.filter_map(Definition::declared_queue));
    queues::declare(&startup.db, &queues).await?;
    let declared = queues::names(&startup.db).await?;
    let queues = startup.config.task_queues.iter().map(|slots| &slots.queue);
    let missing = queues.filter(|queue| !declared.contains(queue));
    Ok(missing
        .map(|queue| format!("`{queue}` {}", undeclared(declared.iter().map(QueueName::as_str))))
        .collect())
}

/// Returns the cause of a failure. A pool that found no connection in time hides it; a separate connection
/// shows it.
pub(crate) async fn cause(db: &store::PgPool, error: store::Error) -> store::Error {
    if !error.lacked_connection() {
        return error;
    }
    store::takes_writes(db, CAUSE_LIMIT).await.err().unwrap_or(error)
}

/// Returns the setting to check, by the SQLSTATE with which Postgres refused.
fn advice(error: &store::Error) -> &'static str {
    match error.code().as_deref() {
        Some("28P01" | "28000") => {
            "it rejects the user or the password; check DATABASE_URL, or POSTGRES_USER and POSTGRES_PASSWORD"
        }
        Some("3D000") => "the database does not exist; check DATABASE_URL, or POSTGRES_DB",
        Some("42501") => "the user lacks rights; see \"Users of the database\" in docs/security.md",
        Some(_) => "it refuses",
        None => "it does not answer; check host and port of DATABASE_URL, or POSTGRES_HOST and POSTGRES_PORT",
    }
}

/// Waits for Redis in `EventDrivenOnly`; in the other modes a worker can claim from Postgres.
async fn wait_for_redis(startup: &Startup) {
    if startup.config.mode != DispatchMode::EventDrivenOnly {
        return;
    }
    let mut reminder = Reminder::default();
    while let Err(error) = startup.queue.is_up().await {
        if reminder.is_due(&error.to_string(), Instant::now()) {
            warn!(
                error = &error as &dyn std::error::Error,
                "waiting for Redis, which this mode needs"
            );
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Rejects a Redis that is not supported. One that does not answer is checked when it does.
async fn check_redis(startup: &Startup) -> Result<(), RunError> {
    if !startup.config.mode.uses_redis() {
        return Ok(());
    }
    match startup
        .queue
        .server_report()
        .await
        .map(|report| report.unsupported)
    {
        Ok(Some(why)) => Err(RunError::Unsupported(format!("REDIS_URL: {why}"))),
        _ => Ok(()),
    }
}

/// Waits until the API is healthy, if its URL is configured.
async fn wait_for_api(startup: &Startup) {
    let Some(api) = &startup.config.api else { return };
    let mut url = api.url.clone();
    url.set_path("/health");
    let client = tls::http_client()
        .timeout(API_REQUEST_LIMIT)
        .build()
        .unwrap_or_default();
    let healthy = async {
        loop {
            match client.get(url.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return,
                _ => tokio::time::sleep(CHECK_INTERVAL).await,
            }
        }
    };
    info!("waiting for the API");
    if tokio::time::timeout(API_WAIT, healthy).await.is_ok() {
        info!("the API is healthy");
    } else {
        warn!(
            seconds = API_WAIT.as_secs(),
            "the API did not become healthy; starting without it"
        );
    }
}

async fn until_registered(startup: &Startup) -> LivenessKey {
    let key = LivenessKey::generate();
    let mut reminder = Reminder::default();
    while let Err(error) = try_register(startup, key).await {
        if reminder.is_due(&error.to_string(), Instant::now()) {
            warn!(%error, "failed to register; retrying: {}", advice(&error));
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    info!(types = ?startup.registry.names(), "registered task types");
    key
}

/// Registers the worker with `key`, or without a key behind a transaction pooler, where a lock belongs to no
/// client.
async fn try_register(startup: &Startup, key: LivenessKey) -> Result<(), store::Error> {
    let config = &startup.config;
    let behind_pooler = store::bounded(POOLER_LIMIT, behind_pooler(&startup.db)).await?;
    if behind_pooler {
        warn!(
            "Postgres is behind a transaction pooler, where a worker cannot hold a lock: if this worker dies, its tasks wait \
             for WORKER_TIMEOUT"
        );
    }
    // types before the worker: it is never listed with types that submits do not know yet
    task_types::publish(&startup.db, &startup.registry.published()).await?;
    let worker = NewWorker {
        id: startup.worker_id.to_string(),
        hostname: identity::hostname(),
        pid: std::process::id().cast_signed(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        queues: config
            .task_queues
            .iter()
            .map(|slots| slots.queue.clone())
            .collect(),
        task_names: startup.registry.names().to_vec(),
        pool_size: config.pool_size.cast_signed(),
        liveness_key: (!behind_pooler).then_some(key),
    };
    workers::register(&startup.db, &worker).await
}
