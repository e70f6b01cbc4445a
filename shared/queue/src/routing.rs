//! Operations of the leader on the lists of a queue that is, was or becomes split by task type.

use redis::Pipeline;

use super::pop_order::SPLIT;
use super::{RedisQueues, Result, scripts};
use tasker_core::task::{QueueName, TaskId};

/// The maximum total length of type lists that are merged in one step.
const MERGE_MAX: usize = 5_000;

/// The storage of a queue's hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Only in its main list.
    Plain,
    /// In its main list, which is popped, and in incomplete type lists: they are being filled, or about to be
    /// deleted.
    Opening,
    /// In type lists, which are popped. The main list counts them.
    Split,
}

impl Split {
    /// Parses the state of a queue.
    fn read(state: Option<&str>) -> Self {
        match state {
            None => Self::Plain,
            Some(SPLIT) => Self::Split,
            Some(_) => Self::Opening,
        }
    }
}

/// The type lists of a queue between its opening and its closing. Lists of another generation lack hints that
/// were pushed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation(pub(super) String);

/// The state of a queue's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// The storage of its hints.
    pub split: Split,
    /// The number of parked hints.
    pub unroutable: u64,
    /// Hints that were to be removed since the last call and were not found near the ends of their lists.
    pub unremoved: u64,
}

impl RedisQueues {
    /// Returns the state of the lists of each of `queues`, in their order, and resets the numbers of
    /// unremoved hints. Two commands suffice while no hints are parked and none is unremoved.
    pub async fn routing(&self, queues: &[QueueName]) -> Result<Vec<Routing>> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.keys();
        let unremoved: Vec<String> = queues.iter().map(|queue| keys.unremoved(queue)).collect();
        let states = queues.iter().map(|queue| keys.split(queue));
        let texts: Vec<String> = states.chain(unremoved.iter().cloned()).collect();
        let lists: Vec<String> = queues.iter().map(|queue| keys.unroutable(queue)).collect();
        let mut commands = Pipeline::new();
        commands.cmd("MGET").arg(texts);
        commands.cmd("EXISTS").arg(lists);
        let (texts, any_parked): (Vec<Option<String>>, u64) = self.run(&commands).await?;
        let (states, counts) = texts.split_at(queues.len());
        // one EXISTS over all queues saves the lengths, which are 0 nearly always
        let parked = if any_parked > 0 {
            self.unroutable(queues).await?
        } else {
            vec![0; queues.len()]
        };
        if counts.iter().any(Option::is_some) {
            // hints counted after this are reported by the next call; the caller sweeps after this, so it
            // finds those counted so far
            let mut command = Pipeline::new();
            command.cmd("DEL").arg(unremoved).ignore();
            self.run::<()>(&command).await?;
        }
        let routings = states.iter().zip(counts).zip(parked);
        Ok(routings
            .map(|((state, count), unroutable)| Routing {
                split: Split::read(state.as_deref()),
                unroutable,
                unremoved: count.as_deref().and_then(|count| count.parse().ok()).unwrap_or(0),
            })
            .collect())
    }

    /// Returns the storage of the hints of `queue`.
    pub async fn split(&self, queue: &QueueName) -> Result<Split> {
        let mut command = Pipeline::new();
        command.cmd("GET").arg(self.keys().split(queue));
        let (state,): (Option<String>,) = self.run(&command).await?;
        Ok(Split::read(state.as_deref()))
    }

    /// Returns the task types whose lists have been filled since `queue` was split.
    pub async fn split_types(&self, queue: &QueueName) -> Result<Vec<String>> {
        let mut command = Pipeline::new();
        command.cmd("SMEMBERS").arg(self.keys().split_lists(queue));
        let (lists,): (Vec<String>,) = self.run(&command).await?;
        let prefix = self.keys().type_lists(queue);
        let names = lists.iter().filter_map(|list| list.strip_prefix(&prefix));
        Ok(names.map(ToOwned::to_owned).collect())
    }

    /// Starts to split a plain queue: from now on pushes go to both kinds of lists. Returns the generation of
    /// the lists, to be read before the rows that fill them.
    pub async fn open_type_lists(&self, queue: &QueueName) -> Result<Generation> {
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::OPEN)
            .arg(2)
            .arg(self.keys().split(queue))
            .arg(self.keys().split_generation(queue))
            .arg(TaskId::generate().to_string());
        let (generation,): (String,) = self.run(&command).await?;
        Ok(Generation(generation))
    }

    /// Takes the next step from split to plain, unless the backlog of `queue` is too long. The first step
    /// makes the main list exact, and it is popped again; the second deletes the type lists.
    pub async fn unsplit(&self, queue: &QueueName) -> Result<()> {
        let keys = self.keys();
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::merge())
            .arg(4)
            .arg(keys.list(queue))
            .arg(keys.split(queue))
            .arg(keys.split_lists(queue))
            .arg(keys.split_generation(queue))
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
            // the list is empty, or the queue is not split any more
            if moved == 0 {
                return Ok(parked);
            }
        }
    }

    /// Adjusts the main lists of split queues among `queues` to the length of their type lists.
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
