//! What the leader does to the lists of a queue that is, was or becomes split by task type.

use deadpool_redis::redis::Pipeline;

use super::pop_order::SPLIT;
use super::{Queue, Result, scripts};
use crate::task::QueueName;

/// The longest that type lists may be together to be merged in one step.
const MERGE_MAX: usize = 5_000;

/// How the hints of a queue are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// In its main list alone.
    Plain,
    /// In its main list, which is popped, and in type lists that are incomplete.
    Opening,
    /// In type lists, which are popped. The main list counts them.
    Split,
}

/// The state of a queue's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// How its hints are stored.
    pub split: Split,
    /// The number of parked hints.
    pub unroutable: u64,
    /// Hints that were to be removed since this was last asked, and were not found near the ends of their lists.
    pub unremoved: u64,
}

impl Queue {
    /// Returns the state of the lists of each of `queues`, in their order, and resets the numbers of unremoved hints.
    pub async fn routing(&self, queues: &[QueueName]) -> Result<Vec<Routing>> {
        let mut commands = Pipeline::new();
        for queue in queues {
            commands.cmd("GET").arg(self.keys().split(queue));
            commands.cmd("LLEN").arg(self.keys().unroutable(queue));
            commands.cmd("GETDEL").arg(self.keys().unremoved(queue));
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<Option<String>> = self.run(&commands).await?;
        let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        let routings = answers.chunks_exact(3).map(|answer| Routing {
            split: match answer[0].as_deref() {
                None => Split::Plain,
                Some(SPLIT) => Split::Split,
                Some(_) => Split::Opening,
            },
            unroutable: number(&answer[1]),
            unremoved: number(&answer[2]),
        });
        Ok(routings.collect())
    }

    /// Returns how the hints of `queue` are stored.
    pub async fn split(&self, queue: &QueueName) -> Result<Split> {
        let mut command = Pipeline::new();
        command.cmd("GET").arg(self.keys().split(queue));
        let (state,): (Option<String>,) = self.run(&command).await?;
        Ok(match state.as_deref() {
            None => Split::Plain,
            Some(SPLIT) => Split::Split,
            Some(_) => Split::Opening,
        })
    }

    /// Returns the task types whose lists were filled since `queue` was split.
    pub async fn split_types(&self, queue: &QueueName) -> Result<Vec<String>> {
        let mut command = Pipeline::new();
        command.cmd("SMEMBERS").arg(self.keys().split_lists(queue));
        let (lists,): (Vec<String>,) = self.run(&command).await?;
        let prefix = self.keys().type_lists(queue);
        let names = lists.iter().filter_map(|list| list.strip_prefix(&prefix));
        Ok(names.map(ToOwned::to_owned).collect())
    }

    /// Makes a plain queue one whose type lists are being filled: from now on pushes go to both kinds of lists.
    pub async fn open_type_lists(&self, queue: &QueueName) -> Result<()> {
        let mut command = Pipeline::new();
        command
            .cmd("SET")
            .arg(self.keys().split(queue))
            .arg("opening")
            .arg("NX")
            .ignore();
        self.run(&command).await
    }

    /// Takes the next step from split to plain, unless the backlog of `queue` is too long for it. The first makes the main list
    /// exact, and it is popped again; the second deletes the type lists.
    pub async fn unsplit(&self, queue: &QueueName) -> Result<()> {
        let keys = self.keys();
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::merge())
            .arg(3)
            .arg(keys.list(queue))
            .arg(keys.split(queue))
            .arg(keys.split_lists(queue))
            .arg(MERGE_MAX)
            .ignore();
        self.run(&command).await
    }

    /// Parks all hints of a task type of a split queue; returns their number.
    pub async fn park_type(&self, queue: &QueueName, task_name: &str) -> Result<u64> {
        let keys = self.keys();
        let mut parked = 0;
        loop {
            let mut command = Pipeline::new();
            command
                .cmd("EVAL")
                .arg(scripts::park())
                .arg(5)
                .arg(keys.list(queue))
                .arg(keys.split(queue))
                .arg(keys.split_lists(queue))
                .arg(keys.type_list(queue, task_name))
                .arg(keys.unroutable(queue));
            let (moved,): (u64,) = self.run(&command).await?;
            parked += moved;
            if moved == 0 {
                return Ok(parked);
            }
        }
    }

    /// Gives the main lists of those of `queues` that are split the length of their type lists.
    pub async fn balance(&self, queues: &[QueueName]) -> Result<()> {
        let keys = self.keys();
        let keys: Vec<String> = queues
            .iter()
            .flat_map(|queue| [keys.list(queue), keys.split(queue), keys.split_lists(queue)])
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::balance())
            .arg(keys.len())
            .arg(keys)
            .ignore();
        self.run(&command).await
    }
}
