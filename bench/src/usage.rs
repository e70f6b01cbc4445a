//! What a process uses, as /proc tells it.

use std::time::Duration;

use anyhow::Context as _;

/// /proc counts processor time in these, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_memory(&status).with_context(|| format!("{path} tells no memory"))
}

/// Processor time that a process has used since it began.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = parse_ticks(&stat).with_context(|| format!("{path} tells no processor time"))?;
    Ok(TICK * ticks)
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
    // the name in parentheses may hold anything; utime and stime are the 12th and 13th field after it
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
    fn memory_is_told_in_bytes() {
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
    fn this_very_process_uses_something() {
        let pid = std::process::id();
        assert!(memory(pid).is_ok_and(|memory| memory.peak >= memory.resident && memory.resident > 0));
        assert!(processor_time(pid).is_ok());
    }
}
