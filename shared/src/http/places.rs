//! Places for connections: so many of all clients together, and a share of them for one address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Network;
use crate::shares::{Share, Shares};

/// One address may take one place in so many.
const ADDRESS_PART: usize = 4;

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
    by_address: Shares<IpAddr>,
    /// Those who speak for many clients, and so may take every place.
    spared: Vec<Network>,
}

/// A place that a connection has taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_its_address: Option<Share<IpAddr>>,
}

impl Places {
    pub(super) fn new(connections: usize, spared: Vec<Network>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections)),
            by_address: Shares::new(connections.div_ceil(ADDRESS_PART)),
            spared,
        }
    }

    pub(super) fn spared(&self) -> &[Network] {
        &self.spared
    }

    /// A place for a connection of `client`, if there is one for it.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let of_its_address = if self.spared.iter().any(|network| network.contains(client)) {
            None
        } else {
            let mut share = self.by_address.of(counted_as(client));
            share.grow(1).then_some(())?;
            Some(share)
        };
        Some(Place {
            _of_all: of_all,
            _of_its_address: of_its_address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::networks;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn places(connections: usize) -> Places {
        Places::new(connections, networks("10.0.0.0/8").expect("networks"))
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
        assert_eq!((held.len(), places.by_address.holders()), (3, 3));
        drop(held);
        assert_eq!(places.by_address.holders(), 0);
        assert_eq!(places.all.available_permits(), 8);
    }

    #[test]
    fn addresses_are_counted_by_their_network() {
        assert_eq!(counted_as(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(counted_as(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }
}
