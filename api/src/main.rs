//! The binary `tasker-server`: wires the parts together.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use tasker_server::migrate::{self, Failure, Patience};
use tasker_server::orchestrator::PartitionKeeper;
use tasker_server::serve::{bind, doors, serve};
use tasker_server::state::{AppState, Connections};
use tasker_server::{operations_router, orchestrator, router};
use tasker_shared::config::{
    DeploymentMode, EXIT_CONFIG, EXIT_FAILURE, EXIT_MIGRATION_TIMEOUT, ServerCommand, ServerConfig,
};
use tasker_shared::lifecycle::Shutdown;
use tasker_shared::queue::RedisQueues;
use tasker_shared::store::{self, PgPool, migrations, queues};
use tasker_shared::telemetry::{Component, Metrics, init_logging};
use tracing::{error, info, warn};

/// How long what was accepted may take to be written after the last answer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let config = match ServerConfig::load(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => return exit(error.report()),
    };
    let logging = match init_logging(Component::Orchestration, &config.log) {
        Ok(logging) => logging,
        Err(error) => return complain(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let code = runtime.block_on(async {
        let code = match run(&config).await {
            Ok(code) => exit(code),
            Err(error) => complain(&error),
        };
        logging.flush().await;
        code
    });
    // what still runs was given its time
    runtime.shutdown_background();
    code
}

async fn run(config: &ServerConfig) -> anyhow::Result<i32> {
    let db = store::connect(&config.database, "tasker-server")?;
    match config.command {
        ServerCommand::MigrateStatus => return print_status(&db).await,
        ServerCommand::MigrateDryRun => return print_plan(&db).await,
        ServerCommand::MigrateRun => return migrate(&db, config).await,
        ServerCommand::Serve => {}
    }
    let shutdown = Shutdown::new();
    let _signals = shutdown
        .listen(Component::Orchestration)
        .context("cannot listen for signals")?;
    let migrates = config.run_migrations && config.deployment_mode != DeploymentMode::NoMigrate;
    let schema = async {
        if migrates {
            return migrate(&db, config).await;
        }
        outcome(migrate::wait_for_schema(&db, config.migration_timeout).await)
    };
    let code = tokio::select! {
        code = schema => code?,
        () = shutdown.soft().cancelled() => return Ok(0),
    };
    if code != 0 || config.deployment_mode == DeploymentMode::MigrateOnly {
        return Ok(code);
    }
    serve_until_stopped(config, db, &shutdown).await
}

async fn serve_until_stopped(config: &ServerConfig, db: PgPool, shutdown: &Shutdown) -> anyhow::Result<i32> {
    let metrics = Metrics::install(Component::Orchestration)?;
    if let Err(error) = PartitionKeeper::new(db.clone()).run_once().await {
        // the duty makes up for it
        warn!(%error, "partitions could not be made at start");
    }
    queues::declare(&db, &config.queues.known)
        .await
        .context("cannot declare the queues")?;
    let queue = Arc::new(RedisQueues::new(&config.redis).context("cannot use REDIS_URL")?);
    if config.mode.uses_redis()
        // one that does not answer is checked when it does
        && let Ok(report) = queue.server_report().await
        && let Some(why) = report.unsupported
    {
        error!("REDIS_URL: {why}");
        return Ok(EXIT_CONFIG);
    }
    let mut listeners = Vec::new();
    for address in &config.listen_addrs {
        listeners.push(bind(*address).await?);
    }
    let metrics_listener = match config.metrics_addr {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let state = AppState::start(
        config,
        Connections {
            db: db.clone(),
            queue,
        },
        metrics,
        shutdown,
    );
    orchestrator::start(&state, config, shutdown);
    let routes = router(state.clone());
    let (door, operations_door) = doors(config);
    let mut servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| serve(listener, routes.clone(), door.clone(), shutdown))
        .collect();
    servers.extend(metrics_listener.map(|listener| {
        serve(
            listener,
            operations_router(state.clone()),
            operations_door,
            shutdown,
        )
    }));
    info!(version = env!("CARGO_PKG_VERSION"), environment = %config.environment, "ready");

    shutdown.soft().cancelled().await;
    tokio::select! {
        answered = tokio::time::timeout(config.shutdown_timeout, join_all(servers)) => {
            if answered.is_err() {
                warn!("requests in progress were cut off at SHUTDOWN_TIMEOUT");
            }
        }
        () = shutdown.hard().cancelled() => return Ok(EXIT_FAILURE),
    }
    state.end_of_submits.cancel();
    let written = tokio::time::timeout(FLUSH_TIMEOUT, shutdown.drained()).await;
    if shutdown.hard().is_cancelled() || shutdown.panicked() {
        return Ok(EXIT_FAILURE);
    }
    if written.is_err() {
        warn!("stopped with work in progress");
    }
    info!("stopped");
    Ok(0)
}

async fn migrate(db: &PgPool, config: &ServerConfig) -> anyhow::Result<i32> {
    let patience = Patience {
        timeout: config.migration_timeout,
        retries: config.migration_retries,
    };
    outcome(migrate::run(db, patience).await)
}

fn outcome(result: Result<(), Failure>) -> anyhow::Result<i32> {
    match result {
        Ok(()) => Ok(0),
        Err(failure @ Failure::TimedOut(_)) => {
            error!(%failure, "giving up");
            Ok(EXIT_MIGRATION_TIMEOUT)
        }
        Err(failure @ Failure::Unsupported(_)) => {
            error!("DATABASE_URL: {failure}");
            Ok(EXIT_CONFIG)
        }
        Err(failure) => Err(failure.into()),
    }
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
async fn print_status(db: &PgPool) -> anyhow::Result<i32> {
    let migrations = migrations::status(db).await.context("cannot ask Postgres")?;
    print!("{}", migrate::table(&migrations));
    Ok(0)
}

/// Prints what a run would execute; fails where a run would.
#[expect(clippy::print_stdout, reason = "the plan is what was asked for")]
async fn print_plan(db: &PgPool) -> anyhow::Result<i32> {
    let migrations = migrations::status(db).await.context("cannot ask Postgres")?;
    print!("{}", migrate::plan(&migrations));
    let in_the_way = migrations
        .iter()
        .any(|migration| migration.state.blocks_migrations());
    Ok(if in_the_way { EXIT_FAILURE } else { 0 })
}

fn complain(error: &anyhow::Error) -> ExitCode {
    error!("{error:#}");
    exit(EXIT_FAILURE)
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
