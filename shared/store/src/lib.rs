//! Postgres, the source of truth: one function per statement, and no SQL in any other module.
//!
//! Rules for every statement here:
//!
//! - A state change is one conditional, set-based statement, without a read and a decision in the client
//!   before it. If no rows come back, another session was first.
//! - Statements with several outcomes lock their rows in a CTE first, in id order, and decide only on the
//!   rows that the lock returned. Claims and promotions skip locked rows; a fast-path claim gives up after 10
//!   ms.
//! - A statement that changes a row which it may have waited for sets every column that the table's checks
//!   tie to the status: Postgres checks the row version of its snapshot before it turns to the newer one.
//! - Lookups by many ids use an array (`id = ANY …`) or a `LATERAL` with a lock, not a join: a plan is cached
//!   and serves a connection for long, and while `tasks` is empty the planner believes that a scan is as
//!   cheap as a lookup by key. `shared/store/tests/it/plans.rs` checks the plans of the hot statements.
//! - Statements that start or end tasks record it for the [`totals`], in the same statement.
//! - Time is Postgres's `now()`.
//! - `synchronous_commit` is set inside a statement and never for the session, which a pooler would pass on
//!   to others.
//! - A write by a worker carries (id, run, worker id); a late one changes no rows.
//!
//! `sqlx` checks the queries against the schema at compile time.

pub mod age;
pub mod api_keys;
pub mod cancel;
pub mod claim;
pub mod claim_ready;
mod claimed_step;
pub mod complete;
mod connect;
mod connection_cache;
mod database_config;
pub mod dead_letters;
mod declared_queues;
pub mod end_runs;
mod error;
pub mod explain;
pub mod fleet;
pub mod gauges;
pub mod history;
pub mod idempotency_keys;
pub mod insert;
pub mod leader;
pub mod liveness;
pub mod migrations;
mod observed_pool;
pub mod operator_retry;
pub mod orchestration;
pub mod partitions;
mod pool_metrics;
pub mod postgres_url;
pub mod progress;
pub mod promote;
pub mod queues;
pub mod rebuild;
pub mod records;
pub mod recover;
pub mod retention;
mod rolled_back;
pub mod scaling;
pub mod step_indexes;
pub mod steps;
pub mod task_types;
pub mod templates;
#[cfg(test)]
mod testing;
pub mod totals;
pub mod workers;
pub mod workflow_definitions;
pub mod workflow_start;
pub mod workflows;

pub use claimed_step::ClaimedStep;
pub use connect::{
    begin, bounded, commit, connect, connection_takes_writes, is_up, server_version, takes_writes,
    unsupported_postgres,
};
pub use connection_cache::{CachedConnection, ConnectionCache};
pub use database_config::DatabaseConfig;
pub use declared_queues::DeclaredQueues;
pub use error::{Error, ErrorKind};
pub use observed_pool::{ObservedPool, Observer};
pub use pool_metrics::show_pool;
pub use rolled_back::retry_rolled_back;
pub use sqlx::{PgConnection, PgPool};

/// A connection from the pool.
pub type PooledConnection = sqlx::pool::PoolConnection<sqlx::Postgres>;
/// The result of every function here.
pub type Result<T> = std::result::Result<T, Error>;
