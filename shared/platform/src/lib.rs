//! The library shared by Tasker's server and workers.
//!
//! - [`task`]: the core types and rules: ids, states and their transitions, retry decisions, priority
//!   classes. No I/O.
//! - [`workflow`]: workflow templates and their graphs. No I/O.
//! - [`store`]: Postgres, one function per statement; the only module with SQL.
//! - [`queue`]: Redis, every key and command; the only module with Redis commands.
//! - [`config`], [`lifecycle`], [`telemetry`]: configuration, startup and shutdown, logs and metrics of every
//!   process.
//! - [`role`]: the roles of users and API keys.
//! - [`circuit_breaker`]: circuit breakers around Postgres and Redis.
//! - [`quota`]: limits on how much of a bounded resource one holder takes.
//! - [`http`]: an HTTP server with connection limits and timeouts; [`tls`]: certificates and keys;
//!   [`healthcheck`]: the client of `--healthcheck`.
//! - [`wire`]: the JSON bodies of the HTTP API; [`json`]: checks on raw JSON text.
//!
//! Dependencies go one way: `task` and `json` depend on no other module, `workflow` on these two. `store` and
//! `queue` depend on `task`, `config` and `tls`, `store` also on `workflow` and `role`, and neither on the
//! other.

pub mod circuit_breaker;
pub mod config;
pub mod healthcheck;
pub mod http;
pub mod json;
pub mod lifecycle;
pub mod queue;
pub mod quota;
pub mod role;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod wire;
pub mod workflow;
