use std::time::Duration;

use futures_util::StreamExt;
use redis::Pipeline;
use redis::aio::PubSubStream;
use tokio::time::timeout;

use super::{Error, RedisQueues, Result};
use tasker_core::task::TaskId;

/// Timeout of connecting and subscribing. A Redis that accepts and never answers counts as unavailable after
/// it.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream of the ids of running tasks that are being cancelled.
pub struct Cancellations {
    messages: PubSubStream,
}

impl RedisQueues {
    /// Publishes the notice that a running task was cancelled. Workers that miss it read it from Postgres a
    /// second later.
    pub async fn publish_cancellation(&self, id: TaskId) -> Result<()> {
        let mut command = Pipeline::new();
        command
            .cmd("PUBLISH")
            .arg(self.keys().cancellations())
            .arg(id.to_string())
            .ignore();
        self.run(&command).await
    }

    /// Subscribes to cancellation notices, on a separate connection.
    pub async fn cancellations(&self) -> Result<Cancellations> {
        // redis-rs applies no timeout to the connect or the subscribe of a listener
        timeout(SUBSCRIBE_TIMEOUT, self.subscribe())
            .await
            .map_err(|elapsed| Error::Connect(elapsed.into()))?
    }

    async fn subscribe(&self) -> Result<Cancellations> {
        let (mut sink, messages) = self.client().get_async_pubsub().await?.split();
        sink.subscribe(self.keys().cancellations()).await?;
        Ok(Cancellations { messages })
    }
}

impl Cancellations {
    /// Returns the next id; `None` when the connection is lost.
    pub async fn next(&mut self) -> Option<TaskId> {
        loop {
            let message = self.messages.next().await?;
            // a message that is not an id is skipped: `None` would mean that the connection is lost
            let id = message
                .get_payload::<String>()
                .ok()
                .and_then(|text| text.parse().ok());
            if id.is_some() {
                return id;
            }
        }
    }
}

impl std::fmt::Debug for Cancellations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancellations")
    }
}
