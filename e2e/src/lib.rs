//! Black-box tests of Tasker: the built binaries, over HTTP, with a real Postgres and a real Redis. All is in `tests/it`.
