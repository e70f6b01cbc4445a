//! Non-blocking log output to stdout, which may be a full pipe.
//!
//! A thread writes the lines. The rest of the process never waits for it: lines that do not fit into the
//! buffer are dropped and counted.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use metrics::counter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Maximum number of buffered lines.
const LINES_MAX: usize = 8_192;
/// Maximum time to write the last lines when the process ends.
const FLUSH_MAX: Duration = Duration::from_millis(1_500);

/// The number of lines that this process dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// A guard that writes the buffered lines on drop, for at most [`FLUSH_MAX`].
#[derive(Debug)]
pub(super) struct LinesGuard(Option<WorkerGuard>);

/// Returns the writer of lines and the guard that flushes it.
pub(super) fn writer() -> (NonBlocking, LinesGuard) {
    let (writer, guard) = to(io::stdout());
    // logging is set up once per process; a second call fails later and its writer is not used
    let _ = DROPPED.set(writer.error_counter());
    (writer, guard)
}

fn to(output: impl io::Write + Send + 'static) -> (NonBlocking, LinesGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log lines")
        .finish(output);
    (writer, LinesGuard(Some(guard)))
}

/// Updates the counter of dropped lines.
pub(super) fn show_dropped() {
    if let Some(dropped) = DROPPED.get() {
        counter!("tasker_log_lines_dropped_total").absolute(dropped.dropped_lines() as u64);
    }
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (flushed, wait) = mpsc::channel();
        // on its own thread: if the output blocks, dropping the guard would block without end
        let thread = thread::Builder::new().name("last log lines".to_owned());
        let spawned = thread.spawn(move || {
            drop(guard);
            // the receiver has given up
            let _ = flushed.send(());
        });
        if spawned.is_ok() {
            let _ = wait.recv_timeout(FLUSH_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::time::Instant;

    #[test]
    fn a_full_pipe_costs_lines_and_no_time() {
        let (reader, pipe) = io::pipe().expect("a pipe");
        let (mut writer, guard) = to(pipe);
        let line = [b'x'; 1024];
        let began = Instant::now();
        // 64 KiB fit into the pipe
        for _ in 0..LINES_MAX + 1_000 {
            writer.write_all(&line).expect("never fails");
        }
        let dropped = writer.error_counter().dropped_lines();
        assert!((800..=1_000).contains(&dropped), "{dropped}");
        drop(guard);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(reader);
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        let (mut writer, guard) = to(pipe);
        for _ in 0..100 {
            writer.write_all(b"line\n").expect("never fails");
        }
        drop(guard);
        let mut read = [0; 500];
        reader.read_exact(&mut read).expect("all lines");
        assert!(read.chunks(5).all(|line| line == b"line\n"));
    }
}
