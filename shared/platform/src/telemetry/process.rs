//! Metrics of the process itself, read on each scrape. Without `/proc`, the metrics that come from it are
//! left out.

use std::fs;
use std::sync::LazyLock;

use metrics::{counter, gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::{Component, stdout};

/// The start time of this process, in seconds since 1970.
static STARTED: LazyLock<Option<f64>> = LazyLock::new(|| {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.parse::<f64>().ok()? + Stat::read()?.start_seconds)
});

/// The kernel's statistics of this process.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// Seconds from boot to the start of the process.
    start_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        #[expect(clippy::cast_precision_loss, reason = "both are small")]
        Self::parse(&text, clock_ticks_per_second() as f64, page_size() as f64)
    }

    /// Parses the line of `/proc/self/stat`, in which the program's name may contain anything, parentheses
    /// included.
    fn parse(text: &str, ticks: f64, page: f64) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<f64> = fields
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        // numbered as in proc(5); the first two are before the parenthesis
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            start_seconds: field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page,
        })
    }
}

/// Sets the metrics that never change.
pub(super) fn begin(component: Component) {
    let component = component.as_str().to_lowercase();
    gauge!("tasker_build_info", "component" => component, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    if let Some(started) = *STARTED {
        gauge!("process_start_time_seconds").set(started);
    }
}

/// Updates the metrics of the process and of its async runtime.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn show() {
    stdout::show_dropped();
    if let Some(stat) = Stat::read() {
        // the recorder counts in integers, so fractions of a second are lost
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole seconds"
        )]
        counter!("process_cpu_seconds_total").absolute(stat.cpu_seconds as u64);
        gauge!("process_threads").set(stat.threads);
        gauge!("process_virtual_memory_bytes").set(stat.virtual_bytes);
        gauge!("process_resident_memory_bytes").set(stat.resident_bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(files.count() as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge!("process_max_fds").set(most as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_kernel_is_read_whatever_the_program_is_called() {
        let line =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 1000 4096 3 18446744073709551615 1";
        let stat = Stat {
            cpu_seconds: 3.0,
            threads: 9.0,
            start_seconds: 10.0,
            virtual_bytes: 4096.0,
            resident_bytes: 12288.0,
        };
        assert_eq!(Stat::parse(line, 100.0, 4096.0), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1", 100.0, 4096.0), None);
    }
}
