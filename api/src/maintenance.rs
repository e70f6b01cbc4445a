//! The start of the maintenance duties with the parts of this server.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tasker_config::ServerConfig;
use tasker_core::task::Hint;
use tasker_maintenance::{HintSender, Settings};
use tasker_platform::lifecycle::Shutdown;

use crate::state::AppState;
use crate::submit::push::Pusher;

/// Starts all duties as background tasks.
pub fn start(state: &AppState, config: &ServerConfig, shutdown: &Shutdown) {
    let settings = Settings {
        alone: !config.distributed,
        leader_term: config.leader_term,
        worker_timeout: config.worker_timeout,
        cleanup_interval: config.cleanup_interval,
        key_ttl: config.idempotency_ttl,
        retention_days: config.retention_days,
        dead_letter_retention_days: config.dead_letter_retention_days,
        age_limit: config.queues.age_limit,
    };
    tasker_maintenance::start(state.duty_handles(), settings, shutdown);
}

impl HintSender for Pusher {
    fn push(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()> {
        self.push(hints).boxed()
    }

    fn push_front(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()> {
        self.push_front(hints).boxed()
    }
}
