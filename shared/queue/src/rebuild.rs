//! New lists that are built from the table beside those in use, and then replace them in one step.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::Pipeline;

use super::{Generation, List, RedisQueues, Result, scripts};
use tasker_core::task::{QueueName, TaskId};

/// Expiry of an unfinished list, whose maker is gone by then.
const UNFINISHED: Duration = Duration::from_mins(10);

/// New lists of a queue, not in use yet.
#[derive(Debug)]
pub struct Rebuild<'a> {
    redis: &'a RedisQueues,
    queue: &'a QueueName,
    maker: &'a str,
    /// The lists in use that are to be replaced, and the task types that have one among them.
    lists: BTreeSet<String>,
    types: BTreeSet<String>,
}

/// The result for ids that were pushed while type lists were built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The number of ids that were kept; some of them may no longer be pending.
    pub merged: u64,
    /// Whether a list was too long to be merged, so that ids pushed to it meanwhile are lost.
    pub lost: bool,
}

impl RedisQueues {
    /// Begins new lists for `queue`. `maker` distinguishes them from lists that other processes build at the
    /// same time.
    pub fn begin_rebuild<'a>(&'a self, queue: &'a QueueName, maker: &'a str) -> Rebuild<'a> {
        Rebuild {
            redis: self,
            queue,
            maker,
            lists: BTreeSet::new(),
            types: BTreeSet::new(),
        }
    }

    /// Returns whether the lists are the ones that [`Self::mark_lists`] last marked: Redis has not been
    /// emptied, restarted or replaced since.
    pub async fn lists_are_marked(&self) -> Result<bool> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO").arg("server");
        commands.cmd("GET").arg(self.keys().mark());
        let (info, mark): (String, Option<String>) = self.run(&commands).await?;
        Ok(mark.is_some_and(|mark| mark == run_id(&info)))
    }

    /// Marks the lists of this Redis as complete.
    pub async fn mark_lists(&self) -> Result<()> {
        let mut command = Pipeline::new();
        command.cmd("INFO").arg("server");
        let (info,): (String,) = self.run(&command).await?;
        let mut command = Pipeline::new();
        command
            .cmd("SET")
            .arg(self.keys().mark())
            .arg(run_id(&info))
            .ignore();
        self.run(&command).await
    }

    /// Returns the ids in a list from position `first` on, counted from 0.
    pub async fn ids_from(&self, list: List<'_>, first: usize) -> Result<Vec<TaskId>> {
        let mut command = Pipeline::new();
        command.cmd("LRANGE").arg(self.key_of(list)).arg(first).arg(-1);
        let (entries,): (Vec<String>,) = self.run(&command).await?;
        Ok(entries.iter().filter_map(|entry| super::read_id(entry)).collect())
    }
}

/// Returns the run id of a Redis server, which changes when Redis is restarted or replaced.
fn run_id(info: &str) -> &str {
    info.lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .unwrap_or_default()
        .trim()
}

impl Rebuild<'_> {
    /// Appends ids to the new list that is to replace `list`.
    pub async fn add(&mut self, list: List<'_>, ids: &[TaskId]) -> Result<()> {
        let texts = ids.iter().map(ToString::to_string).collect();
        self.push(list, "RPUSH", texts).await
    }

    /// Puts ids before those that the new list already has; the first given is popped first.
    pub async fn add_to_head(&mut self, list: List<'_>, ids: &[TaskId]) -> Result<()> {
        // reversed, because LPUSH puts each id before the one pushed last
        let texts = ids.iter().rev().map(ToString::to_string).collect();
        self.push(list, "LPUSH", texts).await
    }

    async fn push(&mut self, list: List<'_>, command: &str, ids: Vec<String>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let in_use = self.redis.key_of(list);
        let new = self.unfinished(&in_use);
        let mut commands = Pipeline::new();
        // an earlier attempt of this maker may have left ids under the same name
        if !self.lists.contains(&in_use) {
            commands.cmd("DEL").arg(&new).ignore();
        }
        commands.cmd(command).arg(&new).arg(ids).ignore();
        // an expiry instead of a cleanup: a maker that dies leaves no list behind
        commands
            .cmd("EXPIRE")
            .arg(&new)
            .arg(UNFINISHED.as_secs())
            .ignore();
        self.redis.run::<()>(&commands).await?;
        if let List::Type(_, task_name) = list {
            self.types.insert(task_name.to_owned());
        }
        self.lists.insert(in_use);
        Ok(())
    }

    /// Returns the task types that have a new list.
    pub fn types(&self) -> &BTreeSet<String> {
        &self.types
    }

    /// Replaces the main list and the list of parked hints by the new ones. A list without a new one is
    /// emptied; hints that were parked meanwhile are kept.
    pub async fn replace(&self) -> Result<()> {
        let [main, parked] =
            [List::Main(self.queue), List::Unroutable(self.queue)].map(|list| self.redis.key_of(list));
        let keys = [self.unfinished(&main), self.unfinished(&parked)];
        let [new_main, new_parked] = keys;
        self.discard_leftovers(&[(&main, &new_main), (&parked, &new_parked)])
            .await?;
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::replace())
            .arg(4)
            .arg(&[main, new_main, parked, new_parked])
            .ignore();
        self.redis.run(&command).await
    }

    /// Replaces the type lists and the list of parked hints by the new ones, which were begun in
    /// `generation`; the queue is split from now on. `None`, with all lists unchanged, if the queue has been
    /// closed since.
    pub async fn adopt(&self, generation: &Generation) -> Result<Option<Adopted>> {
        let keys = self.redis.keys();
        let parked = keys.unroutable(self.queue);
        let new_parked = self.unfinished(&parked);
        self.discard_leftovers(&[(&parked, &new_parked)]).await?;
        let in_use: Vec<String> = self
            .types
            .iter()
            .map(|name| keys.type_list(self.queue, name))
            .collect();
        let pairs = in_use.into_iter().flat_map(|list| [self.unfinished(&list), list]);
        let fixed = [
            keys.list(self.queue),
            keys.split(self.queue),
            keys.split_lists(self.queue),
            parked,
            new_parked,
            keys.split_generation(self.queue),
        ];
        let keys: Vec<String> = fixed.into_iter().chain(pairs).collect();
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::adopt())
            .arg(keys.len())
            .arg(keys)
            .arg(&generation.0);
        let ((merged, lost, done),): ((u64, u64, u64),) = self.redis.run(&command).await?;
        Ok((done > 0).then_some(Adopted {
            merged,
            lost: lost > 0,
        }))
    }

    /// Deletes those new lists to which no ids were added: an earlier attempt of this maker may have left
    /// them.
    async fn discard_leftovers(&self, lists: &[(&String, &String)]) -> Result<()> {
        let unused = lists.iter().filter(|(in_use, _)| !self.lists.contains(*in_use));
        let leftovers: Vec<&String> = unused.map(|(_, new)| *new).collect();
        if leftovers.is_empty() {
            return Ok(());
        }
        let mut command = Pipeline::new();
        command.cmd("DEL").arg(leftovers).ignore();
        self.redis.run(&command).await
    }

    fn unfinished(&self, in_use: &str) -> String {
        // the maker is part of the name, so two makers never write to the same unfinished list
        let kind = in_use
            .strip_prefix(&self.redis.keys().type_lists(self.queue))
            .unwrap_or(in_use);
        format!(
            "{}:{kind}",
            self.redis.keys().unfinished_list(self.queue, self.maker)
        )
    }
}
