//! Pops: strict priority, batched, blocking, one round trip.
//!
//! A pop in flight happens on the server whether or not anybody waits for it, so its future is never dropped: its reply is
//! awaited, or ended early by an [`Unblocker`]. A connection whose reply did not come in time is closed, not reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_redis::Pool;
use deadpool_redis::redis::Pipeline;
use deadpool_redis::redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use tracing::warn;

use super::connection::{pool, take_connection};
use super::{Queue, Result};
use crate::config::RedisConfig;
use crate::task::{QueueName, TaskId};

/// The longest time for which the server may hold a pop of empty lists.
pub const BLOCK_MAX: Duration = Duration::from_secs(1);
/// How long the client waits for the reply: the server's longest time and a second more.
const REPLY: Duration = Duration::from_secs(2);
/// What stands for "no connection" where a client id is expected.
const NO_CLIENT: i64 = 0;

/// What came from the lists.
#[derive(Debug, Default)]
pub struct Popped {
    /// The hints, all of one list, oldest first.
    pub ids: Vec<TaskId>,
    /// The list they came from.
    pub queue: Option<QueueName>,
    /// How many hints were left in all of the lists after the pop, if asked for.
    pub left: Option<u64>,
}

/// A connection of its own for blocking pops.
pub struct Popper {
    queue: Arc<Queue>,
    pool: Pool,
    lists: Vec<String>,
    connection: Option<MultiplexedConnection>,
    client_id: Arc<AtomicI64>,
}

/// Ends a pop that blocks.
#[derive(Debug, Clone)]
pub struct Unblocker {
    queue: Arc<Queue>,
    client_id: Arc<AtomicI64>,
}

impl Popper {
    /// Prepares pops from `queues`, strictly in this order.
    pub fn new(queue: Arc<Queue>, config: &RedisConfig, queues: &[QueueName]) -> Result<Self> {
        Ok(Self {
            pool: pool(config.url.expose_secret(), REPLY)?,
            lists: queues.iter().map(|name| queue.keys().list(name)).collect(),
            queue,
            connection: None,
            client_id: Arc::new(AtomicI64::new(NO_CLIENT)),
        })
    }

    /// From now on pops from these queues, strictly in this order.
    pub fn serve(&mut self, queues: &[QueueName]) {
        self.lists = queues.iter().map(|name| self.queue.keys().list(name)).collect();
    }

    /// What ends a pop of this connection early.
    pub fn unblocker(&self) -> Unblocker {
        Unblocker {
            queue: Arc::clone(&self.queue),
            client_id: Arc::clone(&self.client_id),
        }
    }

    /// Pops up to `count` hints of the first list that has any, waiting up to `block` (a second at most) for one. Must not be
    /// cancelled. With `count_left`, also counts what is left, in the same round trip.
    pub async fn pop(&mut self, count: usize, block: Duration, count_left: bool) -> Result<Popped> {
        let answer = self.try_pop(count, block.min(BLOCK_MAX), count_left).await;
        if answer.is_err() {
            self.client_id.store(NO_CLIENT, Ordering::Relaxed);
            self.connection = None;
        }
        answer
    }

    async fn try_pop(&mut self, count: usize, block: Duration, count_left: bool) -> Result<Popped> {
        let mut connection = self.connect().await?;
        let mut commands = Pipeline::new();
        commands
            .cmd("BLMPOP")
            .arg(block.as_secs_f64())
            .arg(self.lists.len())
            .arg(&self.lists)
            .arg("LEFT")
            .arg("COUNT")
            .arg(count);
        if !count_left {
            let (popped,): (Option<(String, Vec<String>)>,) = commands.query_async(&mut connection).await?;
            return Ok(self.read(popped, None));
        }
        for list in &self.lists {
            commands.cmd("LLEN").arg(list);
        }
        let mut answers: Vec<deadpool_redis::redis::Value> = commands.query_async(&mut connection).await?;
        let depths: Vec<u64> = deadpool_redis::redis::from_redis_value(deadpool_redis::redis::Value::Array(
            answers.split_off(1),
        ))
        .map_err(deadpool_redis::redis::RedisError::from)?;
        let popped = deadpool_redis::redis::from_redis_value(answers.swap_remove(0))
            .map_err(deadpool_redis::redis::RedisError::from)?;
        Ok(self.read(popped, Some(depths.iter().sum())))
    }

    fn read(&self, popped: Option<(String, Vec<String>)>, left: Option<u64>) -> Popped {
        let Some((list, texts)) = popped else {
            return Popped {
                left,
                ..Popped::default()
            };
        };
        let ids: Vec<TaskId> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        if ids.len() < texts.len() {
            warn!(
                list,
                skipped = texts.len() - ids.len(),
                "the list holds entries that are no task ids"
            );
        }
        Popped {
            ids,
            queue: self.queue.keys().queue_of(&list),
            left,
        }
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let mut connection = take_connection(&self.pool).await?;
        let (client_id,): (i64,) = Pipeline::new()
            .cmd("CLIENT")
            .arg("ID")
            .query_async(&mut connection)
            .await?;
        self.client_id.store(client_id, Ordering::Relaxed);
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}

impl std::fmt::Debug for Popper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Popper")
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}

impl Unblocker {
    /// Makes the pop return with what it has, at once. Without a pop in flight this does nothing.
    pub async fn unblock(&self) -> Result<()> {
        let client_id = self.client_id.load(Ordering::Relaxed);
        if client_id == NO_CLIENT {
            return Ok(());
        }
        let mut command = Pipeline::new();
        command.cmd("CLIENT").arg("UNBLOCK").arg(client_id).ignore();
        self.queue.run(&command).await
    }
}
