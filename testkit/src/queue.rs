use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Commands, Connection, RedisResult};
use tasker_core::task::{QueueName, TaskId};
use tasker_queue::RedisConfig;
use tasker_queue::{Popper, RedisQueues};

/// Redis with its own key prefix; the keys are deleted on drop.
#[derive(Debug)]
pub struct TestQueue {
    queue: Arc<RedisQueues>,
    config: RedisConfig,
    url: String,
}

impl TestQueue {
    /// Creates a prefix on the Redis of `REDIS_URL`.
    ///
    /// # Panics
    /// If the variable is not set.
    #[expect(clippy::new_without_default, reason = "it reads the environment")]
    pub fn new() -> Self {
        Self::at(&crate::redis_url())
    }

    /// Creates a prefix on the Redis at `url`.
    ///
    /// # Panics
    /// If `url` is not a Redis URL.
    pub fn at(url: &str) -> Self {
        let config = RedisConfig {
            url: url.into(),
            authority: None,
            key_prefix: format!("test:{}:", TaskId::generate()),
        };
        Self {
            queue: Arc::new(RedisQueues::new(&config).expect("the URL of a Redis")),
            config,
            url: url.to_owned(),
        }
    }

    /// Returns its configuration as processes get it.
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The same queue, to be shared.
    pub fn shared(&self) -> Arc<RedisQueues> {
        Arc::clone(&self.queue)
    }

    /// Creates a connection that pops from `queues`.
    ///
    /// # Panics
    /// Never: the constructor has parsed the URL.
    pub fn popper(&self, queues: &[QueueName]) -> Popper {
        self.popper_of_types(queues, &[])
    }

    /// Creates a connection that pops from `queues` for a worker that registers `task_names`.
    ///
    /// # Panics
    /// Never: the constructor has parsed the URL.
    pub fn popper_of_types(&self, queues: &[QueueName], task_names: &[&str]) -> Popper {
        let names: Vec<String> = task_names.iter().map(|name| (*name).to_owned()).collect();
        Popper::new(self.shared(), &self.config, queues, &names).expect("the URL of a Redis")
    }

    /// Returns the length of the list of `queue`, like `redis-cli llen`.
    ///
    /// # Panics
    /// If Redis returns an error.
    pub fn llen(&self, queue: &str) -> u64 {
        connect(&self.url)
            .and_then(|mut connection| connection.llen(format!("{}{queue}", self.config.key_prefix)))
            .expect("Redis returns the length")
    }

    /// Deletes every key of the prefix, to simulate a Redis that lost its data.
    ///
    /// # Panics
    /// If Redis returns an error.
    pub fn delete_all(&self) {
        delete_keys(&self.url, &self.config.key_prefix).expect("Redis deletes keys");
    }

    /// Runs any Redis command, for operations that Tasker itself never does.
    ///
    /// # Panics
    /// If Redis returns an error.
    pub fn raw(&self, command: &str, arguments: &[&str]) {
        connect(&self.url)
            .and_then(|mut connection| redis::cmd(command).arg(arguments).exec(&mut connection))
            .expect("Redis runs the command");
    }
}

impl Deref for TestQueue {
    type Target = RedisQueues;

    fn deref(&self) -> &RedisQueues {
        &self.queue
    }
}

impl Drop for TestQueue {
    fn drop(&mut self) {
        // an error is ignored: the test may have stopped this Redis
        let _ = delete_keys(&self.url, &self.config.key_prefix);
    }
}

/// Opens a connection with timeouts, since a test may have stopped or paused its Redis.
pub(crate) fn connect(url: &str) -> RedisResult<Connection> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let connection = Client::open(url)?.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn delete_keys(url: &str, prefix: &str) -> RedisResult<()> {
    let mut connection = connect(url)?;
    let keys: Vec<String> = connection
        .scan_match(format!("{prefix}*"))?
        .collect::<RedisResult<_>>()?;
    if keys.is_empty() {
        Ok(())
    } else {
        connection.del(keys)
    }
}
