//! The system's limit on open files, which also limits connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Open files reserved for everything but client connections: Postgres, Redis and a margin.
const RESERVE: u64 = 200;

/// Returns how many of `connections` the limit on open files permits, next to `others` of the process itself.
/// Raises the limit first: the soft limit that a shell or systemd sets by default is far below the hard one.
pub fn fitting(connections: usize, others: usize) -> usize {
    let reserve = RESERVE + others as u64;
    let wanted = reserve + connections as u64;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return connections;
    }
    let allowed = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    let raised = Rlimit {
        current: Some(allowed),
        maximum: limit.maximum,
    };
    // the hard limit is kept: raising it needs a privilege that the process does not have
    let files = if setrlimit(Resource::Nofile, raised).is_ok() {
        allowed
    } else {
        current
    };
    if files >= wanted {
        return connections;
    }
    let fit = usize::try_from(files.saturating_sub(reserve))
        .unwrap_or(connections)
        .max(1);
    warn!(
        connections = fit,
        wanted = connections,
        files,
        "reduced the maximum number of connections to fit the limit on open files"
    );
    fit
}
