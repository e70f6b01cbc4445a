//! The addresses that `http_request` may reach. Names are checked in the DNS resolver, so that the checked
//! address is the one that is connected to (no DNS rebinding); redirects are checked like first requests.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tasker_config::AllowList;
use tasker_platform::tls;
use url::{Host, Url};

use tasker_worker::TaskError;

/// Maximum number of redirects.
const REDIRECTS: usize = 5;

/// A URL or address that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("url: only http and https can be requested")]
    Scheme,
    #[error("url: the host is missing")]
    NoHost,
    #[error("url: `{0}` is a private address; HTTP_REQUEST_ALLOW of the worker does not list it")]
    Private(String),
}

#[derive(Debug)]
pub(super) struct Guard {
    allowed: AllowList,
}

impl Guard {
    pub(super) fn new(allowed: AllowList) -> Self {
        Self { allowed }
    }

    /// Returns a client that connects only to addresses that this guard allows.
    pub(super) fn client(this: &Arc<Self>) -> Client {
        let guard = Arc::clone(this);
        let redirects = Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                attempt.stop()
            } else if let Err(refused) = guard.check(attempt.url()) {
                attempt.error(refused)
            } else {
                attempt.follow()
            }
        });
        tls::http_client()
            // a proxy from the environment would resolve names itself, without this check
            .no_proxy()
            .redirect(redirects)
            .dns_resolver(Arc::new(GuardedResolver {
                guard: Arc::clone(this),
            }))
            .build()
            .expect("the settings are constant and valid")
    }

    /// Checks the scheme of a URL, and its host if that is an address.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        match url.host() {
            None => Err(Refused::NoHost),
            Some(Host::Domain(_)) => Ok(()),
            Some(Host::Ipv4(ip)) => self.check_address(&ip.to_string(), ip.into()),
            Some(Host::Ipv6(ip)) => self.check_address(&ip.to_string(), ip.into()),
        }
    }

    fn check_address(&self, host: &str, ip: IpAddr) -> Result<(), Refused> {
        if is_public(ip) || self.allowed.permits(host, ip) {
            Ok(())
        } else {
            Err(Refused::Private(host.to_owned()))
        }
    }
}

/// A DNS resolver that returns only allowed addresses.
#[derive(Debug)]
struct GuardedResolver {
    guard: Arc<Guard>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| guard.check_address(&host, address.ip()).is_ok())
                .collect();
            if allowed.is_empty() {
                return Err(Refused::Private(host).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Returns the error of a failed request: a rejected address is not retried, other failures are.
pub(super) fn verdict(error: reqwest::Error) -> TaskError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return TaskError::fail(refused.clone());
        }
        source = cause.source();
    }
    TaskError::retry(error)
}

/// Returns true if an address belongs to the public internet (IANA special-purpose address registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        // carrier-grade NAT, IETF protocol assignments, benchmarking, reserved
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // forms that carry a v4 address: mapped, NAT64, 6to4
    let carried = match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    };
    if let Some(carried) = carried {
        return is_public_v4(carried);
    }
    // global unicast is 2000::/3; within it Teredo (2001::/32) and documentation (2001:db8::/32, 3fff::/20)
    // are not public
    let global = (segments[0] & 0xe000) == 0x2000;
    let special = (segments[0] == 0x2001 && matches!(segments[1], 0 | 0x0db8)) || segments[0] == 0x3fff;
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_every_spelling_are_refused() {
        let guard = Guard::new(AllowList::default());
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "255.255.255.255",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[fe80::1]",
            "[fc00::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
        ] {
            let url = Url::parse(&format!("http://{host}/")).expect("a URL");
            assert!(
                matches!(guard.check(&url), Err(Refused::Private(_))),
                "{host} was allowed"
            );
        }
    }

    #[test]
    fn public_addresses_and_listed_ones_are_allowed_and_files_are_not() {
        let guard = Guard::new(AllowList::parse("127.0.0.0/8").expect("a network"));
        let check = |text: &str| guard.check(&Url::parse(text).expect("a URL"));
        assert_eq!(check("https://93.184.215.14/x"), Ok(()));
        assert_eq!(check("https://[2606:4700::1]/x"), Ok(()));
        assert_eq!(check("http://127.0.0.1:8000/x"), Ok(()));
        assert_eq!(check("file:///etc/passwd"), Err(Refused::Scheme));
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused_where_it_is_resolved() {
        let guard = Arc::new(Guard::new(AllowList::default()));
        let error = Guard::client(&guard)
            .get("http://localhost:1/")
            .send()
            .await
            .expect_err("refused");
        assert!(matches!(verdict(error), TaskError::Fail(_)));
    }
}
