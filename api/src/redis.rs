//! The availability of Redis and the commands behind its circuit breaker. No request fails because Redis
//! does.

use std::sync::Arc;

use tasker_platform::circuit_breaker::{Breaker, Limits};
use tasker_queue::{self as queue, RedisQueues, ServerCheck};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The availability of Redis as this server sees it.
#[derive(Debug)]
pub struct RedisHealth {
    queue: Arc<RedisQueues>,
    breaker: Breaker,
    check: ServerCheck,
}

impl RedisHealth {
    /// Creates the state with Redis assumed available.
    pub fn new(queue: Arc<RedisQueues>, limits: Limits) -> Self {
        Self {
            queue,
            breaker: Breaker::new("redis", limits),
            check: ServerCheck::default(),
        }
    }

    /// Returns the connections, for commands outside of the circuit breaker.
    pub fn queue(&self) -> &RedisQueues {
        &self.queue
    }

    /// Returns the circuit breaker around Redis.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Returns the last check of version and settings of this Redis.
    pub fn check(&self) -> &ServerCheck {
        &self.check
    }

    /// Returns true if commands are sent to it: the breaker is closed and the server is supported.
    pub fn is_usable(&self) -> bool {
        self.breaker.is_closed() && !self.check.is_unsupported()
    }

    /// Runs an optional command. Returns `None` if Redis is unavailable or the command failed.
    pub async fn ask<T>(&self, command: impl AsyncFnOnce(&RedisQueues) -> queue::Result<T>) -> Option<T> {
        if !self.is_usable() {
            self.breaker.refused();
            return None;
        }
        let answer = command(&self.queue).await;
        match &answer {
            Ok(_) => self.breaker.succeeded(),
            Err(error) => {
                warn!(error = error as &dyn std::error::Error, "Redis command failed");
                // an error reply shows that Redis works
                if error.is_unavailable() {
                    self.breaker.failed();
                }
            }
        }
        answer.ok()
    }

    /// Probes Redis while the breaker is open, and checks version and settings of each new connection, until
    /// `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.breaker.watch(async || self.queue.takes_writes().await.is_ok()) => {}
            () = self.check.keep(&self.queue, &stop) => {}
        }
    }
}
