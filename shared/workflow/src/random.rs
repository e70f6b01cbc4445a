//! Small random definitions for tests.

use proptest::prelude::*;

use crate::definition::Definition;
use crate::edge::EdgePolicy;
use crate::read::{ReadOptions, from_json};

const POLICIES: [EdgePolicy; 3] = [EdgePolicy::Fail, EdgePolicy::Continue, EdgePolicy::Skip];

/// The way in which a random step is connected: whether all its edges are `only`, and per earlier step
/// whether it is a parent and under which policy.
type Connection = (bool, Vec<(bool, usize)>);

/// Returns definitions of one to eight steps, `s0`, `s1`, ….
pub(crate) fn definitions() -> impl Strategy<Value = Definition> {
    let connection = (
        prop::bool::weighted(0.2),
        prop::collection::vec((prop::bool::weighted(0.4), 0..3_usize), 8),
    );
    prop::collection::vec((connection, 0..3_usize), 1..=8).prop_map(|steps| {
        let steps: Vec<serde_json::Value> = steps
            .iter()
            .enumerate()
            .map(|(index, (connection, on_failure))| step(index, connection, POLICIES[*on_failure]))
            .collect();
        let text = serde_json::json!({"name": "random", "steps": steps}).to_string();
        from_json(&text, ReadOptions::default())
            .expect("valid")
            .definition
    })
}

fn step(index: usize, (only, parents): &Connection, on_failure: EdgePolicy) -> serde_json::Value {
    let needs: Vec<serde_json::Value> = parents
        .iter()
        .take(index)
        .enumerate()
        .filter(|(_, (is_parent, _))| *is_parent)
        .map(|(parent, (_, policy))| {
            let policy = if *only {
                EdgePolicy::Only
            } else {
                POLICIES[*policy]
            };
            serde_json::json!({"step": format!("s{parent}"), "on_failure": policy})
        })
        .collect();
    serde_json::json!({"name": format!("s{index}"), "run": "noop", "needs": needs, "on_failure": on_failure})
}
