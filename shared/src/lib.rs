//! What Tasker's server and workers share.
//!
//! - [`task`]: the pure core: ids, states and their transitions, retry decisions, priority classes. No I/O.
//! - [`workflow`]: the pure core of workflows: templates and their graphs. No I/O.
//! - [`store`]: Postgres, one function per statement. Nothing else in Tasker knows SQL.
//! - [`queue`]: Redis, every key and command. Nothing else in Tasker knows Redis.
//! - [`config`], [`lifecycle`], [`telemetry`]: what every process needs to start, stop and be watched.
//! - [`role`]: what somebody who signed in may do.
//! - [`circuit_breaker`]: circuit breakers around Postgres and Redis.
//! - [`shares`]: how much of something bounded each holder has.
//! - [`http`]: serving HTTP within bounds; [`tls`]: certificates and keys; [`healthcheck`]: the question of
//!   `--healthcheck`.
//! - [`wire`]: the JSON that travels over HTTP; [`json`]: checks on raw JSON text.
//!
//! Arrows go one way: `task` depends on nothing, `workflow` on `task` and [`json`], `queue` on `task`,
//! `store` on all of them but `queue`.

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
