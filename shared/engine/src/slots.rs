//! Slots: the limit of concurrent runs. Tasks are claimed into free slots only.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Number of slots that one claim may fill even if it is more than half of them. The limit is half of the
/// slots, so that two claims alternate and keep Postgres busy while runs end; in small groups that would only
/// make claims smaller.
const SHARE_MIN: u32 = 128;

/// A group of slots that one claim loop fills.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    semaphore: Arc<Semaphore>,
    half: u32,
    /// The maximum number of slots that one claim fills.
    share: u32,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(count)),
            half: u32::try_from(count.div_ceil(2)).unwrap_or(u32::MAX),
            share: u32::try_from(count.div_ceil(2))
                .unwrap_or(u32::MAX)
                .max(SHARE_MIN),
        }
    }

    /// Waits for a free slot and takes it with all others that are free, and with those that become free as
    /// long as each turn of the scheduler frees some. Short tasks that end together are thus followed by one
    /// batch, and no slot waits for a long task.
    pub(crate) async fn take_free(&self) -> FreeSlots {
        let mut permits = self.acquire(1).await;
        loop {
            let others = u32::try_from(self.semaphore.available_permits()).unwrap_or(u32::MAX);
            let space = self.share - u32::try_from(permits.num_permits()).unwrap_or(u32::MAX);
            let others = others.min(space);
            if let Ok(more) = Arc::clone(&self.semaphore).try_acquire_many_owned(others) {
                permits.merge(more);
            }
            if permits.num_permits() >= self.share as usize {
                return FreeSlots { permits };
            }
            // lets runs that end at this moment release their slots
            tokio::task::yield_now().await;
            if self.semaphore.available_permits() == 0 {
                return FreeSlots { permits };
            }
        }
    }

    /// Waits until half of the slots are free.
    pub(crate) async fn half_free(&self) {
        drop(self.acquire(self.half).await);
    }

    async fn acquire(&self, slots: u32) -> OwnedSemaphorePermit {
        Arc::clone(&self.semaphore)
            .acquire_many_owned(slots)
            .await
            .expect("the semaphore is never closed")
    }
}

/// Free slots that are being filled. Those that are not used become free again.
#[derive(Debug)]
pub(crate) struct FreeSlots {
    permits: OwnedSemaphorePermit,
}

impl FreeSlots {
    /// Returns the number of free slots that are left.
    pub(crate) fn count(&self) -> usize {
        self.permits.num_permits()
    }

    /// Takes one slot for a run; `None` if none is left. The slot is free again when it is dropped.
    pub(crate) fn take_one(&mut self) -> Option<Slot> {
        self.permits.split(1).map(|permit| Slot {
            _permit: Arc::new(permit),
        })
    }
}

/// A slot taken by a run. A clone keeps it taken, so that a thread that outlives its run keeps its slot.
#[derive(Debug, Clone)]
pub struct Slot {
    _permit: Arc<OwnedSemaphorePermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_free_slots_are_taken_at_once_and_unused_ones_come_back() {
        let slots = Slots::new(3);
        let mut free = slots.take_free().await;
        assert_eq!(free.count(), 3);
        let running = free.take_one().expect("three are free");
        drop(free);
        assert_eq!(slots.take_free().await.count(), 2);
        drop(running);
        assert_eq!(slots.take_free().await.count(), 3);
    }
}
