//! The memory budget for request bodies: bounds the bytes that requests hold in memory at once. One client
//! may use at most half of it.

use std::sync::Arc;

use tasker_platform::quota::{Quota, Quotas};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::QuotaKey;
use crate::error::ApiError;

/// Permits count units of 1,024 bytes, so that they fit a semaphore.
const UNIT_BYTES: usize = 1024;

/// A bounded amount of memory, from which requests reserve.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    available: Arc<Semaphore>,
    units: usize,
    by_owner: Quotas<QuotaKey>,
}

/// The memory reserved by one request; released when dropped.
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    share: Option<Quota<QuotaKey>>,
    bytes: usize,
}

impl MemoryBudget {
    /// Creates a budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT_BYTES);
        Self {
            available: Arc::new(Semaphore::new(units)),
            units,
            by_owner: Quotas::new(units.div_ceil(2)),
        }
    }

    /// Starts the reservation of a body. Fails at once if the budget is used up: a waiting request would
    /// itself hold memory. A body without `owner` has no quota.
    pub fn begin(&self, owner: Option<QuotaKey>) -> Result<Reservation, ApiError> {
        let mut share = owner.map(|owner| self.by_owner.of(owner));
        Ok(Reservation {
            permit: self.take(1, share.as_mut())?,
            share,
            bytes: 0,
        })
    }

    /// Returns the number of reserved bytes, rounded up to 1,024.
    pub fn taken(&self) -> usize {
        (self.units - self.available.available_permits()) * UNIT_BYTES
    }

    fn take(
        &self,
        units: usize,
        share: Option<&mut Quota<QuotaKey>>,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        // the quota first: a client over its quota must not use up the common budget, not even for a moment
        if !share.is_none_or(|share| share.grow(units)) {
            return Err(ApiError::Overloaded(
                "Your requests in progress use half of the memory for request bodies, the maximum for one client.",
            ));
        }
        let permits = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.available)
            .try_acquire_many_owned(permits)
            .map_err(|_| {
                ApiError::Overloaded("The requests in progress use all of the memory for request bodies.")
            })
    }
}

impl Reservation {
    /// Reserves `bytes` more.
    pub fn grow(&mut self, budget: &MemoryBudget, bytes: usize) -> Result<(), ApiError> {
        // bytes add up before they are rounded, so that a body in many small frames costs no unit per frame
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
    fn reserved_memory_is_refused_to_others_until_it_is_released() {
        let budget = MemoryBudget::new(4 * UNIT_BYTES);
        let mut reservation = budget.begin(None).expect("memory");
        reservation.grow(&budget, 3 * UNIT_BYTES + 1).expect("memory");
        assert!(budget.begin(None).is_err());
        drop(reservation);
        assert!(budget.begin(None).is_ok());
    }

    #[test]
    fn a_small_body_takes_one_unit_however_many_frames_it_has() {
        let budget = MemoryBudget::new(2 * UNIT_BYTES);
        let mut reservation = budget.begin(None).expect("memory");
        for _ in 0..100 {
            reservation.grow(&budget, 10).expect("memory");
        }
        assert!(budget.begin(None).is_ok());
    }

    #[test]
    fn one_owner_takes_half_of_the_budget_and_leaves_the_rest_to_others() {
        let owner = |name: &str| Some(QuotaKey::Name(name.into()));
        let budget = MemoryBudget::new(8 * UNIT_BYTES);
        let mut first = budget.begin(owner("a")).expect("memory");
        first.grow(&budget, 3 * UNIT_BYTES).expect("memory");
        let mut second = budget.begin(owner("a")).expect("memory");
        assert!(second.grow(&budget, 2 * UNIT_BYTES).is_err());
        assert!(budget.begin(owner("a")).is_err());
        let mut other = budget.begin(owner("b")).expect("memory");
        other.grow(&budget, 4 * UNIT_BYTES).expect("memory");
        assert!(budget.begin(owner("c")).is_err(), "the budget is used up");
        drop((first, second));
        assert!(budget.begin(owner("a")).is_ok());
        drop(other);
        assert_eq!((budget.taken(), budget.by_owner.holders()), (0, 0));
    }

    #[test]
    fn half_of_the_budget_for_two_bodies_holds_one_whatever_its_size() {
        let owner = || Some(QuotaKey::Name("a".into()));
        for bytes in [50_000_000, 1_024, 1_025, 1_536, 2_047] {
            let budget = MemoryBudget::new(2 * bytes);
            let mut reservation = budget.begin(owner()).expect("memory");
            reservation.grow(&budget, bytes).expect("memory");
        }
    }

    #[test]
    fn a_body_without_an_owner_may_take_the_whole_budget() {
        let budget = MemoryBudget::new(4 * UNIT_BYTES);
        let mut reservation = budget.begin(None).expect("memory");
        reservation.grow(&budget, 4 * UNIT_BYTES).expect("memory");
        assert_eq!(budget.by_owner.holders(), 0);
    }
}
