//! The connection limiter: a maximum of connections in total, and a quarter of it per client address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::network::Network;
use crate::quota::{Quota, Quotas};

/// One address may take one in this number of all connections.
const ADDRESS_FRACTION: usize = 4;

/// Returns the address that `address` is counted as: a client commonly has a whole /64 network of `IPv6`.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            // the first 64 bits: the smallest network that providers assign
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// The connection limiter of a server.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    all: Arc<Semaphore>,
    by_address: Quotas<IpAddr>,
    /// Networks without a limit per address, such as proxies, which connect for many clients.
    exempt: Vec<Network>,
}

/// The permission for one connection, returned on drop.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    _total: OwnedSemaphorePermit,
    _address: Option<Quota<IpAddr>>,
}

impl ConnectionLimiter {
    pub(super) fn new(connections: usize, exempt: Vec<Network>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections)),
            by_address: Quotas::new(connections.div_ceil(ADDRESS_FRACTION)),
            exempt,
        }
    }

    pub(super) fn exempt(&self) -> &[Network] {
        &self.exempt
    }

    /// Returns a permit for a connection of `client`; `None` if the total or the address is at its maximum.
    pub(super) fn acquire(&self, client: IpAddr) -> Option<ConnectionPermit> {
        // never waits: a waiting connection would hold the open file that the limit is about
        let total = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let address_quota = if self.exempt.iter().any(|network| network.contains(client)) {
            None
        } else {
            let mut quota = self.by_address.of(counted_as(client));
            quota.grow(1).then_some(())?; // on `None`, `total` is returned too
            Some(quota)
        };
        Some(ConnectionPermit {
            _total: total,
            _address: address_quota,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn limiter(connections: usize) -> ConnectionLimiter {
        ConnectionLimiter::new(
            connections,
            vec![Network::parse("10.0.0.0/8").expect("a network")],
        )
    }

    #[test]
    fn an_address_has_its_share_and_others_have_theirs() {
        let limiter = limiter(8);
        let held: Vec<_> = (0..2).filter_map(|_| limiter.acquire(ip("192.0.2.1"))).collect();
        assert_eq!(held.len(), 2);
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
        assert!(
            limiter.acquire(ip("::ffff:192.0.2.1")).is_none(),
            "it is the same one"
        );
        assert!(limiter.acquire(ip("192.0.2.2")).is_some());
        drop(held);
        assert!(limiter.acquire(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limiter = limiter(4);
        let held = limiter.acquire(ip("2001:db8:1:2::1"));
        assert!(held.is_some());
        assert!(limiter.acquire(ip("2001:db8:1:2:ffff::9")).is_none());
        assert!(limiter.acquire(ip("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn an_exempt_network_may_take_every_connection_and_no_more() {
        let limiter = limiter(4);
        let held: Vec<_> = (0..5)
            .filter_map(|_| limiter.acquire(ip("::ffff:10.0.0.1")))
            .collect();
        assert_eq!(held.len(), 4);
        assert!(limiter.acquire(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let limiter = limiter(8);
        let held: Vec<_> = (1..4)
            .filter_map(|last| limiter.acquire([192, 0, 2, last].into()))
            .collect();
        assert_eq!((held.len(), limiter.by_address.holders()), (3, 3));
        drop(held);
        assert_eq!(limiter.by_address.holders(), 0);
        assert_eq!(limiter.all.available_permits(), 8);
    }

    #[test]
    fn addresses_are_counted_by_their_network() {
        assert_eq!(counted_as(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(counted_as(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }
}
