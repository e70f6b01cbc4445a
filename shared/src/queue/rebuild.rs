//! A list made anew beside the one in use, which it then replaces in one step.

use std::time::Duration;

use deadpool_redis::redis::Pipeline;

use super::{Queue, Result};
use crate::task::{QueueName, TaskId};

/// How long an unfinished list is kept: whoever made it is gone by then.
const UNFINISHED: Duration = Duration::from_mins(10);

/// A list in the making.
#[derive(Debug)]
pub struct NewList<'a> {
    queue: &'a Queue,
    list: String,
    unfinished: String,
}

impl Queue {
    /// Begins a new list for `queue`; `maker` tells it from what others make at the same time.
    pub async fn begin_list(&self, queue: &QueueName, maker: &str) -> Result<NewList<'_>> {
        let new = NewList {
            queue: self,
            list: self.keys().list(queue),
            unfinished: self.keys().unfinished_list(queue, maker),
        };
        let mut command = Pipeline::new();
        command.cmd("DEL").arg(&new.unfinished).ignore();
        self.run::<()>(&command).await?;
        Ok(new)
    }

    /// Whether the lists are those that [`Self::mark_lists`] saw last: Redis was neither emptied nor restarted nor replaced since.
    pub async fn lists_are_marked(&self) -> Result<bool> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO").arg("server");
        commands.cmd("GET").arg(self.keys().mark());
        let (info, mark): (String, Option<String>) = self.run(&commands).await?;
        Ok(mark.is_some_and(|mark| mark == run_id(&info)))
    }

    /// Marks the lists as right, as far as anybody can tell.
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

    /// The hints in the list of `queue` from the place `first` on, which counts from 0.
    pub async fn hints_from(&self, queue: &QueueName, first: usize) -> Result<Vec<TaskId>> {
        let mut command = Pipeline::new();
        command
            .cmd("LRANGE")
            .arg(self.keys().list(queue))
            .arg(first)
            .arg(-1);
        let (texts,): (Vec<String>,) = self.run(&command).await?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

/// What tells this start of a Redis server from any other: it changes when Redis is restarted or replaced.
fn run_id(info: &str) -> &str {
    info.lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .unwrap_or_default()
        .trim()
}

impl NewList<'_> {
    /// Puts ids on the tail of the new list.
    pub async fn add(&self, ids: &[TaskId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut commands = Pipeline::new();
        commands.cmd("RPUSH").arg(&self.unfinished).arg(texts).ignore();
        commands
            .cmd("EXPIRE")
            .arg(&self.unfinished)
            .arg(UNFINISHED.as_secs())
            .ignore();
        self.queue.run(&commands).await
    }

    /// Puts the new list, which must hold something, in the place of the one in use.
    pub async fn replace(self) -> Result<()> {
        let mut commands = Pipeline::new();
        commands.atomic();
        commands.cmd("PERSIST").arg(&self.unfinished).ignore();
        commands
            .cmd("RENAME")
            .arg(&self.unfinished)
            .arg(&self.list)
            .ignore();
        self.queue.run(&commands).await
    }
}
