//! Room for bodies, counted in bytes: what requests hold in memory at once is bounded, whoever sends it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Permits count units of 1,024 bytes, so that they fit a semaphore.
const UNIT_BYTES: usize = 1024;

/// A bounded amount of room.
#[derive(Debug, Clone)]
pub struct Budget {
    room: Arc<Semaphore>,
    units: usize,
}

/// Room that a request has taken; given back when dropped.
#[derive(Debug)]
pub struct Held {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Budget {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = bytes / UNIT_BYTES;
        Self {
            room: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// The room for a body that begins; nothing waits for room, since a wait holds more than it spares.
    pub fn begin(&self) -> Result<Held, ApiError> {
        Ok(Held {
            permit: self.take(1)?,
            bytes: 0,
        })
    }

    /// How many bytes of it are taken, to the next 1,024.
    pub fn taken(&self) -> usize {
        (self.units - self.room.available_permits()) * UNIT_BYTES
    }

    fn take(&self, units: u32) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.room)
            .try_acquire_many_owned(units)
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
            let units = u32::try_from(missing).unwrap_or(u32::MAX);
            self.permit.merge(budget.take(units)?);
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
        let mut held = budget.begin().expect("room");
        held.grow(&budget, 3 * UNIT_BYTES + 1).expect("room");
        assert!(budget.begin().is_err());
        drop(held);
        assert!(budget.begin().is_ok());
    }

    #[test]
    fn a_small_body_takes_one_unit_however_many_frames_it_has() {
        let budget = Budget::new(2 * UNIT_BYTES);
        let mut held = budget.begin().expect("room");
        for _ in 0..100 {
            held.grow(&budget, 10).expect("room");
        }
        assert!(budget.begin().is_ok());
    }
}
