//! Log lines on their way to standard output, which may be a pipe that is full.
//!
//! A thread writes them. The rest of the process never waits for it: lines that do not fit into the buffer
//! are dropped and counted.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use metrics::counter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written.
const LINES_MAX: usize = 8_192;
/// How long the last lines may take to be written when the process ends.
const FLUSH_MAX: Duration = Duration::from_millis(1_500);

/// The number of lines that this process dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes the lines that wait when it is dropped, unless nothing reads them for over a second.
#[derive(Debug)]
pub(super) struct LinesGuard(Option<WorkerGuard>);

/// The writer of lines, and what flushes it.
pub(super) fn writer() -> (NonBlocking, LinesGuard) {
    let (writer, guard) = to(io::stdout());
    // set up once in a process: a second time fails, and writes nothing
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

/// Shows how many lines were dropped.
pub(super) fn show_dropped() {
    if let Some(dropped) = DROPPED.get() {
        counter!("tasker_log_lines_dropped_total").absolute(dropped.dropped_lines() as u64);
    }
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (flushed, wait) = mpsc::channel();
        // on a thread of its own: where the output takes nothing, the guard itself would wait for it without
        // end
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
