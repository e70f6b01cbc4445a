//! The cost of the hot paths in counts: statements, commands, round trips, bytes of WAL. Counts do not depend
//! on the speed of the machine, so an addition to a hot path fails here on any machine, with its name.
//!
//! A cost report contains the work done for the tasks of a path, without background duties (see
//! [`cost_report`]). The number of tasks that share a statement depends on timing; such tests slow down the
//! link to Postgres, so that work accumulates, and check an upper bound.
//!
//! If you make a path cheaper, lower its number here; an increase needs a reason.

mod batch;
mod cancel;
mod cost_report;
mod drain;
mod failures;
mod idle;
mod keys;
mod meter;
mod read;
mod submit;
mod wal;
