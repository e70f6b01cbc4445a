//! The private addresses that the `http_request` task may reach (`HTTP_REQUEST_ALLOW`).

use std::net::IpAddr;

use tasker_platform::network::Network;

use super::queues::list;

/// The private hosts and networks that may be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<Network>,
}

impl AllowList {
    /// Parses a comma list of host names, addresses and networks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut allowed = Self::default();
        for item in list(text) {
            if let Some(network) = Network::parse(item) {
                allowed.networks.push(network);
            } else if is_host_name(item) {
                allowed.hosts.push(item.to_ascii_lowercase());
            } else if item.contains('@') {
                // not repeated: it may hold a password
                return Err("an entry with `@` is neither a host nor a network".to_owned());
            } else {
                return Err(format!(
                    "`{item}` is neither a host nor a network like 10.0.0.0/8"
                ));
            }
        }
        Ok(allowed)
    }

    /// Returns whether a request to `host`, which resolved to `ip`, is allowed by name or by address.
    pub fn permits(&self, host: &str, ip: IpAddr) -> bool {
        self.hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
            || self.networks.iter().any(|network| network.contains(ip))
    }
}

fn is_host_name(text: &str) -> bool {
    let letters = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    // a name that ends in a number would be parsed as an address, and an invalid one
    let last = text.rsplit('.').next().unwrap_or_default();
    letters && text.len() <= 253 && last.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn names_addresses_and_networks_are_permitted() {
        let list =
            AllowList::parse("intern.example, 10.0.0.0/8,127.0.0.1, fd00::/8,0.0.0.0/0").expect("valid");
        assert!(list.permits("INTERN.example", ip("192.168.1.1")));
        let list = AllowList::parse("10.0.0.0/8,127.0.0.1,fd00::/8").expect("valid");
        for address in ["10.1.2.3", "127.0.0.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(list.permits("x", ip(address)), "{address}");
        }
        for address in ["11.0.0.1", "127.0.0.2", "fe80::1", "::1"] {
            assert!(!list.permits("x", ip(address)), "{address}");
        }
    }

    #[test]
    fn a_whole_address_space_can_be_allowed() {
        let list = AllowList::parse("0.0.0.0/0,::/0").expect("valid");
        assert!(list.permits("x", ip("8.8.8.8")) && list.permits("x", ip("::1")));
    }

    #[test]
    fn an_invalid_entry_is_rejected() {
        for text in ["10.0.0.0/33", "10.0.0", "a b", "http://x", "1.2.3.4/x", "host:80"] {
            assert!(AllowList::parse(text).is_err(), "{text}");
        }
    }
}
