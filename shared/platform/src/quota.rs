//! Quotas: limits on how much of a bounded resource one holder takes, so that others get some of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The amounts that holders have taken. Holders without an amount are removed, so its size is bounded by the
/// resource.
#[derive(Debug)]
pub struct Quotas<K> {
    limit: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// An amount taken by a holder, returned on drop.
#[derive(Debug)]
pub struct Quota<K: Eq + Hash> {
    limit: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
    holder: K,
    amount: usize,
}

impl<K: Eq + Hash> Quotas<K> {
    /// Creates quotas of at most `limit` per holder.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Returns an empty amount of `holder`, to grow.
    pub fn of(&self, holder: K) -> Quota<K> {
        Quota {
            limit: self.limit,
            taken: Arc::clone(&self.taken),
            holder,
            amount: 0,
        }
    }

    /// Returns the number of holders that have taken something.
    pub fn holders(&self) -> usize {
        lock(&self.taken).len()
    }
}

impl<K> Clone for Quotas<K> {
    fn clone(&self) -> Self {
        Self {
            limit: self.limit,
            taken: Arc::clone(&self.taken),
        }
    }
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Takes `amount` more, unless the holder would exceed its quota. Returns whether it was taken.
    #[must_use]
    pub fn grow(&mut self, amount: usize) -> bool {
        let mut taken = lock(&self.taken);
        let held = taken.get(&self.holder).copied().unwrap_or_default();
        // subtracted instead of added: `held + amount` could overflow
        if amount > self.limit.saturating_sub(held) {
            return false;
        }
        taken.insert(self.holder.clone(), held + amount);
        self.amount += amount;
        true
    }
}

impl<K: Eq + Hash> Drop for Quota<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(held) = taken.get_mut(&self.holder) {
            *held -= self.amount;
            // a holder may have several amounts; the last one to drop removes the entry
            if *held == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

fn lock<K>(taken: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_no_more_than_its_share_and_others_have_theirs() {
        let quotas = Quotas::new(3);
        let (mut one, mut another) = (quotas.of("a"), quotas.of("a"));
        assert!(one.grow(2) && !another.grow(2) && another.grow(1));
        assert!(quotas.of("b").grow(3));
        assert!(!one.grow(usize::MAX));
        drop(one);
        assert!(another.grow(2));
    }

    #[test]
    fn a_holder_without_an_amount_is_forgotten() {
        let quotas = Quotas::new(2);
        let held: Vec<_> = (0..4)
            .map(|holder| {
                let mut quota = quotas.of(holder);
                assert!(quota.grow(1));
                quota
            })
            .collect();
        let nothing = quotas.of(9);
        assert_eq!(quotas.holders(), 4);
        drop((held, nothing));
        assert_eq!(quotas.holders(), 0);
    }
}
