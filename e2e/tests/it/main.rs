//! Black-box tests over the built binaries, each on an empty database and a key prefix of its own.

mod age;
mod batch;
mod bench;
mod cancellation;
mod chaos;
mod command_line;
mod configuration;
mod crashes;
mod failures;
mod fleet;
mod gauges;
mod harness;
mod http_request;
mod idempotency;
mod idle;
mod invariants;
mod losses;
mod main_job;
mod migrations;
mod openapi;
mod pause;
mod priority;
mod privacy;
mod rolling_upgrade;
mod schedule;
mod stops;
