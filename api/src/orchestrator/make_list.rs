//! Makes one list anew from the table, while submits and claims go on.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tasker_shared::queue::{Hint, Queue};
use tasker_shared::store::PgPool;
use tasker_shared::store::rebuild::{Place, now, pending_after};
use tasker_shared::task::{QueueName, TaskId};

use super::asked;
use super::journal::PassError;

/// Ids read and pushed at once.
const PAGE: i64 = 5_000;
/// Rows appear in the table up to so much later than the time that they bear.
const DISORDER: TimeDelta = TimeDelta::seconds(2);
/// How long a hint may be on its way after its row was written.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);
/// Hints that workers may pop from the new list in that time.
const POPPED_MEANWHILE: usize = 50_000;

/// Streams the ids of the pending rows of `queue` to a new list and puts it in the place of the old one; returns its length.
///
/// What was pushed to the old list meanwhile goes with it. So the rows that became pending meanwhile are read once more, and
/// those pushed whose hints are not on the new list already.
pub(super) async fn make_list(
    db: &PgPool,
    queue: &Queue,
    name: &QueueName,
    maker: &str,
) -> Result<usize, PassError> {
    let anew = queue.begin_list(name, maker).await?;
    let mut read = Read::default();
    let mut hints = 0;
    loop {
        let page = asked(pending_after(db, name, read.last, None, PAGE)).await?;
        let ids: Vec<TaskId> = page.iter().map(|(_, id)| *id).collect();
        anew.add(&ids).await?;
        hints += ids.len();
        read.note(&page);
        if is_last(&page) {
            break;
        }
    }
    if hints == 0 {
        return Ok(0);
    }
    anew.replace().await?;
    Ok(hints + catch_up(db, queue, name, read, hints).await?)
}

/// Pushes hints for what became pending while the list was made; returns how many.
async fn catch_up(
    db: &PgPool,
    queue: &Queue,
    name: &QueueName,
    read: Read,
    hints: usize,
) -> Result<usize, PassError> {
    let until = asked(now(db)).await?;
    tokio::time::sleep(ON_THEIR_WAY).await;
    let kept = queue
        .hints_from(name, hints.saturating_sub(POPPED_MEANWHILE))
        .await?;
    let kept: HashSet<TaskId> = kept.into_iter().collect();
    let mut place = read.last.map(|(time, _)| (time - DISORDER, TaskId::MIN));
    let mut pushed = 0;
    loop {
        let page = asked(pending_after(db, name, place, Some(until), PAGE)).await?;
        let missed: Vec<Hint> = page
            .iter()
            .filter(|(_, id)| !read.recent.contains(id) && !kept.contains(id))
            .map(|(_, id)| (*id, name.clone()))
            .collect();
        queue.push_back(&missed).await?;
        pushed += missed.len();
        if is_last(&page) {
            return Ok(pushed);
        }
        place = page.last().copied();
    }
}

fn is_last(page: &[Place]) -> bool {
    i64::try_from(page.len()) != Ok(PAGE)
}

/// How far the table was read.
#[derive(Debug, Default)]
struct Read {
    last: Option<Place>,
    /// The rows of the last moments before that place: among them others may appear still.
    recent: HashSet<TaskId>,
}

impl Read {
    fn note(&mut self, page: &[Place]) {
        let Some((newest, _)) = page.last() else { return };
        let since: DateTime<Utc> = *newest - DISORDER;
        if self.last.is_none_or(|(time, _)| time < since) {
            self.recent.clear();
        }
        self.recent
            .extend(page.iter().filter(|(time, _)| *time >= since).map(|(_, id)| *id));
        self.last = page.last().copied();
    }
}
