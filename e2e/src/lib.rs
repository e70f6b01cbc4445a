//! Black-box tests of Tasker: the built binaries over HTTP, with a real Postgres and Redis. The tests are in
//! `tests/it`.

pub mod chaos;
