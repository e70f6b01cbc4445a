//! Places for connections: so many of all clients together, and a share of them for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Network;

/// The share of all places that one address may take: one in so many.
const SHARE: usize = 4;

/// What addresses are counted by: one client commonly has a whole network of `IPv6`.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// The places of a server.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Most for one address.
    share: usize,
    /// Those who speak for many clients, and so may take every place.
    spared: Vec<Network>,
    /// How many each address has taken; who has none is not in it, so it is no larger than all places.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that a connection has taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_its_address: Option<Share>,
}

/// One more of the places of an address.
#[derive(Debug)]
struct Share {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(connections: usize, spared: Vec<Network>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections)),
            share: connections.div_ceil(SHARE),
            spared,
            taken: Mutex::default(),
        }
    }

    pub(super) fn spared(&self) -> &[Network] {
        &self.spared
    }

    /// A place for a connection of `client`, if there is one for it.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let of_its_address = if self.spared.iter().any(|network| network.contains(client)) {
            None
        } else {
            Some(self.share_of(counted_as(client))?)
        };
        Some(Place {
            _of_all: of_all,
            _of_its_address: of_its_address,
        })
    }

    fn share_of(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let mut taken = self.taken();
        let count = taken.entry(address).or_default();
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Share {
            places: Arc::clone(self),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::networks;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn places(connections: usize) -> Arc<Places> {
        let spared = networks("10.0.0.0/8").expect("networks");
        Arc::new(Places::new(connections, spared))
    }

    #[test]
    fn an_address_has_its_share_and_others_have_theirs() {
        let places = places(8);
        let held: Vec<_> = (0..2).filter_map(|_| places.take(ip("192.0.2.1"))).collect();
        assert_eq!(held.len(), 2);
        assert!(places.take(ip("192.0.2.1")).is_none());
        assert!(
            places.take(ip("::ffff:192.0.2.1")).is_none(),
            "it is the same one"
        );
        assert!(places.take(ip("192.0.2.2")).is_some());
        drop(held);
        assert!(places.take(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let places = places(4);
        let held = places.take(ip("2001:db8:1:2::1"));
        assert!(held.is_some());
        assert!(places.take(ip("2001:db8:1:2:ffff::9")).is_none());
        assert!(places.take(ip("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn who_speaks_for_many_may_take_every_place_and_no_more() {
        let places = places(4);
        let held: Vec<_> = (0..5)
            .filter_map(|_| places.take(ip("::ffff:10.0.0.1")))
            .collect();
        assert_eq!(held.len(), 4);
        assert!(places.take(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn who_holds_no_place_is_forgotten() {
        let places = places(8);
        let held: Vec<_> = (1..4)
            .filter_map(|last| places.take([192, 0, 2, last].into()))
            .collect();
        assert_eq!((held.len(), places.taken().len()), (3, 3));
        drop(held);
        assert!(places.taken().is_empty());
        assert_eq!(places.all.available_permits(), 8);
    }

    #[test]
    fn addresses_are_counted_by_their_network() {
        assert_eq!(counted_as(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(counted_as(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }
}
