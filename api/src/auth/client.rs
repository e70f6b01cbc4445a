//! The origin of a request: the client's address, and the detection of cross-site requests. Pure functions.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, Method, header};
use tasker_platform::network::Network;
use url::Url;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the client's address: the peer's, or the one that trusted proxies report in `X-Forwarded-For`. The
/// header of any other peer is ignored, since a client can set it to anything.
pub fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let trusted = |ip: IpAddr| proxies.iter().any(|network| network.contains(ip));
    let mut nearest = peer.to_canonical();
    if proxies.is_empty() || !trusted(nearest) {
        return nearest;
    }
    // an unreadable line becomes "", which ends the walk below: skipping it would let a client choose the
    // address that its requests are counted under
    let values: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    // from the nearest hop outwards: the first address that is not a trusted proxy is the client, and
    // everything before it was written by the client
    for hop in values.iter().flat_map(|value| value.split(',')).rev() {
        let Some(ip) = hop_address(hop.trim()) else {
            break;
        };
        nearest = ip.to_canonical();
        if !trusted(nearest) {
            break;
        }
    }
    nearest
}

/// Parses an address, with or without the port or the brackets that some proxies add.
fn hop_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    text.trim_matches(['[', ']'])
        .parse()
        .or_else(|_| with_port())
        .ok()
}

/// Returns true if a browser marks a state-changing request as sent by a page of another site. Browsers
/// attach stored Basic credentials to such requests too (CSRF).
pub fn is_cross_site(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(FETCH_SITE) {
        return !matches!(site, "same-origin" | "none");
    }
    // older browsers, and pages over plain HTTP
    match text(header::ORIGIN) {
        None => false,
        Some(origin) => !is_host(origin, text(header::HOST).unwrap_or_default()),
    }
}

/// Returns true if `origin` has the host and port of `host`, a `Host` header.
fn is_host(origin: &str, host: &str) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    // parsed with the origin's scheme, so that its default port is filled in where the header has none
    let Ok(own) = Url::parse(&format!("{}://{host}", origin.scheme())) else {
        return false;
    };
    origin.host().is_some()
        && (origin.host(), origin.port_or_known_default()) == (own.host(), own.port_or_known_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use tasker_config::networks;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn only_a_trusted_proxy_tells_of_another_address() {
        let proxies = networks("10.0.0.0/8").expect("networks");
        let of = |peer: &str, forwarded: &[&str]| {
            let values: Vec<_> = forwarded
                .iter()
                .map(|value| ("x-forwarded-for", *value))
                .collect();
            let peer = peer.parse().expect("an address");
            address(peer, &headers(&values), &proxies).to_string()
        };
        assert_eq!(of("1.2.3.4", &["9.9.9.9"]), "1.2.3.4");
        assert_eq!(of("10.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(of("::ffff:10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.2.2.2"]), "9.9.9.9");
        assert_eq!(of("10.0.0.1", &["6.6.6.6", "9.9.9.9"]), "9.9.9.9");
        assert_eq!(of("10.0.0.1", &["9.9.9.9, rubbish"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["9.9.9.9:567"]), "9.9.9.9");
        assert_eq!(of("10.0.0.1", &["[2001:db8::1]:567"]), "2001:db8::1");
        assert_eq!(of("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn a_line_that_is_no_text_hides_nobody_behind_an_earlier_one() {
        let proxies = networks("10.0.0.0/8").expect("networks");
        let mut headers = headers(&[("x-forwarded-for", "6.6.6.6")]);
        let odd = HeaderValue::from_bytes(b"\xff, 5.5.5.5").expect("a header value");
        headers.append("x-forwarded-for", odd);
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(address(peer, &headers, &proxies), peer);
    }

    #[test]
    fn a_page_of_another_site_is_told_by_what_browsers_say() {
        let judged = |values: &[(&'static str, &str)]| is_cross_site(&Method::POST, &headers(values));
        assert!(!judged(&[]), "programs say nothing");
        assert!(!judged(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://elsewhere")
        ]));
        assert!(!judged(&[("sec-fetch-site", "none")]));
        for site in ["cross-site", "same-site"] {
            assert!(judged(&[("sec-fetch-site", site)]));
        }
        assert!(!judged(&[
            ("origin", "http://tasker:8000"),
            ("host", "tasker:8000")
        ]));
        assert!(!judged(&[("origin", "https://tasker"), ("host", "tasker")]));
        for origin in [
            "http://evil",
            "http://tasker:9",
            "null",
            "http://tasker:8000.evil",
        ] {
            assert!(judged(&[("origin", origin), ("host", "tasker:8000")]), "{origin}");
        }
        let get = is_cross_site(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")]));
        assert!(!get, "who only looks changes nothing");
    }
}
