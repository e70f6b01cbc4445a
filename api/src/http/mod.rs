//! The layers between the sockets and the routes: bodies, queries, errors, request ids.

pub mod admission;
pub mod body;
pub mod budget;
pub mod encoding;
pub mod fields;
pub mod layer;
pub mod outage;
pub mod path;
pub mod query;
pub mod seconds;
pub mod values;
