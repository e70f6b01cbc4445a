//! Searches: invariants, termination, and counterexamples without protections.

mod counterexamples;
mod properties;
mod routing;
mod termination;
