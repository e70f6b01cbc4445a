//! The store against a real Postgres, a database a test; the queue against a real Redis, a key prefix a test.

mod queue;
mod store;
