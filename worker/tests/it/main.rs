//! The worker against real Postgres and Redis, each test with its own.

mod aging;
mod cancellation;
mod dispatch;
mod fallback;
mod harness;
mod liveness;
mod outages;
mod outcomes;
mod pause;
mod queues;
mod recovery;
mod shutdown;
mod templates;
