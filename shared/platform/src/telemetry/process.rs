//! Metrics of the process itself, read on each scrape. Without `/proc`, the metrics that come from it are
//! left out.

use std::fs;

use metrics::{counter, gauge};

use super::{Component, stdout};

/// Sets the metrics that never change.
pub(super) fn begin(component: Component) {
    let component = component.as_str().to_lowercase();
    gauge!("tasker_build_info", "component" => component, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Updates the metrics of the process and of its async runtime.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn show() {
    stdout::show_dropped();
    let process = metrics_process::collector::collect();
    if let Some(seconds) = process.cpu_seconds_total {
        // the recorder counts in integers, so fractions of a second are lost
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole seconds"
        )]
        counter!("process_cpu_seconds_total").absolute(seconds as u64);
    }
    let values = [
        ("process_threads", process.threads),
        ("process_virtual_memory_bytes", process.virtual_memory_bytes),
        ("process_resident_memory_bytes", process.resident_memory_bytes),
        ("process_open_fds", process.open_fds),
        // a limit of 0 means that there is none
        ("process_max_fds", process.max_fds.filter(|most| *most > 0)),
        ("process_start_time_seconds", process.start_time_seconds),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            gauge!(name).set(value as f64);
        }
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let runtime = runtime.metrics();
    gauge!("tasker_runtime_tasks").set(runtime.num_alive_tasks() as f64);
    gauge!("tasker_runtime_threads").set(runtime.num_workers() as f64);
}

/// Returns the name of this host, or `unknown`.
pub fn hostname() -> String {
    let read = |path| fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname")
        .or_else(|| read("/etc/hostname"))
        .unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name.to_owned()
    }
}
