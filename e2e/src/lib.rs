//! Black-box tests of Tasker: the built binaries, over HTTP, with a real Postgres and a real Redis. The tests are in `tests/it`.

pub mod chaos;
