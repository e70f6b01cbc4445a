//! The layers between the sockets and the routes: bodies, queries, errors, request ids.

pub mod admission;
pub mod body;
pub mod encoding;
pub mod fields;
pub mod layer;
pub mod outage;
pub mod path;
pub mod query;
pub mod values;
