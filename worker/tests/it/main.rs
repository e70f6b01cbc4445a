//! The worker against real Postgres and Redis, each test with its own.

mod cancellation;
mod dispatch;
mod harness;
mod net;
mod outcomes;
mod pause;
mod recovery;
mod shutdown;
