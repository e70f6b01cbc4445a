//! Integration tests: the store against a real Postgres, with a database per test, and the queue against a real
//! Redis, with a key prefix per test.

mod queue;
mod store;
