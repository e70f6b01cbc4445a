use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use metrics::{counter, histogram};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, TlsCertificates};
use secrecy::ExposeSecret;

use super::{Error, KeyNames, Result};
use crate::RedisConfig;
use tasker_platform::tls;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a command that does not block. A Redis that accepts and never answers counts as unavailable
/// after it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of connection attempts at once; connections that are ready are taken out of the pool by
/// their users.
const POOL_SIZE: usize = 8;

/// The queues in Redis. Commands of one process share one connection, so that those sent at the same time are
/// pipelined; blocking pops have connections of their own.
#[derive(Debug)]
pub struct RedisQueues {
    keys: KeyNames,
    pool: Pool,
    client: Client,
    shared: Mutex<Option<Shared>>,
    /// The number of connections that have been shared so far.
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
    /// Creates the client. Does not connect yet, so it succeeds while Redis is unavailable.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self {
            keys: KeyNames::new(config.key_prefix.clone()),
            pool: pool(config, COMMAND_TIMEOUT)?,
            client: client(config)?,
            shared: Mutex::new(None),
            made: AtomicU64::new(0),
        })
    }

    /// Returns the key names of this deployment.
    pub fn keys(&self) -> &KeyNames {
        &self.keys
    }

    /// Returns the number of connections that this process has shared so far.
    pub(super) fn connections_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Checks that Redis answers.
    pub async fn is_up(&self) -> Result<()> {
        let mut ping = Pipeline::new();
        ping.cmd("PING").ignore();
        self.run::<()>(&ping).await
    }

    /// Checks that Redis accepts pushes: one that is out of memory, or a replica, still answers a ping.
    pub async fn takes_writes(&self) -> Result<()> {
        let mut push = Pipeline::new();
        // RPUSHX to a list that does not exist has no effect, and is rejected as any other write is
        push.cmd("RPUSHX").arg(self.keys().probe_list()).arg("").ignore();
        self.run::<()>(&push).await
    }

    /// Checks that Redis accepts pops: a replica still answers a ping. One that is out of memory accepts
    /// them.
    pub async fn allows_pops(&self) -> Result<()> {
        let mut pop = Pipeline::new();
        pop.cmd("LPOP").arg(self.keys().probe_list()).ignore();
        self.run::<()>(&pop).await
    }

    /// Sends commands in one round trip. A connection that failed or did not answer in time is not used
    /// again; nor is one to a server that answered with an error, since after a failover its address may lead
    /// to another server.
    pub(super) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        let mut shared = self.connection().await.inspect_err(|_| failed())?;
        let began = Instant::now();
        let answer = commands.query_async(&mut shared.connection).await;
        histogram!("tasker_redis_command_seconds").record(began.elapsed());
        if answer.is_err() {
            failed();
            // another command may have replaced the connection meanwhile; its successor must stay
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
        // two callers may both connect; the later connection stays cached, the other one serves its caller
        // once
        *self.cached() = Some(shared.clone());
        Ok(shared)
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Option<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Error {
    /// Returns whether Redis knows the command and rejects it for this user.
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

    /// Returns whether the error means that Redis is unavailable to every command, which a circuit breaker
    /// counts. A key of another type is a mistake in that key alone.
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

/// Creates a client, which verifies the server's certificate over TLS.
fn client(config: &RedisConfig) -> Result<Client> {
    // redis-rs uses the process-wide TLS provider
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

/// Creates a pool whose commands fail unless they are answered within `response_timeout`. The default of
/// redis-rs, 500 ms, would end every blocking pop.
pub(super) fn pool(config: &RedisConfig, response_timeout: Duration) -> Result<Pool> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout));
    // the connection info of the client holds the certificates as well
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

/// Counts a failed round trip.
fn failed() {
    counter!("tasker_redis_command_failures_total").increment(1);
}

/// Takes a connection out of the pool permanently.
pub(super) async fn take_connection(pool: &Pool) -> Result<MultiplexedConnection> {
    let connection = pool.get().await.map_err(|error| Error::Connect(error.into()))?;
    counter!("tasker_redis_connections_total").increment(1);
    Ok(Connection::take(connection))
}
