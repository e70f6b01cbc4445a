//! Makes the lists of a queue from the table, while submits and claims go on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tasker_shared::queue::{List, Rebuild, RedisQueues};
use tasker_shared::store::PgPool;
use tasker_shared::store::rebuild::{Pending, Place, now, pending_after};
use tasker_shared::task::{Hint, QueueName, TaskId};

use super::asked;
use super::journal::PassError;

/// Ids read and pushed at once.
const PAGE: i64 = 5_000;
/// How much later than the time that they bear rows may appear in the table.
const DISORDER: TimeDelta = TimeDelta::seconds(2);
/// How long a hint may be on its way after its row was written.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);
/// Hints that workers may pop from a new list in that time.
const POPPED_MEANWHILE: usize = 50_000;

/// A queue whose lists are made from the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) db: &'a PgPool,
    pub(super) redis: &'a RedisQueues,
    pub(super) queue: &'a QueueName,
    /// Distinguishes the unfinished lists from those of others.
    pub(super) maker: &'a str,
    /// The task types that live workers register; the hints of others are parked. `None` without a live worker: nothing is.
    pub(super) registered: Option<&'a BTreeSet<String>>,
}

impl Filling<'_> {
    /// Makes a new main list and puts it in the place of the one in use; returns the number of its ids.
    ///
    /// What was pushed to the old list meanwhile is lost with it. So the rows that became pending meanwhile are read once more,
    /// and those pushed whose hints are not on the new list already.
    pub(super) async fn main_list(&self) -> Result<usize, PassError> {
        let mut rebuild = self.redis.begin_rebuild(self.queue, self.maker);
        let read = self.stream(&mut rebuild, false).await?;
        if read.rows == 0 {
            return Ok(0);
        }
        rebuild.replace().await?;
        let tail = read.rows.saturating_sub(POPPED_MEANWHILE);
        let rows = read.rows;
        Ok(rows + self.catch_up(read, &[(List::Main(self.queue), tail)]).await?)
    }

    /// Makes new type lists and has them popped instead of the main list; returns the number of their ids, some of which may no
    /// longer wait. `None` if the queue was made plain meanwhile: nothing was changed.
    ///
    /// Pushes go to both kinds of lists from the beginning, so a row that the table did not show yet is on a type list already,
    /// and is kept.
    pub(super) async fn type_lists(&self) -> Result<Option<usize>, PassError> {
        self.redis.open_type_lists(self.queue).await?;
        let mut rebuild = self.redis.begin_rebuild(self.queue, self.maker);
        let read = self.stream(&mut rebuild, true).await?;
        let Some(adopted) = rebuild.adopt().await? else {
            return Ok(None);
        };
        let mut rows = read.rows;
        if adopted.lost {
            let types = rebuild.types().clone();
            let tail = |name| {
                read.by_type
                    .get(name)
                    .map_or(0, |count| count.saturating_sub(POPPED_MEANWHILE))
            };
            let tails: Vec<_> = types
                .iter()
                .map(|name| (List::Type(self.queue, name), tail(name.as_str())))
                .collect();
            rows += self.catch_up(read, &tails).await?;
        }
        Ok(Some(rows))
    }

    /// Streams the ids of the pending rows to new lists: one main list, or one for each type.
    async fn stream(&self, rebuild: &mut Rebuild<'_>, by_type: bool) -> Result<Read, PassError> {
        let mut read = Read::default();
        loop {
            let page = asked(pending_after(self.db, self.queue, read.last, None, PAGE)).await?;
            let mut lists: BTreeMap<Option<&str>, (List<'_>, Vec<TaskId>)> = BTreeMap::new();
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
                lists.entry(key).or_insert((list, Vec::new())).1.push(row.id);
            }
            for (list, ids) in lists.into_values() {
                rebuild.add(list, &ids).await?;
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

    /// Pushes hints for what became pending while the lists were made; returns their number. `tails` are the new lists and the
    /// places from which on they are read.
    async fn catch_up(&self, read: Read, tails: &[(List<'_>, usize)]) -> Result<usize, PassError> {
        let until = asked(now(self.db)).await?;
        tokio::time::sleep(ON_THEIR_WAY).await;
        let mut kept = HashSet::new();
        for (list, first) in tails {
            kept.extend(self.redis.ids_from(*list, *first).await?);
        }
        let mut place = read.last.map(|(time, _)| (time - DISORDER, TaskId::MIN));
        let mut pushed = 0;
        loop {
            let page = asked(pending_after(self.db, self.queue, place, Some(until), PAGE)).await?;
            let missed: Vec<Hint> = page
                .iter()
                .filter(|row| !read.recent.contains(&row.id) && !kept.contains(&row.id))
                .map(|row| Hint::new(row.id, self.queue.clone(), &*row.task_name))
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

fn is_last(page: &[Pending]) -> bool {
    i64::try_from(page.len()) != Ok(PAGE)
}

/// How far the table was read.
#[derive(Debug, Default)]
struct Read {
    rows: usize,
    by_type: BTreeMap<String, usize>,
    last: Option<Place>,
    /// The rows of the last moments before that place: among them others may appear still.
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
