//! The system's limit on open files, which connections are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files of a process that are no connections of clients: those to Postgres and Redis, and some to spare.
const RESERVE: u64 = 200;

/// As many of `connections` as the system lets this process have beside `others` of its own, after asking it
/// for enough: the limit that a shell or systemd sets by default is far below what the system allows.
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
        "the limit of open files leaves room for fewer connections than MAX_CONNECTIONS"
    );
    fit
}
