//! The id of this worker.

use std::sync::Arc;

pub(crate) use tasker_platform::telemetry::hostname;

/// Maximum number of characters of the host name in an id.
const HOST_CHARS: usize = 100;

/// Returns a new id: prefix, host, process id, and eight random digits, so that a container that restarts
/// under the same name and pid is another worker.
pub(crate) fn worker_id(prefix: &str, hostname: &str, pid: u32, random: u32) -> Arc<str> {
    let host: String = hostname.chars().take(HOST_CHARS).collect();
    format!("{prefix}-{host}-{pid}-{random:08x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_prefix_host_and_process() {
        assert_eq!(&*worker_id("worker", "box", 42, 0xabc), "worker-box-42-00000abc");
    }
}
