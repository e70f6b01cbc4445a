//! The time limit of short statements.

use std::time::Duration;

/// Time limit of a statement that writes no results.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(5);
