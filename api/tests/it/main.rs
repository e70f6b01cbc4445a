//! The server's tests: the whole router over a real Postgres and a real Redis.

mod age;
mod auth;
mod auth_keys;
mod auth_limits;
mod bad_input;
mod batch;
mod client;
mod dead_letters;
mod explain;
mod harness;
mod http;
mod idempotency;
mod operator;
mod orchestration;
mod outages;
mod pause;
mod postgres_away;
mod process;
mod reads;
mod redis_away;
mod retention;
mod scaling;
mod slow_clients;
mod submit;
mod tls;
mod totals;
