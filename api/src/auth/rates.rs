//! Rate limits: requests a second per signed-in name, else per client address.
//!
//! Each request counts once, before its body is read. The tasks of a batch count against a second bucket with
//! the same rate and a burst of the largest batch, so that batches do not raise the number of tasks a second
//! above the request rate.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tasker_core::task::limits::BATCH_TASKS;

use super::identity::{Caller, QuotaKey};
use super::rejection::AuthRejection;

/// The key of a bucket. The number of names is limited by the users and API keys, and addresses share 65,536
/// buckets by hash, so memory is bounded without evicting anyone's count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    Name(Arc<str>),
    Addresses(u16),
}

/// The rate limits and their current use.
#[derive(Debug)]
pub struct Rates {
    requests: DefaultKeyedRateLimiter<Bucket>,
    batches: DefaultKeyedRateLimiter<Bucket>,
    hasher: RandomState,
}

impl Rates {
    /// Creates limits of `per_second` requests a second with a burst of the same number.
    pub fn new(per_second: NonZeroU32) -> Self {
        let largest_batch = u32::try_from(BATCH_TASKS).ok().and_then(NonZeroU32::new);
        let burst = largest_batch.map_or(per_second, |tasks| tasks.max(per_second));
        Self {
            requests: RateLimiter::keyed(Quota::per_second(per_second)),
            batches: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request, or returns a rejection with the time to wait.
    pub fn request(&self, caller: &Caller) -> Result<(), AuthRejection> {
        let limit = &self.requests;
        limit
            .check_key(&self.bucket(caller))
            .map_err(|until| AuthRejection::Rate(until.wait_time_from(limit.clock().now())))
    }

    /// Counts the tasks of a batch, or returns a rejection with the time to wait.
    pub fn batch(&self, caller: &Caller, tasks: usize) -> Result<(), AuthRejection> {
        let Some(tasks) = u32::try_from(tasks).ok().and_then(NonZeroU32::new) else {
            return Ok(());
        };
        let limit = &self.batches;
        match limit.check_key_n(&self.bucket(caller), tasks) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(AuthRejection::Rate(until.wait_time_from(limit.clock().now()))),
            // unreachable: validation limits a batch to the burst
            Err(_) => Err(AuthRejection::Rate(Duration::from_secs(1))),
        }
    }

    /// Removes the buckets that are full again.
    pub fn sweep(&self) {
        for limit in [&self.requests, &self.batches] {
            limit.retain_recent();
            limit.shrink_to_fit();
        }
    }

    fn bucket(&self, caller: &Caller) -> Bucket {
        match caller.quota_key() {
            QuotaKey::Name(name) => Bucket::Name(name),
            QuotaKey::Address(address) => Bucket::Addresses(self.bucket_of(address)),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any 16 bits of a hash are as good as others"
    )]
    fn bucket_of(&self, address: IpAddr) -> u16 {
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
