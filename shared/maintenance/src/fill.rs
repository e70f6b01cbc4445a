//! Builds the Redis lists of a queue from the table while submits and claims continue.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tasker_core::task::{Hint, QueueName, TaskId, is_urgent};
use tasker_queue::{List, Rebuild, RedisQueues};
use tasker_store::ObservedPool;
use tasker_store::rebuild::{Pending, Place, now, pending_after};

use crate::duty::bounded;
use crate::duty_status::DutyError;

/// Maximum number of rows per read and of ids per push.
const PAGE: i64 = 5_000;
/// Maximum delay between the `enqueued_at` of a row and the commit that makes it visible.
const DISORDER: TimeDelta = TimeDelta::seconds(2);
/// Maximum time between the commit of a row and the push of its hint.
const PUSH_DELAY_MAX: Duration = Duration::from_secs(1);
/// Number of hints that workers may pop from a new list within [`PUSH_DELAY_MAX`].
const POPPED_MAX: usize = 50_000;

/// A queue whose lists are built from the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) db: &'a ObservedPool,
    pub(crate) redis: &'a RedisQueues,
    pub(crate) queue: &'a QueueName,
    /// A name that keeps the unfinished lists of this process apart from those of others.
    pub(crate) maker: &'a str,
    /// The task types that live workers register; the hints of other types are parked. `None` without a live
    /// worker: no hint is.
    pub(crate) registered: Option<&'a BTreeSet<String>>,
}

impl Filling<'_> {
    /// Builds a new main list and replaces the one in use with it; returns the number of its ids.
    ///
    /// Hints that were pushed to the old list meanwhile are lost with it. So the rows that became pending
    /// meanwhile are read again, and those whose hints are not on the new list are pushed.
    pub(crate) async fn main_list(&self) -> Result<usize, DutyError> {
        let mut rebuild = self.redis.begin_rebuild(self.queue, self.maker);
        let read = self.stream(&mut rebuild, false).await?;
        // `replace` would only empty the list, together with hints pushed meanwhile
        if read.rows == 0 {
            return Ok(0);
        }
        rebuild.replace().await?;
        let tail = read.rows.saturating_sub(POPPED_MAX);
        let rows = read.rows;
        Ok(rows + self.catch_up(read, &[(List::Main(self.queue), tail)]).await?)
    }

    /// Builds new type lists and switches pops from the main list to them; returns the number of their ids,
    /// some of which may be stale. `None` if the queue was closed meanwhile; the lists are unchanged then.
    ///
    /// Pushes go to both kinds of lists from the start, so a row that was not visible yet has its hint on a
    /// type list already, and that list is kept.
    pub(crate) async fn type_lists(&self) -> Result<Option<usize>, DutyError> {
        let generation = self.redis.open_type_lists(self.queue).await?;
        let mut rebuild = self.redis.begin_rebuild(self.queue, self.maker);
        let read = self.stream(&mut rebuild, true).await?;
        let Some(adopted) = rebuild.adopt(&generation).await? else {
            return Ok(None);
        };
        let mut rows = read.rows;
        if adopted.lost {
            let types = rebuild.types().clone();
            let tail = |name| {
                read.by_type
                    .get(name)
                    .map_or(0, |count| count.saturating_sub(POPPED_MAX))
            };
            let tails: Vec<_> = types
                .iter()
                .map(|name| (List::Type(self.queue, name), tail(name.as_str())))
                .collect();
            rows += self.catch_up(read, &tails).await?;
        }
        Ok(Some(rows))
    }

    /// Copies the ids of the pending rows to new lists: one main list, or one for each type.
    async fn stream(&self, rebuild: &mut Rebuild<'_>, by_type: bool) -> Result<Read, DutyError> {
        let mut read = Read::default();
        loop {
            let page = bounded(pending_after(self.db, self.queue, read.last, None, PAGE)).await?;
            let mut lists: BTreeMap<Option<&str>, (List<'_>, Vec<&Pending>)> = BTreeMap::new();
            for row in &page {
                let list = if self.is_parked(&row.task_name) {
                    List::Unroutable(self.queue)
                } else if by_type {
                    List::Type(self.queue, &row.task_name)
                } else {
                    List::Main(self.queue)
                };
                let key = match list {
                    List::Main(_) => None,
                    List::Unroutable(_) => Some(""),
                    List::Type(_, name) => Some(name),
                };
                lists.entry(key).or_insert((list, Vec::new())).1.push(row);
            }
            for (list, rows) in lists.into_values() {
                let (head, tail) = ends(&rows);
                rebuild.add(list, &tail).await?;
                rebuild.add_to_head(list, &head).await?;
            }
            read.note(&page);
            if is_last(&page) {
                return Ok(read);
            }
        }
    }

    fn is_parked(&self, task_name: &str) -> bool {
        self.registered.is_some_and(|types| !types.contains(task_name))
    }

    /// Pushes hints for the tasks that became pending while the lists were built; returns their number.
    /// `tails` are the new lists, each with the index from which it is read.
    async fn catch_up(&self, read: Read, tails: &[(List<'_>, usize)]) -> Result<usize, DutyError> {
        // the order matters: rows up to `until` are this function's, and after the sleep their own pushes
        // have arrived, so an id that is missing on the new lists was pushed to the old ones
        let until = bounded(now(self.db)).await?;
        tokio::time::sleep(PUSH_DELAY_MAX).await;
        let mut kept = HashSet::new();
        for (list, first) in tails {
            kept.extend(self.redis.ids_from(*list, *first).await?);
        }
        // commits become visible out of order, so rows a little older than the last one read may be new
        let mut place = read.last.map(|(time, _)| (time - DISORDER, TaskId::MIN));
        let mut pushed = 0;
        loop {
            let page = bounded(pending_after(self.db, self.queue, place, Some(until), PAGE)).await?;
            let missed: Vec<Hint> = page
                .iter()
                .filter(|row| !read.recent.contains(&row.id) && !kept.contains(&row.id))
                .map(|row| Hint::new(row.id, self.queue.clone(), &*row.task_name).with_priority(row.priority))
                .collect();
            self.redis.push_back(&missed).await?;
            pushed += missed.len();
            if is_last(&page) {
                return Ok(pushed);
            }
            place = page.last().map(Pending::place);
        }
    }
}

/// Returns the ids of `rows`, which are given oldest first, for the head and for the tail of a list, each in
/// the order of pops. The head has the urgent ones, the newest first, as their pushes put them there; those
/// that became pending together keep their order.
fn ends(rows: &[&Pending]) -> (Vec<TaskId>, Vec<TaskId>) {
    let (urgent, usual): (Vec<&Pending>, Vec<&Pending>) =
        rows.iter().partition(|row| is_urgent(row.priority));
    let batches = urgent.chunk_by(|a, b| a.enqueued_at == b.enqueued_at);
    let head = batches.rev().flatten().map(|row| row.id).collect();
    (head, usual.iter().map(|row| row.id).collect())
}

fn is_last(page: &[Pending]) -> bool {
    i64::try_from(page.len()) != Ok(PAGE)
}

/// The progress of reading the table.
#[derive(Debug, Default)]
struct Read {
    rows: usize,
    by_type: BTreeMap<String, usize>,
    last: Option<Place>,
    /// The rows read within [`DISORDER`] before the last one. Further rows may still become visible among
    /// them.
    recent: HashSet<TaskId>,
}

impl Read {
    fn note(&mut self, page: &[Pending]) {
        let Some(newest) = page.last() else { return };
        let since: DateTime<Utc> = newest.enqueued_at - DISORDER;
        if self.last.is_none_or(|(time, _)| time < since) {
            self.recent.clear();
        }
        self.recent.extend(
            page.iter()
                .filter(|row| row.enqueued_at >= since)
                .map(|row| row.id),
        );
        self.last = page.last().map(Pending::place);
        self.rows += page.len();
        for row in page {
            *self.by_type.entry(row.task_name.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_rows_are_popped_first_the_newest_before_older_ones_and_a_batch_in_its_order() {
        let row = |seconds, priority| Pending {
            id: TaskId::generate(),
            task_name: "a".to_owned(),
            priority,
            enqueued_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds),
        };
        let rows = [
            row(1, 0),
            row(2, 51),
            row(2, 99),
            row(3, 50),
            row(4, 60),
            row(5, -3),
        ];
        let (head, tail) = ends(&rows.iter().collect::<Vec<_>>());
        assert_eq!(head, [4, 1, 2].map(|index: usize| rows[index].id));
        assert_eq!(tail, [0, 3, 5].map(|index: usize| rows[index].id));
    }
}
