//! Blocks of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A block of addresses such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// The networks that contain `127.0.0.1` and `::1`.
    pub fn loopback() -> [Self; 2] {
        [
            Self(IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)),
            Self(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))),
        ]
    }

    /// Returns true if `ip` lies in the block. A mapped address such as `::ffff:10.0.0.1` counts as the v4
    /// one.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// Reads an address or a network. An IPv6 address may stand in brackets. Returns `None` for anything
    /// else.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        if !text.contains('/') {
            return Some(Self(IpNet::from(address)));
        }
        IpNet::new(address, prefix.parse().ok()?).ok().map(Self)
    }
}
