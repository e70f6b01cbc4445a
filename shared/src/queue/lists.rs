use std::collections::BTreeMap;

use deadpool_redis::redis::Pipeline;

use super::{Queue, Result};
use crate::task::{QueueName, TaskId};

/// That a task waits in a queue.
pub type Hint = (TaskId, QueueName);

/// Most ids in one push command, so that no command holds Redis up for long.
const IDS_PER_COMMAND: usize = 5_000;

impl Queue {
    /// Puts ids on the tails of their lists, in the order given, in one round trip.
    pub async fn push_back(&self, hints: &[Hint]) -> Result<()> {
        self.push("RPUSH", hints.iter()).await
    }

    /// Puts ids on the heads of their lists, so that the first given is popped first, in one round trip.
    pub async fn push_front(&self, hints: &[Hint]) -> Result<()> {
        self.push("LPUSH", hints.iter().rev()).await
    }

    async fn push<'a>(&self, command: &str, hints: impl Iterator<Item = &'a Hint>) -> Result<()> {
        let mut lists: BTreeMap<&QueueName, Vec<String>> = BTreeMap::new();
        for (id, queue) in hints {
            lists.entry(queue).or_default().push(id.to_string());
        }
        if lists.is_empty() {
            return Ok(());
        }
        let mut commands = Pipeline::new();
        for (queue, ids) in &lists {
            for chunk in ids.chunks(IDS_PER_COMMAND) {
                commands
                    .cmd(command)
                    .arg(self.keys().list(queue))
                    .arg(chunk)
                    .ignore();
            }
        }
        self.run(&commands).await
    }

    /// How many ids each of these lists holds, in the order given.
    pub async fn depths(&self, queues: &[QueueName]) -> Result<Vec<u64>> {
        let mut commands = Pipeline::new();
        for queue in queues {
            commands.cmd("LLEN").arg(self.keys().list(queue));
        }
        self.run(&commands).await
    }
}
