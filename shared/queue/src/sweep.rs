//! Removal of entries from anywhere in a list, page by page from its tail, while pops and pushes go on: pops
//! at the head do not change positions counted from the tail, and pushes at the tail only make a page repeat
//! entries.

use redis::Pipeline;

use super::{RedisQueues, Result, scripts};
use tasker_core::task::{QueueName, TaskId};

/// The number of entries of a page. The planner would choose a scan for a lookup of more ids by `= ANY`.
const PAGE: isize = 2_000;

/// A list of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List<'a> {
    /// The main list, whose length is the depth.
    Main(&'a QueueName),
    /// The list of a task type of a split queue.
    Type(&'a QueueName, &'a str),
    /// The parked hints.
    Unroutable(&'a QueueName),
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    list: String,
    /// The positions of its first and last entry, counted from the tail, where -1 is the last of the list.
    places: (isize, isize),
    /// Its ids, in the order of the list.
    pub ids: Vec<TaskId>,
    /// Whether it is the first page of the list.
    pub is_first: bool,
}

impl RedisQueues {
    /// Reads the page before `after`, or the last page.
    pub async fn page_before(&self, list: List<'_>, after: Option<&Page>) -> Result<Page> {
        let list = self.key_of(list);
        // negative positions: those counted from the tail do not move when heads are popped
        let tail_end = after.map_or(-1, |page| page.places.0 - 1);
        let head_end = tail_end - PAGE + 1;
        let mut command = Pipeline::new();
        command.cmd("LRANGE").arg(&list).arg(head_end).arg(tail_end);
        let (entries,): (Vec<String>,) = self.run(&command).await?;
        Ok(Page {
            // LRANGE cuts a range at the head of the list, so a short page has reached it
            is_first: entries.len() < PAGE.unsigned_abs(),
            ids: entries.iter().filter_map(|entry| super::read_id(entry)).collect(),
            places: (head_end, tail_end),
            list,
        })
    }

    /// Marks the ids `gone` of a page for removal, and of each id in `repeated` all copies but one; returns
    /// the number of marked entries.
    pub async fn mark(&self, page: &Page, gone: &[TaskId], repeated: &[TaskId]) -> Result<u64> {
        if gone.is_empty() && repeated.is_empty() {
            return Ok(0);
        }
        let texts: Vec<String> = gone.iter().chain(repeated).map(ToString::to_string).collect();
        let mut command = Pipeline::new();
        command
            .cmd("EVAL")
            .arg(scripts::mark())
            .arg(1)
            .arg(&page.list)
            .arg(page.places.0)
            .arg(page.places.1)
            .arg(gone.len())
            .arg(texts);
        let (marked,): (u64,) = self.run(&command).await?;
        Ok(marked)
    }

    /// Removes the marked entries.
    pub async fn remove_marked(&self, list: List<'_>) -> Result<()> {
        // one pass over the list for all marks: an LREM per id would take one pass each
        let mut command = Pipeline::new();
        command
            .cmd("LREM")
            .arg(self.key_of(list))
            .arg(0)
            .arg("-")
            .ignore();
        self.run(&command).await
    }

    pub(super) fn key_of(&self, list: List<'_>) -> String {
        match list {
            List::Main(queue) => self.keys().list(queue),
            List::Type(queue, task_name) => self.keys().type_list(queue, task_name),
            List::Unroutable(queue) => self.keys().unroutable(queue),
        }
    }
}
