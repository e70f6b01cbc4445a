//! Test utilities of all crates: builders, private servers, fault injection. Not part of any product binary.
//!
//! - [`MIGRATOR`] gives each `#[sqlx::test]` a database of its own.
//! - [`a_task`], [`a_worker`], [`a_key`] build valid values; a test sets only the fields it is about, by
//!   struct update.
//! - [`TestQueue`] is Redis with its own key prefix; [`RedisServer`] and [`PostgresServer`] are private
//!   servers that a test may stop.
//! - [`Proxy`] is a TCP proxy before either of them that a test may cut, slow down or make lose responses.
//! - [`Pooler`] is a transaction pooler before Postgres.
//! - [`Certificates`] is a private certificate authority with a server certificate.
//! - [`System`] runs the built binaries; [`http_client`] builds clients for other requests.
//! - [`eventually()`] waits for a condition instead of sleeping.
//!
//! The crates below `shared/` use this crate in integration tests only: in their unit tests every type would
//! exist twice.

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
pub use tasker_platform::tls::http_client;
pub use tasker_store::migrations::MIGRATOR;

/// Returns the URL of the Redis that tests share, from `REDIS_URL`.
///
/// # Panics
/// If the variable is not set.
pub fn redis_url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL names the Redis that tests use")
}
