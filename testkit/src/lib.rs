//! What the tests of all crates share. Never part of a product.
//!
//! - [`MIGRATOR`] gives each `#[sqlx::test]` a database of its own.
//! - [`a_task`], [`a_worker`], [`a_key`] build sound values; a test says only what it is about, by struct update.
//! - [`TestQueue`] is Redis under a key prefix of its own, [`RedisServer`] a Redis and [`PostgresServer`] a Postgres that a
//!   test may stop.
//! - [`Proxy`] is a link to either of them that a test may cut, slow down or make lose answers.
//! - [`Pooler`] is a transaction pooler before Postgres.
//! - [`Certificates`] are those of an authority of the test's own.
//! - [`System`] runs the built binaries.
//! - [`eventually()`] waits for a condition instead of sleeping.
//!
//! `tasker-shared` uses this crate in its integration tests only: its unit tests would see two of every type.

mod builders;
mod certificates;
mod eventually;
mod pooler;
mod ports;
mod postgres_server;
mod process;
mod proxy;
mod queue;
mod redis_server;
mod system;

pub use builders::{a_key, a_task, a_template, a_worker};
pub use certificates::Certificates;
pub use eventually::eventually;
pub use pooler::Pooler;
pub use ports::free_port;
pub use postgres_server::PostgresServer;
pub use process::Process;
pub use proxy::Proxy;
pub use queue::TestQueue;
pub use redis_server::RedisServer;
pub use system::{Running, System};
pub use tasker_shared::store::migrations::MIGRATOR;

/// The Redis that tests share, from `REDIS_URL`.
///
/// # Panics
/// Without that variable.
pub fn redis_url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL names the Redis that tests use")
}
