//! Pops: strict priority, batched, blocking, one round trip.
//!
//! A pop in flight happens on the server whether or not anybody waits for it, so its future is never dropped: its reply is
//! awaited, or ended early by an [`Unblocker`]. A connection whose reply did not come in time is closed, not reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_redis::Pool;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{FromRedisValue, Pipeline, RedisError, Value, from_redis_value};
use tracing::warn;

use super::age::Order;
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
    /// Whether they were taken out of turn because they are aged.
    pub out_of_turn: bool,
    /// Whether aged heads are left that could be taken out of turn.
    pub aged_left: bool,
}

/// How hints are popped.
#[derive(Debug, Clone, Copy)]
enum Pop {
    /// In the order of the lists, waiting so long for one.
    InTurn(Duration),
    /// Aged heads as if one class higher, not waiting.
    AgedFirst,
}

/// A connection of its own for blocking pops.
pub struct Popper {
    queue: Arc<Queue>,
    pool: Pool,
    lists: Vec<String>,
    /// The order in which aged heads are taken as if they were one class higher.
    aged_first: Order,
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
        let mut popper = Self {
            pool: pool(config, REPLY)?,
            queue,
            lists: Vec::new(),
            aged_first: Order::default(),
            connection: None,
            client_id: Arc::new(AtomicI64::new(NO_CLIENT)),
        };
        popper.serve(queues);
        Ok(popper)
    }

    /// From now on pops from these queues, strictly in this order.
    pub fn serve(&mut self, queues: &[QueueName]) {
        self.lists = queues.iter().map(|name| self.queue.keys().list(name)).collect();
        self.aged_first = Order::new(self.queue.keys(), queues);
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
        self.carry_out(Pop::InTurn(block.min(BLOCK_MAX)), count, count_left)
            .await
    }

    /// The same, only that aged heads come as if they were one class higher, and that it does not wait.
    pub async fn pop_aged_first(&mut self, count: usize, count_left: bool) -> Result<Popped> {
        self.carry_out(Pop::AgedFirst, count, count_left).await
    }

    /// Whether a list is served whose aged heads can be taken out of turn.
    pub fn can_raise(&self) -> bool {
        !self.aged_first.aged().is_empty()
    }

    async fn carry_out(&mut self, pop: Pop, count: usize, count_left: bool) -> Result<Popped> {
        let answer = self.try_pop(pop, count, count_left).await;
        if answer.is_err() {
            self.client_id.store(NO_CLIENT, Ordering::Relaxed);
            self.connection = None;
        }
        answer
    }

    async fn try_pop(&mut self, pop: Pop, count: usize, count_left: bool) -> Result<Popped> {
        let mut connection = self.connect().await?;
        let commands = self.commands(pop, count, count_left);
        let answers: Vec<Value> = commands.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let mut popped = match next::<Option<Vec<Value>>>(&mut answers)? {
            Some(popped) => self.read(popped)?,
            None => Popped::default(),
        };
        if count_left {
            let mut left = 0;
            for _ in &self.lists {
                left += next::<u64>(&mut answers)?;
            }
            popped.left = Some(left);
        }
        if self.can_raise() {
            let aged: Vec<Option<String>> = next(&mut answers)?;
            let counts = aged
                .iter()
                .flatten()
                .filter_map(|count| count.parse::<i64>().ok());
            popped.aged_left = counts.max() > Some(0);
        }
        Ok(popped)
    }

    /// The pop, and with it in one round trip what else is asked for.
    fn commands(&self, pop: Pop, count: usize, count_left: bool) -> Pipeline {
        let mut commands = Pipeline::new();
        match pop {
            Pop::InTurn(block) => {
                commands
                    .cmd("BLMPOP")
                    .arg(block.as_secs_f64())
                    .arg(self.lists.len())
                    .arg(&self.lists)
                    .arg("LEFT")
                    .arg("COUNT")
                    .arg(count);
            }
            Pop::AgedFirst => self.aged_first.pop(&mut commands, count),
        }
        if count_left {
            for list in &self.lists {
                commands.cmd("LLEN").arg(list);
            }
        }
        if self.can_raise() {
            commands.cmd("MGET").arg(self.aged_first.aged());
        }
        commands
    }

    /// Reads what was popped: the list, its ids, and a third entry if they were taken out of turn.
    fn read(&self, popped: Vec<Value>) -> Result<Popped> {
        let out_of_turn = popped.len() > 2;
        let mut popped = popped.into_iter();
        let (list, texts): (String, Vec<String>) = (next(&mut popped)?, next(&mut popped)?);
        let ids: Vec<TaskId> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        if ids.len() < texts.len() {
            warn!(
                list,
                skipped = texts.len() - ids.len(),
                "the list holds entries that are no task ids"
            );
        }
        Ok(Popped {
            ids,
            queue: self.queue.keys().queue_of(&list),
            out_of_turn,
            ..Popped::default()
        })
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

/// Reads the next of the answers.
fn next<T: FromRedisValue>(answers: &mut impl Iterator<Item = Value>) -> Result<T> {
    let answer = answers.next().unwrap_or(Value::Nil);
    Ok(from_redis_value(answer).map_err(RedisError::from)?)
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
