//! The worker against real Postgres and Redis, each test with its own.

mod age;
mod backup;
mod cancellation;
mod dispatch;
mod harness;
mod liveness;
mod net;
mod outages;
mod outcomes;
mod pause;
mod queues;
mod recovery;
mod service;
mod shutdown;
mod templates;
