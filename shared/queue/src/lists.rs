use std::collections::BTreeMap;

use redis::Pipeline;

use super::{RedisQueues, Result, scripts};
use tasker_core::task::{Hint, QueueName};

/// The maximum number of ids in one push command, so that no command occupies Redis for long.
const IDS_PER_COMMAND: usize = 5_000;
/// The maximum number of ids in one call that removes them.
const IDS_PER_REMOVAL: usize = 256;

impl RedisQueues {
    /// Pushes ids to the tails of their lists, in the order given, and urgent ones to the heads, in one round
    /// trip.
    pub async fn push_back(&self, hints: &[Hint]) -> Result<()> {
        let mut commands = Pipeline::new();
        self.add_pushes(&mut commands, "RPUSH", hints.iter().filter(|hint| !hint.urgent));
        self.add_pushes(
            &mut commands,
            "LPUSH",
            // reversed, because LPUSH puts each id before the one pushed last
            hints.iter().rev().filter(|hint| hint.urgent),
        );
        self.run_any(&commands).await
    }

    /// Pushes ids to the heads of their lists, so that the first given is popped first, in one round trip.
    pub async fn push_front(&self, hints: &[Hint]) -> Result<()> {
        let mut commands = Pipeline::new();
        // reversed, because LPUSH puts each id before the one pushed last
        self.add_pushes(&mut commands, "LPUSH", hints.iter().rev());
        self.run_any(&commands).await
    }

    /// Sends commands, unless there are none.
    async fn run_any(&self, commands: &Pipeline) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        self.run(commands).await
    }

    fn add_pushes<'a>(&self, commands: &mut Pipeline, command: &str, hints: impl Iterator<Item = &'a Hint>) {
        let mut queues: BTreeMap<&QueueName, Vec<&Hint>> = BTreeMap::new();
        for hint in hints {
            queues.entry(&hint.queue).or_default().push(hint);
        }
        for (queue, hints) in &queues {
            for chunk in hints.chunks(IDS_PER_COMMAND) {
                self.add_push(commands, command, queue, chunk);
            }
        }
    }

    /// Adds one push of hints of `queue`.
    fn add_push(&self, commands: &mut Pipeline, command: &str, queue: &QueueName, hints: &[&Hint]) {
        let keys = self.keys();
        // one name per run of equal types, not per id
        let runs: Vec<_> = hints
            .chunk_by(|a, b| a.task_name == b.task_name)
            .map(|run| (run[0].task_name.as_deref().unwrap_or_default(), run.len()))
            .collect();
        let script = commands
            .cmd("EVAL")
            .arg(scripts::PUSH)
            .arg(3)
            .arg(keys.list(queue))
            .arg(keys.split(queue))
            .arg(keys.split_lists(queue))
            .arg(command)
            .arg(keys.type_lists(queue))
            .arg(runs.len());
        for (task_name, count) in runs {
            script.arg(task_name).arg(count);
        }
        for hint in hints {
            script.arg(hint.id.to_string());
        }
        script.ignore();
    }

    /// Removes hints of tasks that are no longer pending, in one round trip. Only searches near the ends of
    /// the lists; the leader's sweep finds the rest, and hints without a type where their queue is split.
    pub async fn remove(&self, hints: &[Hint]) -> Result<()> {
        let mut lists: BTreeMap<(&QueueName, &str), Vec<String>> = BTreeMap::new();
        for hint in hints {
            let task_name = hint.task_name.as_deref().unwrap_or_default();
            lists
                .entry((&hint.queue, task_name))
                .or_default()
                .push(hint.id.to_string());
        }
        let keys = self.keys();
        let mut commands = Pipeline::new();
        for ((queue, task_name), mut ids) in lists {
            // the script stops when it has found as many as it was given, which needs distinct ids
            ids.sort_unstable();
            ids.dedup();
            for chunk in ids.chunks(IDS_PER_REMOVAL) {
                commands
                    .cmd("EVAL")
                    .arg(scripts::remove())
                    .arg(6)
                    .arg(keys.list(queue))
                    .arg(keys.split(queue))
                    .arg(keys.split_lists(queue))
                    .arg(keys.type_list(queue, task_name))
                    .arg(keys.unroutable(queue))
                    .arg(keys.unremoved(queue))
                    .arg(chunk)
                    .ignore();
            }
        }
        self.run_any(&commands).await
    }

    /// Pushes hints that were popped by a worker which does not register their types to the heads of the
    /// lists that are popped now; the first of a type is popped first. Hints without a type are left out.
    pub async fn reroute(&self, hints: &[Hint]) -> Result<()> {
        let mut lists: BTreeMap<(&QueueName, &str), Vec<String>> = BTreeMap::new();
        // reversed, since the script pushes one by one to the head
        for hint in hints.iter().rev() {
            if let Some(task_name) = &hint.task_name {
                let ids = lists.entry((&hint.queue, task_name)).or_default();
                ids.push(hint.id.to_string());
            }
        }
        let keys = self.keys();
        let mut commands = Pipeline::new();
        for ((queue, task_name), ids) in lists {
            for chunk in ids.chunks(IDS_PER_REMOVAL) {
                commands
                    .cmd("EVAL")
                    .arg(scripts::reroute())
                    .arg(4)
                    .arg(keys.list(queue))
                    .arg(keys.split(queue))
                    .arg(keys.split_lists(queue))
                    .arg(keys.type_list(queue, task_name))
                    .arg(chunk)
                    .ignore();
            }
        }
        self.run_any(&commands).await
    }

    /// Parks hints of tasks whose type no live worker of their queue registers.
    pub async fn park(&self, hints: &[Hint]) -> Result<()> {
        let mut commands = Pipeline::new();
        for hint in hints {
            commands
                .cmd("RPUSH")
                .arg(self.keys().unroutable(&hint.queue))
                .arg(hint.id.to_string())
                .ignore();
        }
        self.run_any(&commands).await
    }

    /// Returns the length of the main list of each of these queues, in the order given.
    pub async fn depths(&self, queues: &[QueueName]) -> Result<Vec<u64>> {
        self.lengths(queues.iter().map(|queue| self.keys().list(queue)))
            .await
    }

    /// Returns the number of parked hints of each of these queues, in the order given.
    pub async fn unroutable(&self, queues: &[QueueName]) -> Result<Vec<u64>> {
        self.lengths(queues.iter().map(|queue| self.keys().unroutable(queue)))
            .await
    }

    async fn lengths(&self, lists: impl Iterator<Item = String>) -> Result<Vec<u64>> {
        let lists: Vec<String> = lists.collect();
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::LENGTHS)
            .arg(lists.len())
            .arg(lists);
        let (lengths,): (Vec<u64>,) = self.run(&command).await?;
        Ok(lengths)
    }
}
