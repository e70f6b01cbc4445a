//! Memory and CPU time of processes and of the machine, read from /proc.

use std::time::Duration;

use anyhow::Context as _;

/// The unit of CPU time in /proc, independent of the kernel's timer frequency.
const TICK: Duration = Duration::from_millis(10);

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident memory now.
    pub(crate) resident: u64,
    /// Maximum resident memory so far.
    pub(crate) peak: u64,
}

/// Returns the memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_memory(&status).with_context(|| format!("{path} does not contain the memory"))
}

/// Returns the CPU time of a process since its start.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = parse_ticks(&stat).with_context(|| format!("{path} does not contain the CPU time"))?;
    Ok(TICK * ticks)
}

/// CPU time of the whole machine since boot, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineTime {
    /// Total time.
    all: u64,
    /// Steal time: the host ran other virtual machines while this one was runnable.
    stolen: u64,
}

impl MachineTime {
    /// Reads the current counters; `None` without /proc/stat.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Option<Vec<u64>> = line.split_whitespace().map(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guest times are contained in the first two
        let ticks = ticks?;
        let stolen = *ticks.get(7)?;
        let all = ticks.iter().take(8).sum();
        Some(Self { all, stolen })
    }

    /// Returns the share of steal time since `before`, in percent.
    #[expect(clippy::cast_precision_loss, reason = "ticks of years are far below 2^52")]
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 * 100.0 / all as f64
    }
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kibibytes = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let value: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(value * 1024)
    };
    Some(Memory {
        resident: kibibytes("VmRSS:")?,
        peak: kibibytes("VmHWM:")?,
    })
}

fn parse_ticks(stat: &str) -> Option<u32> {
    // the name in parentheses may contain spaces and parentheses; utime and stime are the 12th and 13th field
    // after it
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields
        .split_whitespace()
        .skip(11)
        .map(|field| field.parse::<u32>().ok());
    Some(times.next()?? + times.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reported_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n";
        let memory = parse_memory(status).expect("memory");
        assert_eq!((memory.peak, memory.resident), (2_097_152, 524_288));
        assert_eq!(parse_memory("Name:\tx\n"), None);
    }

    #[test]
    fn a_strange_name_does_not_confuse_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_ticks(stat), Some(42));
        assert_eq!(parse_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn what_the_host_took_is_a_share_of_all_time() {
        let at = |stat: &str| MachineTime::parse(stat).expect("times");
        let before = at("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let after = at("cpu  60 0 20 90 0 0 5 25 40 0\n");
        assert!((after.stolen_since(before) - 15.0).abs() < 1e-9);
        assert!(before.stolen_since(before).abs() < 1e-9);
        assert_eq!(MachineTime::parse("intr 1 2 3\n"), None);
    }

    #[test]
    fn this_very_process_uses_something() {
        let pid = std::process::id();
        assert!(memory(pid).is_ok_and(|memory| memory.peak >= memory.resident && memory.resident > 0));
        assert!(processor_time(pid).is_ok());
    }
}
