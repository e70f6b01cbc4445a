use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{Client, Commands, Connection, RedisResult};
use tasker_shared::config::RedisConfig;
use tasker_shared::queue::{Popper, RedisQueues};
use tasker_shared::task::{QueueName, TaskId};

/// Redis under a key prefix of its own. Its keys are deleted when it is dropped.
#[derive(Debug)]
pub struct TestQueue {
    queue: Arc<RedisQueues>,
    config: RedisConfig,
    url: String,
}

impl TestQueue {
    /// A new prefix on the Redis of `REDIS_URL`.
    ///
    /// # Panics
    /// Without that variable.
    #[expect(clippy::new_without_default, reason = "it reads the environment")]
    pub fn new() -> Self {
        Self::at(&crate::redis_url())
    }

    /// A new prefix on the Redis at `url`.
    ///
    /// # Panics
    /// If that is no URL of a Redis.
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

    /// How to reach it, as a process is told.
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The same queue, to be shared.
    pub fn shared(&self) -> Arc<RedisQueues> {
        Arc::clone(&self.queue)
    }

    /// A connection for pops from `queues`.
    ///
    /// # Panics
    /// Never: the URL has been read before.
    pub fn popper(&self, queues: &[QueueName]) -> Popper {
        self.popper_of_types(queues, &[])
    }

    /// A connection for pops from `queues` by a worker that registers `task_names`.
    ///
    /// # Panics
    /// Never: the URL has been read before.
    pub fn popper_of_types(&self, queues: &[QueueName], task_names: &[&str]) -> Popper {
        let names: Vec<String> = task_names.iter().map(|name| (*name).to_owned()).collect();
        Popper::new(self.shared(), &self.config, queues, &names).expect("the URL of a Redis")
    }

    /// The length of the list of `queue`, as `redis-cli llen` says it.
    ///
    /// # Panics
    /// If Redis does not tell.
    pub fn llen(&self, queue: &str) -> u64 {
        connect(&self.url)
            .and_then(|mut connection| connection.llen(format!("{}{queue}", self.config.key_prefix)))
            .expect("Redis tells the length")
    }

    /// Deletes every key under the prefix, as a Redis that lost its data would have.
    ///
    /// # Panics
    /// If Redis refuses it.
    pub fn delete_all(&self) {
        delete_keys(&self.url, &self.config.key_prefix).expect("Redis deletes keys");
    }

    /// Runs any command, for what the product itself never does.
    ///
    /// # Panics
    /// If Redis refuses it.
    pub fn raw(&self, command: &str, arguments: &[&str]) {
        connect(&self.url)
            .and_then(|mut connection| {
                deadpool_redis::redis::cmd(command)
                    .arg(arguments)
                    .exec(&mut connection)
            })
            .expect("Redis carries out the command");
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
        // a Redis that the test itself has stopped needs no cleaning
        let _ = delete_keys(&self.url, &self.config.key_prefix);
    }
}

/// A connection that does not wait for ever: a test may have stopped its Redis.
pub(crate) fn connect(url: &str) -> RedisResult<Connection> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let connection = Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
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
