use std::time::Duration;

use deadpool_redis::redis::Pipeline;
use deadpool_redis::redis::aio::PubSubStream;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Error, RedisQueues, Result};
use crate::task::TaskId;

/// How long it may take to connect and subscribe. A Redis that accepts and never answers counts as away after it.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The ids of running tasks that somebody cancels, as the word comes in.
pub struct Cancellations {
    messages: PubSubStream,
}

impl RedisQueues {
    /// Spreads the word that a running task was cancelled. Workers that miss it see it in Postgres a second later.
    pub async fn publish_cancellation(&self, id: TaskId) -> Result<()> {
        let mut command = Pipeline::new();
        command
            .cmd("PUBLISH")
            .arg(self.keys().cancellations())
            .arg(id.to_string())
            .ignore();
        self.run(&command).await
    }

    /// Listens for cancellations, on a connection of its own.
    pub async fn cancellations(&self) -> Result<Cancellations> {
        // redis-rs bounds neither the connect nor the subscribe of a listener
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
    /// The next id, or nothing when the connection is lost.
    pub async fn next(&mut self) -> Option<TaskId> {
        loop {
            let message = self.messages.next().await?;
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
