//! Redis behind a circuit breaker. Nothing that a client asks for depends on it.

use std::sync::Arc;

use tasker_shared::circuit_breaker::{Breaker, Limits};
use tasker_shared::queue::{self, Queue, ServerCheck};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What this server knows of Redis being there.
#[derive(Debug)]
pub struct RedisHealth {
    queue: Arc<Queue>,
    breaker: Breaker,
    check: ServerCheck,
}

impl RedisHealth {
    /// Believes at first that it is there.
    pub fn new(queue: Arc<Queue>, limits: Limits) -> Self {
        Self {
            queue,
            breaker: Breaker::new("redis", limits),
            check: ServerCheck::default(),
        }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What this Redis is like, as far as it is known.
    pub fn check(&self) -> &ServerCheck {
        &self.check
    }

    /// Whether commands are sent to it.
    pub fn is_usable(&self) -> bool {
        self.breaker.is_closed() && !self.check.is_unsupported()
    }

    /// Carries out a command that can as well be left out; nothing if it was, or failed.
    pub async fn ask<T>(&self, command: impl AsyncFnOnce(&Queue) -> queue::Result<T>) -> Option<T> {
        if !self.is_usable() {
            self.breaker.refused();
            return None;
        }
        let answer = command(&self.queue).await;
        match &answer {
            Ok(_) => self.breaker.succeeded(),
            Err(error) => {
                warn!(
                    error = error as &dyn std::error::Error,
                    "Redis did not carry out a command"
                );
                if error.is_away() {
                    self.breaker.failed();
                }
            }
        }
        answer.ok()
    }

    /// Tries Redis while the breaker is open, and checks what it is like at each new connection, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.breaker.watch(async || self.queue.takes_writes().await.is_ok()) => {}
            () = self.check.keep(&self.queue, &stop) => {}
        }
    }
}
