//! Shares of something bounded: how much each holder has of it, so that nobody takes it all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what each holder has taken. Who has nothing is not in it, so it is no larger than what is shared.
#[derive(Debug)]
pub struct Shares<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// Something taken of a holder's share; given back when dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
    holder: K,
    amount: usize,
}

impl<K: Eq + Hash> Shares<K> {
    /// At most so much for one holder.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// Nothing, for now, of the share of `holder`.
    pub fn of(&self, holder: K) -> Share<K> {
        Share {
            most: self.most,
            taken: Arc::clone(&self.taken),
            holder,
            amount: 0,
        }
    }

    /// How many holders have something.
    pub fn holders(&self) -> usize {
        lock(&self.taken).len()
    }
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            taken: Arc::clone(&self.taken),
        }
    }
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Takes so much more, unless the holder would have more than its share. Answers whether it was taken.
    #[must_use]
    pub fn grow(&mut self, amount: usize) -> bool {
        let mut taken = lock(&self.taken);
        let held = taken.get(&self.holder).copied().unwrap_or_default();
        if amount > self.most.saturating_sub(held) {
            return false;
        }
        taken.insert(self.holder.clone(), held + amount);
        self.amount += amount;
        true
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(held) = taken.get_mut(&self.holder) {
            *held -= self.amount;
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
        let shares = Shares::new(3);
        let (mut one, mut another) = (shares.of("a"), shares.of("a"));
        assert!(one.grow(2) && !another.grow(2) && another.grow(1));
        assert!(shares.of("b").grow(3));
        assert!(!one.grow(usize::MAX));
        drop(one);
        assert!(another.grow(2));
    }

    #[test]
    fn who_has_nothing_is_forgotten() {
        let shares = Shares::new(2);
        let held: Vec<_> = (0..4)
            .map(|holder| {
                let mut share = shares.of(holder);
                assert!(share.grow(1));
                share
            })
            .collect();
        let nothing = shares.of(9);
        assert_eq!(shares.holders(), 4);
        drop((held, nothing));
        assert_eq!(shares.holders(), 0);
    }
}
