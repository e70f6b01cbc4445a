//! How much one may ask for: requests a second by whoever signed in, else by the client's address.
//!
//! Each request counts once, before its body is read. The tasks of a batch count besides, in a bucket that fills as fast and has
//! room for the largest batch: a key submits no more tasks a second than it may send requests, however it sends them.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tasker_shared::task::limits::BATCH_TASKS;

use super::identity::{Caller, QuotaKey};
use super::rejection::AuthRejection;

/// What is counted together. There are no more names than keys and users, and so many addresses at most: memory is bounded
/// without anybody being forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    Name(Arc<str>),
    Addresses(u16),
}

/// The limits, and how much of them is used.
#[derive(Debug)]
pub struct Rates {
    requests: DefaultKeyedRateLimiter<Bucket>,
    batches: DefaultKeyedRateLimiter<Bucket>,
    hasher: RandomState,
}

impl Rates {
    /// Allows so many requests a second, and as many at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        let largest_batch = u32::try_from(BATCH_TASKS).ok().and_then(NonZeroU32::new);
        let room = largest_batch.map_or(per_second, |tasks| tasks.max(per_second));
        Self {
            requests: RateLimiter::keyed(Quota::per_second(per_second)),
            batches: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(room)),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request.
    pub fn request(&self, caller: &Caller) -> Result<(), AuthRejection> {
        let limit = &self.requests;
        limit
            .check_key(&self.bucket(caller))
            .map_err(|until| AuthRejection::Rate(until.wait_time_from(limit.clock().now())))
    }

    /// Counts the tasks of a batch.
    pub fn batch(&self, caller: &Caller, tasks: usize) -> Result<(), AuthRejection> {
        let Some(tasks) = u32::try_from(tasks).ok().and_then(NonZeroU32::new) else {
            return Ok(());
        };
        let limit = &self.batches;
        match limit.check_key_n(&self.bucket(caller), tasks) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(AuthRejection::Rate(until.wait_time_from(limit.clock().now()))),
            // a batch has no more tasks than there is room for
            Err(_) => Err(AuthRejection::Rate(Duration::from_secs(1))),
        }
    }

    /// Lets go of those who have all their room again.
    pub fn sweep(&self) {
        for limit in [&self.requests, &self.batches] {
            limit.retain_recent();
            limit.shrink_to_fit();
        }
    }

    fn bucket(&self, caller: &Caller) -> Bucket {
        match caller.counted() {
            QuotaKey::Name(name) => Bucket::Name(name),
            QuotaKey::Address(address) => Bucket::Addresses(self.place(address)),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any 16 bits of a hash are as good as others"
    )]
    fn place(&self, address: IpAddr) -> u16 {
        self.hasher.hash_one(address) as u16
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::identity::{Identity, SignedInBy};
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller {
            identity: Arc::new(Identity {
                name: name.into(),
                by: SignedInBy::Key,
                ..Identity::anonymous()
            }),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn rates(per_second: u32) -> Rates {
        Rates::new(NonZeroU32::new(per_second).expect("not zero"))
    }

    #[test]
    fn each_key_has_its_own_limit() {
        let rates = rates(3);
        for _ in 0..3 {
            assert_eq!(rates.request(&caller("a")), Ok(()));
        }
        assert!(
            matches!(rates.request(&caller("a")), Err(AuthRejection::Rate(wait)) if wait < Duration::from_secs(1))
        );
        assert_eq!(rates.request(&caller("b")), Ok(()));
    }

    #[test]
    fn the_largest_batch_is_taken_once_and_then_paid_for() {
        let rates = rates(10);
        assert_eq!(rates.batch(&caller("a"), BATCH_TASKS), Ok(()));
        let wait = match rates.batch(&caller("a"), 100) {
            Err(AuthRejection::Rate(wait)) => wait,
            other => panic!("{other:?}"),
        };
        assert!(wait > Duration::from_secs(8), "{wait:?}");
        assert_eq!(rates.request(&caller("a")), Ok(()), "requests are counted apart");
    }

    #[test]
    fn who_did_not_sign_in_is_counted_by_address() {
        let rates = rates(1);
        let from = |last| Caller {
            identity: Arc::new(Identity::anonymous()),
            address: Ipv4Addr::new(127, 0, 0, last).into(),
        };
        assert_eq!(rates.request(&from(1)), Ok(()));
        assert!(rates.request(&from(1)).is_err());
        // one of these is counted with the first at most
        assert!((2..5).filter(|last| rates.request(&from(*last)).is_ok()).count() >= 2);
    }
}
