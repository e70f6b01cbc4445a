//! Progress of a run, for the person who waits for it.

use std::io::Write as _;

/// Prints progress to stderr.
pub(crate) fn progress(text: &str) {
    // a closed stderr must not fail the benchmark
    let _ = writeln!(std::io::stderr(), "{text}");
}
