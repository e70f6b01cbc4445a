//! Removes hints from anywhere in the lists of a queue: stale ones, and parked ones whose types live workers
//! register again.

use std::collections::{BTreeSet, HashSet};

use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_queue::{List, RedisQueues, Split};
use tasker_store::ObservedPool;
use tasker_store::rebuild::still_pending;

use crate::duty::bounded;
use crate::duty_status::DutyError;

/// A sweep over the lists of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) db: &'a ObservedPool,
    pub(crate) redis: &'a RedisQueues,
    pub(crate) queue: &'a QueueName,
}

impl Sweep<'_> {
    /// Removes stale and repeated hints from the lists that workers pop; returns their number.
    pub(crate) async fn stale_hints(&self) -> Result<u64, DutyError> {
        let mut removed = 0;
        if self.redis.split(self.queue).await? == Split::Split {
            for task_name in self.redis.split_types(self.queue).await? {
                removed += self.list(List::Type(self.queue, &task_name), None).await?;
            }
        } else {
            removed += self.list(List::Main(self.queue), None).await?;
        }
        self.redis.balance(std::slice::from_ref(self.queue)).await?;
        metrics::counter!("tasker_swept_hints_total").increment(removed);
        Ok(removed)
    }

    /// Removes stale parked hints, and moves those whose types are `registered` to the heads of their lists;
    /// `None` stands for all types. Returns the number of hints that left the parked list.
    pub(crate) async fn parked_hints(&self, registered: Option<&BTreeSet<String>>) -> Result<u64, DutyError> {
        let routable = |task_name: &str| registered.is_none_or(|types| types.contains(task_name));
        self.list(List::Unroutable(self.queue), Some(&routable)).await
    }

    /// Sweeps one list from its tail; hints whose types are `routable` go to the lists that workers pop.
    async fn list(
        &self,
        list: List<'_>,
        routable: Option<&(dyn Fn(&str) -> bool + Sync)>,
    ) -> Result<u64, DutyError> {
        let (mut removed, mut page) = (0, None);
        loop {
            let next = self.redis.page_before(list, page.as_ref()).await?;
            let pending = bounded(still_pending(self.db, self.queue, &next.ids)).await?;
            let mut seen = HashSet::new();
            let (mut gone, mut repeated): (Vec<TaskId>, Vec<TaskId>) = (Vec::new(), Vec::new());
            let mut moved: Vec<Hint> = Vec::new();
            for id in &next.ids {
                let is_new = seen.insert(*id);
                match pending.get(id) {
                    Some(task_name) if routable.is_some_and(|routable| routable(task_name)) => {
                        if is_new {
                            moved.push(Hint::new(*id, self.queue.clone(), &**task_name));
                            gone.push(*id);
                        }
                    }
                    Some(_) if is_new => {}
                    Some(_) => repeated.push(*id),
                    None => gone.push(*id),
                }
            }
            // pushed before they are removed: a crash in between leaves a hint twice, which is harmless,
            // never not at all
            self.redis.push_front(&moved).await?;
            removed += self.redis.mark(&next, &gone, &repeated).await?;
            if next.is_first {
                break;
            }
            page = Some(next);
        }
        if removed > 0 {
            self.redis.remove_marked(list).await?;
        }
        Ok(removed)
    }
}
