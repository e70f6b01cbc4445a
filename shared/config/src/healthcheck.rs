//! Configuration of `--healthcheck`: only the address of the instance, so that other problems do not fail the
//! check.

use std::net::SocketAddr;

use super::problem::LoadError;
use super::queues::list;
use super::reader::Reader;
use super::variable::Binary;
use tasker_platform::healthcheck::Healthcheck;

/// Returns the requested health check as the error that replaces a start.
pub(super) fn requested(mut reader: Reader<'_>, binary: Binary) -> LoadError {
    let variable = match binary {
        Binary::Server => "LISTEN_ADDRS",
        Binary::Worker => "WORKER_LISTEN_ADDR",
    };
    let first = |text: &str| match list(text).next().map(str::parse) {
        Some(Ok(address)) => Ok::<SocketAddr, _>(address),
        _ => Err("must be an address like 127.0.0.1:8000"),
    };
    // the first address is enough: all of them serve the same router
    let address = reader.parse(variable, first);
    let tls = binary == Binary::Server && reader.given("TLS_CERT_FILE").is_some();
    LoadError::Healthcheck(match address {
        Some(address) => Ok(Healthcheck::new(address, tls)),
        None => Err(reader.problems_at(variable)),
    })
}
