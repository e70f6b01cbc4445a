//! Pops: strict priority, batched, blocking, one round trip.
//!
//! While all queues of a worker are plain, a pop is one `BLMPOP` of their main lists. Once one of them is
//! split by task type, a script pops from the lists of the worker's own types, and a pop that found no ids
//! blocks on those lists.
//!
//! A pop in flight takes effect on the server even if its reply is not awaited, so its future must not be
//! dropped: await the reply, or end it early with an [`Unblocker`]. A connection whose reply did not come in
//! time is closed, not reused.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::Pool;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, RedisError, Value, from_redis_value};
use tracing::{error, warn};

use super::connection::{pool, take_connection};
use super::pop_order::PopOrder;
use super::{Error, RedisQueues, Result};
use crate::RedisConfig;
use tasker_core::task::{QueueName, TaskId};

/// The maximum time for which the server may hold a pop of empty lists.
pub const BLOCK_MAX: Duration = Duration::from_secs(1);
/// The client's timeout for the reply: the server's maximum and a second more.
const REPLY: Duration = Duration::from_secs(2);
/// The time for which a queue is skipped after its key was found not to be a list.
const LEFT_OUT: Duration = Duration::from_secs(5);
/// Stands for "no connection" where a client id is expected.
const NO_CLIENT: i64 = 0;
/// An entry that is about to be removed from its list.
const REMOVED: &str = "-";

/// The result of a pop.
#[derive(Debug, Default)]
pub struct Popped {
    /// The hints, all of one queue, oldest first.
    pub ids: Vec<TaskId>,
    /// Their types, where the queue is split.
    pub task_names: HashMap<TaskId, String>,
    /// The queue they came from.
    pub queue: Option<QueueName>,
    /// The number of hints left in the lists after the pop, if asked for.
    pub left: Option<u64>,
    /// Whether they were taken before the class above because they had waited too long.
    pub starved: bool,
    /// Whether starved heads are left that could be taken first.
    pub starved_left: bool,
}

/// The way of popping.
#[derive(Debug, Clone, Copy)]
enum Pop {
    /// In the order of the lists, waiting up to this long.
    Blocking(Duration),
    /// In the order of the lists, or starved heads as if one class higher; without waiting.
    Now { starved_first: bool },
}

/// A separate connection for blocking pops.
pub struct Popper {
    queue: Arc<RedisQueues>,
    pool: Pool,
    /// The queues given by the caller.
    serving: Vec<QueueName>,
    /// Queues whose keys are not lists, and until when they are skipped.
    left_out: HashMap<QueueName, Instant>,
    order: PopOrder,
    connection: Option<MultiplexedConnection>,
    client_id: Arc<AtomicI64>,
}

/// A handle that ends a blocking pop early.
#[derive(Debug, Clone)]
pub struct Unblocker {
    queue: Arc<RedisQueues>,
    client_id: Arc<AtomicI64>,
}

impl Popper {
    /// Creates a popper of `queues`, strictly in this order, for a worker that registers `task_names`.
    pub fn new(
        queue: Arc<RedisQueues>,
        config: &RedisConfig,
        queues: &[QueueName],
        task_names: &[String],
    ) -> Result<Self> {
        Ok(Self {
            pool: pool(config, REPLY)?,
            order: PopOrder::new(queue.keys(), queues, task_names),
            queue,
            serving: queues.to_vec(),
            left_out: HashMap::new(),
            connection: None,
            client_id: Arc::new(AtomicI64::new(NO_CLIENT)),
        })
    }

    /// Changes the queues to pop from, strictly in this order.
    pub fn serve(&mut self, queues: &[QueueName]) {
        let expired = self.left_out.values().any(|until| *until <= Instant::now());
        if self.serving == queues && !expired {
            return;
        }
        self.serving = queues.to_vec();
        // all are tried again at once: one whose key is still not a list is skipped by the next pop
        if expired {
            self.left_out.clear();
        }
        self.reorder();
    }

    fn reorder(&mut self) {
        let served: Vec<QueueName> = self
            .serving
            .iter()
            .filter(|name| !self.left_out.contains_key(*name))
            .cloned()
            .collect();
        self.order.serve(self.queue.keys(), &served);
    }

    /// Returns a handle that ends a pop of this connection early.
    pub fn unblocker(&self) -> Unblocker {
        Unblocker {
            queue: Arc::clone(&self.queue),
            client_id: Arc::clone(&self.client_id),
        }
    }

    /// Pops up to `count` hints of the first list that has any, waiting up to `block` (at most a second).
    /// Must not be cancelled. With `count_left`, also counts the remaining hints, in the same round trip.
    pub async fn pop(&mut self, count: usize, block: Duration, count_left: bool) -> Result<Popped> {
        // the script cannot block, so it comes first and `BLMPOP` only waits; an id pushed between the two is
        // found by `BLMPOP`
        if self.order.any_split() {
            let now = Pop::Now { starved_first: false };
            let popped = self.carry_out(now, count, count_left).await?;
            if popped.queue.is_some() {
                return Ok(popped);
            }
        }
        let block = Pop::Blocking(block.min(BLOCK_MAX));
        self.carry_out(block, count, count_left).await
    }

    /// Pops like [`Self::pop`], but takes starved heads as if they were one class higher, and does not wait.
    pub async fn pop_starved_first(&mut self, count: usize, count_left: bool) -> Result<Popped> {
        self.carry_out(Pop::Now { starved_first: true }, count, count_left)
            .await
    }

    /// Returns whether the starved heads of any queue can be taken before those of another.
    pub fn applies_aging(&self) -> bool {
        self.order.applies_aging()
    }

    async fn carry_out(&mut self, pop: Pop, count: usize, count_left: bool) -> Result<Popped> {
        // one key that is not a list fails the pop of all queues, so it is tried again without such keys
        let mut answer = self.try_pop(pop, count, count_left).await;
        if let Err(error) = &answer
            && error.is_wrong_type()
            && self.leave_out_broken().await?
        {
            answer = self.try_pop(pop, count, count_left).await;
        }
        // closing the connection also ends a pop that still blocks on the server; the client id must be
        // forgotten with it, since after a restart of Redis it may be another client's
        if answer.is_err() {
            self.client_id.store(NO_CLIENT, Ordering::Relaxed);
            self.connection = None;
        }
        answer
    }

    /// Skips queues whose keys are not lists, so that the others can be popped; returns whether there were
    /// any and others are left.
    async fn leave_out_broken(&mut self) -> Result<bool> {
        let lists = self.order.lists();
        let mut commands = Pipeline::new();
        for (list, _) in &lists {
            commands.cmd("TYPE").arg(list);
        }
        let types: Vec<String> = self.queue.run(&commands).await?;
        let mut found = false;
        for ((list, queue), kind) in lists.into_iter().zip(types) {
            if kind == "list" || kind == "none" {
                continue;
            }
            error!(
                key = list,
                holds = kind,
                "queue key is not a list; claiming its tasks by polling until the key is deleted"
            );
            self.left_out.insert(queue, Instant::now() + LEFT_OUT);
            found = true;
        }
        self.reorder();
        Ok(found && !self.order.is_empty())
    }

    async fn try_pop(&mut self, pop: Pop, count: usize, count_left: bool) -> Result<Popped> {
        let mut connection = self.connect().await?;
        let commands = self.commands(pop, count, count_left);
        let answers: Vec<Value> = commands.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let mut popped = match pop {
            Pop::Blocking(_) => self.read_blocking(next(&mut answers)?),
            Pop::Now { .. } => self.read_script(next(&mut answers)?)?,
        };
        if let Pop::Blocking(_) = pop
            && count_left
        {
            let mut left = 0;
            for _ in 0..self.order.len() {
                left += next::<u64>(&mut answers)?;
            }
            popped.left = Some(left);
        }
        let told: Vec<Option<String>> = next(&mut answers)?;
        popped.starved_left = self.order.note(&told);
        Ok(popped)
    }

    /// Returns the commands of a pop, with the reads that share its round trip.
    fn commands(&self, pop: Pop, count: usize, count_left: bool) -> Pipeline {
        let mut commands = Pipeline::new();
        match pop {
            Pop::Blocking(block) => {
                self.order.add_blocking_pop(&mut commands, block, count);
                if count_left {
                    self.order.add_lengths(&mut commands);
                }
            }
            Pop::Now { starved_first } => self.order.add_pop(&mut commands, count, starved_first),
        }
        self.order.add_states(&mut commands);
        commands
    }

    /// Reads the reply of `BLMPOP`: a list and its entries.
    fn read_blocking(&self, reply: Option<(String, Vec<String>)>) -> Popped {
        let Some((list, entries)) = reply else {
            return Popped::default();
        };
        let Some((queue, task_name)) = self.queue.keys().read_list(&list) else {
            return Popped::default();
        };
        let ids = read_ids(&list, &entries);
        let named = task_name.map(|name| ids.iter().map(|id| (*id, name.to_owned())).collect());
        Popped {
            ids,
            task_names: named.unwrap_or_default(),
            queue: Some(queue),
            ..Popped::default()
        }
    }

    /// Reads the reply of the script: the states of the queues, then what was popped, if anything.
    fn read_script(&self, reply: Vec<Value>) -> Result<Popped> {
        let mut reply = reply.into_iter().skip(1);
        let Some(list) = next::<Option<String>>(&mut reply)? else {
            return Ok(Popped {
                left: Some(0),
                ..Popped::default()
            });
        };
        let entries: Vec<String> = next(&mut reply)?;
        let left: u64 = next(&mut reply)?;
        let runs: Vec<String> = next(&mut reply)?;
        // (type, count) pairs, in the order of the entries
        let mut names = runs
            .chunks_exact(2)
            .flat_map(|run| std::iter::repeat_n(&run[0], run[1].parse().unwrap_or_default()));
        let task_names = entries
            .iter()
            .filter_map(|entry| Some((entry.parse().ok(), names.next()?.clone())))
            .filter_map(|(id, name)| Some((id?, name)))
            .collect();
        Ok(Popped {
            ids: read_ids(&list, &entries),
            task_names,
            queue: self.queue.keys().read_list(&list).map(|(queue, _)| queue),
            left: Some(left),
            starved: next::<Option<i64>>(&mut reply)?.is_some(),
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
        // stored before the first pop: an unblock that comes earlier has no pop to end
        self.client_id.store(client_id, Ordering::Relaxed);
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}

/// Reads the entries of a list. An entry that was pushed to the head of a type list begins with `!`.
fn read_ids(list: &str, entries: &[String]) -> Vec<TaskId> {
    // a sweep has marked these entries for removal
    let known = entries.iter().filter(|entry| *entry != REMOVED);
    let ids: Vec<TaskId> = known.clone().filter_map(|entry| super::read_id(entry)).collect();
    let skipped = known.count() - ids.len();
    if skipped > 0 {
        warn!(list, skipped, "skipped list entries that are not task ids");
    }
    ids
}

/// Reads the next of the answers.
fn next<T: FromRedisValue>(answers: &mut impl Iterator<Item = Value>) -> Result<T> {
    let answer = answers.next().unwrap_or(Value::Nil);
    Ok(from_redis_value(answer).map_err(RedisError::from)?)
}

impl Error {
    /// Returns whether a key has another type than the command needs.
    pub(super) fn is_wrong_type(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::Command(error) => match error.clone().into_server_errors() {
                Some(answers) => answers.iter().any(|(_, answer)| answer.code() == "WRONGTYPE"),
                None => false,
            },
        }
    }
}

impl std::fmt::Debug for Popper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Popper")
            .field("serving", &self.serving)
            .finish_non_exhaustive()
    }
}

impl Unblocker {
    /// Makes the pop return at once with what it has. Has no effect without a pop in flight.
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
