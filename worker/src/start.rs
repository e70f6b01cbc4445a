//! Starting: wait for what a worker cannot do without, then register.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::config::DispatchMode;
use tasker_shared::store::liveness::{LivenessKey, behind_pooler};
use tasker_shared::store::migrations::{current_version, wanted_version};
use tasker_shared::store::workers::{self, NewWorker};
use tasker_shared::store::{self, queues, task_types, templates};
use tracing::{info, warn};

use crate::runtime::{Parts, RunError};
use crate::{WorkerConfig, identity};

/// Time between looks at what is not there yet.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait for the API; work does not depend on it.
const API_WAIT: Duration = Duration::from_secs(30);
/// How long one look at the API may take.
const API_LOOK: Duration = Duration::from_secs(2);
/// How long it may take to tell whether there is a pooler.
const POOLER_LOOK: Duration = Duration::from_secs(5);

pub(crate) fn worker_id(config: &WorkerConfig) -> Arc<str> {
    identity::worker_id(
        &config.id_prefix,
        &identity::hostname(),
        std::process::id(),
        rand::random(),
    )
}

/// Waits for Postgres at the right version, for Redis if nothing can be done without it, and for the API; then registers.
/// `None` if the worker was stopped meanwhile.
pub(crate) async fn register(parts: &Parts) -> Result<Option<LivenessKey>, RunError> {
    tokio::select! {
        biased;
        () = parts.shutdown.soft().cancelled() => Ok(None),
        key = async {
            wait_for_schema(parts).await?;
            wait_for_redis(parts).await;
            check_redis(parts).await?;
            wait_for_api(parts).await;
            Ok(until_registered(parts).await)
        } => key.map(Some),
    }
}

async fn wait_for_schema(parts: &Parts) -> Result<(), RunError> {
    let wanted = wanted_version();
    let mut said = None;
    loop {
        let (state, ready) = match current_version(&parts.db).await {
            Ok(version) => (format!("version {version}"), version >= wanted),
            Err(error) => (format!("no answer: {error}"), false),
        };
        if let Ok(version) = store::server_version(&parts.db).await
            && let Some(why) = store::unsupported_postgres(version)
        {
            return Err(RunError::Unsupported(format!("DATABASE_URL: {why}")));
        }
        if ready {
            info!(wanted, "Postgres has the schema that this worker needs");
            return Ok(());
        }
        if said.as_ref() != Some(&state) {
            info!(wanted, %state, "waiting for Postgres to have the schema that this worker needs");
            said = Some(state);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for Redis where it is the only way to work; the other modes have Postgres.
async fn wait_for_redis(parts: &Parts) {
    if parts.config.mode != DispatchMode::EventDrivenOnly {
        return;
    }
    let mut said = false;
    while let Err(error) = parts.queue.is_up().await {
        if !std::mem::replace(&mut said, true) {
            warn!(%error, "waiting for Redis, which this mode cannot do without");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Refuses a Redis that can never be used. One that does not answer is checked when it does.
async fn check_redis(parts: &Parts) -> Result<(), RunError> {
    if !parts.config.mode.uses_redis() {
        return Ok(());
    }
    match parts.queue.server_report().await.map(|report| report.unsupported) {
        Ok(Some(why)) => Err(RunError::Unsupported(format!("REDIS_URL: {why}"))),
        _ => Ok(()),
    }
}

/// Waits until the API is healthy, if this worker was told where it is.
async fn wait_for_api(parts: &Parts) {
    let Some(api) = &parts.config.api else { return };
    let mut url = api.url.clone();
    url.set_path("/health");
    let client = reqwest::Client::builder()
        .timeout(API_LOOK)
        .build()
        .unwrap_or_default();
    let healthy = async {
        loop {
            match client.get(url.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return,
                _ => tokio::time::sleep(LOOK).await,
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

async fn until_registered(parts: &Parts) -> LivenessKey {
    let key = LivenessKey::generate();
    while let Err(error) = try_register(parts, key).await {
        warn!(%error, "could not register yet");
        tokio::time::sleep(LOOK).await;
    }
    info!(types = ?parts.registry.names(), "task types are registered");
    if let Some(templates) = &parts.config.templates {
        info!(templates = templates.len(), "workflow templates are published");
    }
    key
}

/// Registers with `key`, unless locks mean nothing on the way to Postgres.
async fn try_register(parts: &Parts, key: LivenessKey) -> Result<(), store::Error> {
    let config = &parts.config;
    let behind_pooler = store::bounded(POOLER_LOOK, behind_pooler(&parts.db)).await?;
    if behind_pooler {
        warn!(
            "Postgres is behind a transaction pooler, where no lock can be held: should this worker die, its tasks wait for \
             WORKER_TIMEOUT"
        );
    }
    queues::declare(&parts.db, &config.queues.known).await?;
    task_types::publish(&parts.db, &parts.registry.published()).await?;
    if let Some(found) = &config.templates {
        templates::publish(&parts.db, found).await?;
    }
    let worker = NewWorker {
        id: parts.worker_id.to_string(),
        hostname: identity::hostname(),
        pid: std::process::id().cast_signed(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        queues: config
            .task_queues
            .iter()
            .map(|slots| slots.queue.clone())
            .collect(),
        task_names: parts.registry.names().to_vec(),
        pool_size: config.pool_size.cast_signed(),
        liveness_key: (!behind_pooler).then_some(key),
    };
    workers::register(&parts.db, &worker).await
}
