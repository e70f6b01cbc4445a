//! Submit: validates tasks and writes them to Postgres by group commit.
//!
//! Handlers validate, then put their task on a bounded channel. Two flushers each take all waiting tasks up
//! to a limit, insert them with one statement, push their hints and answer the callers. No timer delays a
//! flush: the batch size follows from the load, and a single request is written at once. Batch requests have
//! their own lane.
//!
//! Invariants:
//! 1. An accepted answer means that the row is committed.
//! 2. A failed push never fails a submit.
//! 3. A statement that may have been executed is never sent again.
//! 4. A client that disconnects cancels no write, because flushers are background tasks of the process.

mod announce;
mod answer;
pub mod batch;
pub mod batch_intake;
mod dedupe;
mod entry;
pub mod fingerprint;
mod flush;
pub(crate) mod forms;
pub mod headers;
pub mod intake;
pub mod push;
pub mod request;
mod submitter;
mod ticket;
pub mod validate;
mod wait;
mod write;

pub use answer::{Accepted, Rejection};
pub use submitter::Submitter;
