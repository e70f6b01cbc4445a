//! What the hot paths cost, as counts: statements, commands and round trips, bytes of WAL. Counts do not depend on how fast a
//! machine is, so what is added to a hot path fails here anywhere, and names itself.
//!
//! A path's bill shows what is done for its tasks and leaves out what the duties of the background do meanwhile (see [`bill`]).
//! Where many tasks share a statement, the clock decides how many; there the link to Postgres is slow, so that whatever can
//! gather does, and the bill has an upper bound.
//!
//! Who makes a path cheaper lowers its number here; a number that has to rise needs a reason.

mod batch;
mod bill;
mod cancel;
mod drain;
mod failures;
mod idle;
mod keys;
mod meter;
mod read;
mod submit;
mod wal;
