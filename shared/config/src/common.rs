//! Settings that the server and the worker share.

use std::net::SocketAddr;
use std::time::Duration;

use tasker_core::duration;
use tasker_platform::circuit_breaker::Limits;

use super::reader::Reader;

const HOUR: Duration = Duration::from_hours(1);
/// Maximum of `BREAKER_ERRORS`, which bounds the error times that a breaker stores.
const BREAKER_ERRORS_MAX: u32 = 10_000;

/// Reads `HEARTBEAT_INTERVAL` and `WORKER_TIMEOUT`, which must tolerate one lost heartbeat.
pub(super) fn read_liveness(reader: &mut Reader<'_>) -> (Duration, Duration) {
    let interval = reader.duration("HEARTBEAT_INTERVAL", Duration::from_millis(100)..=HOUR);
    let timeout = reader.duration("WORKER_TIMEOUT", Duration::from_millis(200)..=24 * HOUR);
    let least = interval * 2;
    // an invalid value was replaced by a placeholder, which must not be compared
    if reader.valid(&["HEARTBEAT_INTERVAL", "WORKER_TIMEOUT"]) && timeout < least {
        let message = format!(
            "{} must be at least twice HEARTBEAT_INTERVAL, {}",
            duration::format(timeout),
            duration::format(least)
        );
        reader.problem("WORKER_TIMEOUT", message);
    }
    (interval, timeout)
}

/// Reads `BREAKER_ERRORS`, `BREAKER_WINDOW` and `BREAKER_COOLDOWN`.
pub(super) fn read_breaker(reader: &mut Reader<'_>) -> Limits {
    Limits {
        errors: reader.number("BREAKER_ERRORS", 1..=BREAKER_ERRORS_MAX),
        window: reader.duration("BREAKER_WINDOW", Duration::from_millis(100)..=HOUR),
        cooldown: reader.duration("BREAKER_COOLDOWN", Duration::from_millis(10)..=HOUR),
    }
}

/// Returns the address of `METRICS_PORT`, on the IP of the first of `others`, which are the addresses of
/// `others_name`.
pub(super) fn read_metrics_addr(
    reader: &mut Reader<'_>,
    others: &[SocketAddr],
    others_name: &'static str,
) -> Option<SocketAddr> {
    let port = reader.parse("METRICS_PORT", |text| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("must be a port from 1 to 65535"),
    })?;
    // the variable sets only a port; the IP is that of the first address
    let addr = SocketAddr::new(others.first()?.ip(), port);
    if others.contains(&addr) {
        reader.problem(
            "METRICS_PORT",
            format!("{port} is already a port of {others_name}"),
        );
    }
    Some(addr)
}
