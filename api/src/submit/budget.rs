//! Room for bodies, counted in bytes: what requests hold in memory at once is bounded, and nobody's requests hold more than half
//! of it.

use std::sync::Arc;

use tasker_shared::quota::{Quota, Quotas};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::QuotaKey;
use crate::error::ApiError;

/// Permits count units of 1,024 bytes, so that they fit a semaphore.
const UNIT_BYTES: usize = 1024;

/// A bounded amount of room.
#[derive(Debug, Clone)]
pub struct Budget {
    room: Arc<Semaphore>,
    units: usize,
    by_owner: Quotas<QuotaKey>,
}

/// Room that a request has taken; given back when dropped.
#[derive(Debug)]
pub struct Held {
    permit: OwnedSemaphorePermit,
    share: Option<Quota<QuotaKey>>,
    bytes: usize,
}

impl Budget {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT_BYTES);
        Self {
            room: Arc::new(Semaphore::new(units)),
            units,
            by_owner: Quotas::new(units.div_ceil(2)),
        }
    }

    /// The room for a body that begins; nothing waits for room, since a wait holds more than it spares. A body without `owner`
    /// may take what there is.
    pub fn begin(&self, owner: Option<QuotaKey>) -> Result<Held, ApiError> {
        let mut share = owner.map(|owner| self.by_owner.of(owner));
        Ok(Held {
            permit: self.take(1, share.as_mut())?,
            share,
            bytes: 0,
        })
    }

    /// How many bytes of it are taken, to the next 1,024.
    pub fn taken(&self) -> usize {
        (self.units - self.room.available_permits()) * UNIT_BYTES
    }

    fn take(
        &self,
        units: usize,
        share: Option<&mut Quota<QuotaKey>>,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        // before the room: who may not take more takes nothing from others, not even for a moment
        if !share.is_none_or(|share| share.grow(units)) {
            return Err(ApiError::Overloaded(
                "The bodies of your other requests take half of the room, and nobody may take more.",
            ));
        }
        let permits = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.room)
            .try_acquire_many_owned(permits)
            .map_err(|_| ApiError::Overloaded("The bodies of other requests take all the room."))
    }
}

impl Held {
    /// Takes room for `bytes` more.
    pub fn grow(&mut self, budget: &Budget, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        let wanted = self.bytes.div_ceil(UNIT_BYTES);
        let missing = wanted.saturating_sub(self.permit.num_permits());
        if missing > 0 {
            self.permit.merge(budget.take(missing, self.share.as_mut())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_is_taken_is_refused_to_others_until_it_is_given_back() {
        let budget = Budget::new(4 * UNIT_BYTES);
        let mut held = budget.begin(None).expect("room");
        held.grow(&budget, 3 * UNIT_BYTES + 1).expect("room");
        assert!(budget.begin(None).is_err());
        drop(held);
        assert!(budget.begin(None).is_ok());
    }

    #[test]
    fn a_small_body_takes_one_unit_however_many_frames_it_has() {
        let budget = Budget::new(2 * UNIT_BYTES);
        let mut held = budget.begin(None).expect("room");
        for _ in 0..100 {
            held.grow(&budget, 10).expect("room");
        }
        assert!(budget.begin(None).is_ok());
    }

    #[test]
    fn one_owner_takes_half_of_the_room_and_leaves_the_rest_to_others() {
        let owner = |name: &str| Some(QuotaKey::Name(name.into()));
        let budget = Budget::new(8 * UNIT_BYTES);
        let mut first = budget.begin(owner("a")).expect("room");
        first.grow(&budget, 3 * UNIT_BYTES).expect("room");
        let mut second = budget.begin(owner("a")).expect("room");
        assert!(second.grow(&budget, 2 * UNIT_BYTES).is_err());
        assert!(budget.begin(owner("a")).is_err());
        let mut other = budget.begin(owner("b")).expect("room");
        other.grow(&budget, 4 * UNIT_BYTES).expect("room");
        assert!(budget.begin(owner("c")).is_err(), "there is no more");
        drop((first, second));
        assert!(budget.begin(owner("a")).is_ok());
        drop(other);
        assert_eq!((budget.taken(), budget.by_owner.holders()), (0, 0));
    }

    #[test]
    fn half_of_the_room_for_two_bodies_holds_one_whatever_its_size() {
        let owner = || Some(QuotaKey::Name("a".into()));
        for bytes in [50_000_000, 1_024, 1_025, 1_536, 2_047] {
            let budget = Budget::new(2 * bytes);
            let mut held = budget.begin(owner()).expect("room");
            held.grow(&budget, bytes).expect("room");
        }
    }

    #[test]
    fn what_is_nobodys_may_take_all_the_room() {
        let budget = Budget::new(4 * UNIT_BYTES);
        let mut held = budget.begin(None).expect("room");
        held.grow(&budget, 4 * UNIT_BYTES).expect("room");
        assert_eq!(budget.by_owner.holders(), 0);
    }
}
