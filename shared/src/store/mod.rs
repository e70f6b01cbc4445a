//! Postgres, the only truth: one function per statement, and no SQL anywhere else.
//!
//! The rules that every statement here follows:
//!
//! - A state change is one conditional, set-based statement. Nothing is read, decided and then written; no rows back
//!   means that somebody else was first.
//! - Statements with several outcomes lock their rows in a CTE first, in id order, and decide only on what the lock
//!   returned. Claims and promotions skip rows that are locked; a plain claim gives up after a moment.
//! - A statement that changes a row which it may have waited for sets every column that the table's checks tie to the
//!   status: Postgres checks the version of its snapshot before it turns to the newer one.
//! - Whatever is looked up by many ids is looked up by an array (`id = ANY …`) or by a `LATERAL` with a lock, not by a join: a
//!   plan is made once and serves a connection for long, and while `tasks` is empty Postgres believes that reading all of
//!   it is as cheap as one look by key. `shared/tests/it/store/plans.rs` holds the hot statements to it.
//! - Whatever lets tasks begin or end notes it for the [`totals`], as a part of the same statement.
//! - Time is Postgres's `now()`.
//! - `synchronous_commit` travels inside a statement and never as a session setting, which a pooler would leak to others.
//! - A write by a worker carries (id, run, worker id); a late one changes nothing.
//!
//! `sqlx` queries are checked against the schema when they are compiled.

pub mod age;
pub mod api_keys;
pub mod cancel;
pub mod claim;
pub mod claim_ready;
pub mod complete;
mod connect;
mod connection_cache;
pub mod dead_letters;
pub mod end_runs;
pub mod explain;
mod fault;
pub mod fleet;
pub mod gauges;
pub mod history;
pub mod idempotency_keys;
pub mod insert;
pub mod leader;
pub mod liveness;
pub mod migrations;
pub mod operator_retry;
pub mod orchestration;
pub mod partitions;
pub mod progress;
pub mod promote;
pub mod queues;
pub mod rebuild;
pub mod records;
pub mod recover;
pub mod retention;
pub mod scaling;
pub mod task_types;
pub mod templates;
pub mod totals;
mod types;
pub mod workers;

pub use connect::{
    begin, bounded, connect, connection_takes_writes, is_up, server_version, takes_writes,
    unsupported_postgres,
};
pub use connection_cache::{CachedConnection, ConnectionCache};
pub use fault::{Fault, fault, is_unavailable};
pub use sqlx::error::DatabaseError;
pub use sqlx::{PgConnection, PgPool};

/// A connection out of the pool.
pub type PooledConnection = sqlx::pool::PoolConnection<sqlx::Postgres>;
/// A statement failed. What it means for the caller is told by [`fault()`].
pub type Error = sqlx::Error;
/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;
