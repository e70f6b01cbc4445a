//! The binary `tasker-server`: starts the API, the migrations and the maintenance duties.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use tasker_config::{
    DeploymentMode, EXIT_CONFIG, EXIT_FAILURE, EXIT_MIGRATION_TIMEOUT, ServerCommand, ServerConfig,
};
use tasker_maintenance::PartitionKeeper;
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::{Component, Metrics, init_logging};
use tasker_queue::RedisQueues;
use tasker_server::migrate::{self, Failure, RetryLimits};
use tasker_server::serve::{bind, doors, serve};
use tasker_server::state::{AppState, Connections};
use tasker_server::{maintenance, operations_router, router};
use tasker_store::{self as store, PgPool, migrations, queues};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// The time limit for writing accepted submits after the last request is answered.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let config = match ServerConfig::load(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => return exit(error.report()),
    };
    let logging = match init_logging(Component::Orchestration, &config.log) {
        Ok(logging) => logging,
        Err(error) => return fail(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(async {
        let code = match run(&config).await {
            Ok(code) => exit(code),
            Err(error) => fail(&error),
        };
        logging.flush().await;
        code
    });
    // without waiting: the tasks that matter were drained within their time limits
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
        // a stop while waiting for Postgres or for migrations is not a failure
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
        // not fatal: the maintenance duty retries
        warn!(%error, "cannot create partitions at start");
    }
    queues::declare(&db, &config.queues.known)
        .await
        .context("cannot declare the queues")?;
    let queue = Arc::new(RedisQueues::new(&config.redis).context("cannot use REDIS_URL")?);
    if config.mode.uses_redis()
        // an unreachable Redis is checked at its first connection
        && let Ok(report) = queue.server_report().await
        && let Some(why) = report.unsupported
    {
        error!("REDIS_URL: {why}");
        return Ok(EXIT_CONFIG);
    }
    // bound before the background tasks start: an address in use ends the start here
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
    maintenance::start(&state, config, shutdown);
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
    stop(servers, &state, config, shutdown).await
}

/// Waits for the requests in progress, then for the background tasks, and returns the exit code.
async fn stop(
    servers: Vec<JoinHandle<()>>,
    state: &AppState,
    config: &ServerConfig,
    shutdown: &Shutdown,
) -> anyhow::Result<i32> {
    tokio::select! {
        answered = tokio::time::timeout(config.shutdown_timeout, join_all(servers)) => {
            if answered.is_err() {
                warn!("cut off requests in progress at SHUTDOWN_TIMEOUT");
            }
        }
        // the second signal
        () = shutdown.hard().cancelled() => return Ok(EXIT_FAILURE),
    }
    // only now: requests in progress wait for the flushers
    state.end_submits();
    let written = tokio::time::timeout(FLUSH_TIMEOUT, shutdown.drained()).await;
    if shutdown.hard().is_cancelled() || shutdown.panicked() {
        return Ok(EXIT_FAILURE);
    }
    if written.is_err() {
        warn!("stopped before all background work finished");
    }
    info!("stopped");
    Ok(0)
}

async fn migrate(db: &PgPool, config: &ServerConfig) -> anyhow::Result<i32> {
    let limits = RetryLimits {
        timeout: config.migration_timeout,
        retries: config.migration_retries,
    };
    outcome(migrate::run(db, limits).await)
}

fn outcome(result: Result<(), Failure>) -> anyhow::Result<i32> {
    match result {
        Ok(()) => Ok(0),
        Err(failure @ Failure::TimedOut(_)) => {
            error!(%failure, "migrations timed out");
            Ok(EXIT_MIGRATION_TIMEOUT)
        }
        Err(failure @ Failure::Unsupported(_)) => {
            error!("DATABASE_URL: {failure}");
            Ok(EXIT_CONFIG)
        }
        Err(failure) => Err(failure.into()),
    }
}

#[expect(clippy::print_stdout, reason = "the table is the output of this command")]
async fn print_status(db: &PgPool) -> anyhow::Result<i32> {
    let migrations = migrations::status(db)
        .await
        .context("cannot read the migrations from Postgres")?;
    print!("{}", migrate::table(&migrations));
    Ok(0)
}

/// Prints the SQL of the pending migrations. Returns a failure code where a run would fail.
#[expect(clippy::print_stdout, reason = "the plan is the output of this command")]
async fn print_plan(db: &PgPool) -> anyhow::Result<i32> {
    let migrations = migrations::status(db)
        .await
        .context("cannot read the migrations from Postgres")?;
    print!("{}", migrate::plan(&migrations));
    let blocked = migrations
        .iter()
        .any(|migration| migration.state.blocks_migrations());
    Ok(if blocked { EXIT_FAILURE } else { 0 })
}

fn fail(error: &anyhow::Error) -> ExitCode {
    error!("{error:#}");
    exit(EXIT_FAILURE)
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
