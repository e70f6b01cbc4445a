//! The base of every long-running process of Tasker. It knows no tasks and no queues.
//!
//! - [`lifecycle`]: startup, shutdown and the background tasks between.
//! - [`telemetry`]: logs, metrics and traces.
//! - [`http`]: an HTTP server with connection limits and timeouts; [`tls`]: certificates and keys;
//!   [`network`]: blocks of addresses; [`healthcheck`]: the client of `--healthcheck`.
//! - [`circuit_breaker`]: circuit breakers around services.
//! - [`batcher`]: group commit, by writers that share one channel.
//! - [`quota`]: limits on how much of a bounded resource one holder takes.
//! - [`host`]: the environment variables and files of the process, which tests replace.

pub mod batcher;
pub mod circuit_breaker;
pub mod healthcheck;
pub mod host;
pub mod http;
pub mod lifecycle;
pub mod network;
pub mod quota;
pub mod telemetry;
pub mod tls;
