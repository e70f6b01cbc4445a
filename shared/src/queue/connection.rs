use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, TlsCertificates};
use deadpool_redis::{Connection, Manager, Pool, Runtime};
use metrics::{counter, histogram};
use secrecy::ExposeSecret;

use super::{Error, KeyNames, Result};
use crate::config::RedisConfig;
use crate::tls;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a command that does not block may take. A Redis that accepts and never answers counts as away after it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections being made at once; those that are ready are kept by their users.
const POOL_SIZE: usize = 8;

/// Redis, as the server and the workers use it. Commands of one process share one connection, so that those sent at the
/// same time travel together; blocking pops have connections of their own.
#[derive(Debug)]
pub struct RedisQueues {
    keys: KeyNames,
    pool: Pool,
    client: Client,
    shared: Mutex<Option<Shared>>,
    /// How many connections have been shared.
    made: AtomicU64,
}

/// The connection that the commands of this process share.
#[derive(Clone)]
struct Shared {
    connection: MultiplexedConnection,
    number: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({})", self.number)
    }
}

impl RedisQueues {
    /// Prepares connections. Does not connect yet, so it succeeds while Redis is away.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self {
            keys: KeyNames::new(config.key_prefix.clone()),
            pool: pool(config, COMMAND_TIMEOUT)?,
            client: client(config)?,
            shared: Mutex::new(None),
            made: AtomicU64::new(0),
        })
    }

    /// The names that this deployment uses.
    pub fn keys(&self) -> &KeyNames {
        &self.keys
    }

    /// The number of connections that this process has shared so far.
    pub(super) fn connections_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks Redis for an answer.
    pub async fn is_up(&self) -> Result<()> {
        let mut ping = Pipeline::new();
        ping.cmd("PING").ignore();
        self.run::<()>(&ping).await
    }

    /// Asks Redis whether it would take a push: one without memory, or a replica, answers a ping all the same.
    pub async fn takes_writes(&self) -> Result<()> {
        let mut push = Pipeline::new();
        // to a list that is not there this does nothing
        push.cmd("RPUSHX").arg(self.keys().probe_list()).arg("").ignore();
        self.run::<()>(&push).await
    }

    /// Asks Redis whether it would give what is popped: a replica answers a ping all the same. One without memory still gives.
    pub async fn allows_pops(&self) -> Result<()> {
        let mut pop = Pipeline::new();
        pop.cmd("LPOP").arg(self.keys().probe_list()).ignore();
        self.run::<()>(&pop).await
    }

    /// Sends commands in one round trip. A connection that failed, or did not answer in time, is not used again; nor is one
    /// to a server that refuses, for its address may lead to another by now.
    pub(super) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        let mut shared = self.connection().await.inspect_err(|_| failed())?;
        let began = Instant::now();
        let answer = commands.query_async(&mut shared.connection).await;
        histogram!("tasker_redis_command_seconds").record(began.elapsed());
        if answer.is_err() {
            failed();
            // others may have made another one meanwhile
            self.cached().take_if(|cached| cached.number == shared.number);
        }
        Ok(answer?)
    }

    async fn connection(&self) -> Result<Shared> {
        if let Some(shared) = self.cached().as_ref() {
            return Ok(shared.clone());
        }
        let shared = Shared {
            connection: take_connection(&self.pool).await?,
            number: self.made.fetch_add(1, Ordering::Relaxed),
        };
        *self.cached() = Some(shared.clone());
        Ok(shared)
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Option<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Error {
    /// Whether Redis knows the command and does not let this user send it.
    pub(super) fn is_rejected(&self) -> bool {
        let Self::Command(error) = self else {
            return false;
        };
        let answers = error.clone().into_server_errors().unwrap_or_default();
        !answers.is_empty()
            && answers
                .iter()
                .all(|(_, answer)| matches!(answer.code(), "NOPERM" | "ERR"))
    }

    /// Whether it says that Redis is away, or not able to take anybody's commands: what a circuit breaker counts. A key of
    /// another type is somebody's mistake.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Command(error) => match error.clone().into_server_errors() {
                Some(answers) => answers.iter().any(|(_, answer)| answer.code() != "WRONGTYPE"),
                None => true,
            },
        }
    }
}

/// What connects to Redis, and over TLS checks that it is Redis.
fn client(config: &RedisConfig) -> Result<Client> {
    // redis-rs takes what the process has chosen
    tls::choose_provider();
    let url = config.url.expose_secret();
    if !url.starts_with("rediss:") {
        return Ok(Client::open(url)?);
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: config
            .authority
            .as_ref()
            .map(|authority| authority.clone().into_bytes()),
    };
    Ok(Client::build_with_tls(url, certificates)?)
}

/// A pool whose commands are answered within `response_timeout` or fail. redis-rs gives up after 500 ms by default, which
/// would end every blocking pop.
pub(super) fn pool(config: &RedisConfig, response_timeout: Duration) -> Result<Pool> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout));
    // with the certificates that the client was given
    let connection = client(config)?.get_connection_info().clone();
    let manager = Manager::new_with_config(connection, settings)?;
    Pool::builder(manager)
        .max_size(POOL_SIZE)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .build()
        .map_err(|error| Error::Connect(error.into()))
}

/// Counts a round trip that failed.
fn failed() {
    counter!("tasker_redis_command_failures_total").increment(1);
}

/// Takes a connection out of the pool, for good.
pub(super) async fn take_connection(pool: &Pool) -> Result<MultiplexedConnection> {
    let connection = pool.get().await.map_err(|error| Error::Connect(error.into()))?;
    counter!("tasker_redis_connections_total").increment(1);
    Ok(Connection::take(connection))
}
