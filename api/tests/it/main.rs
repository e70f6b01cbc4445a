//! The server's tests: the whole router over a real Postgres and a real Redis.

mod bad_input;
mod batch;
mod harness;
mod http;
mod idempotency;
mod operator;
mod orchestrator;
mod outages;
mod process;
mod reads;
mod submit;
