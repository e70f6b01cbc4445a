//! The duties against a real Postgres and a real Redis.

mod age;
mod duties;
mod no_hints;
mod priority;
mod reconcile;
mod retention;
mod router;
mod start;
