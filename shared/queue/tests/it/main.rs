//! The queue against a real Redis, one key prefix for each test.

mod age;
mod events;
mod lists;
mod outage;
mod pop;
mod routing;
