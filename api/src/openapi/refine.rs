//! Limits, patterns and enums that the document takes from the code, and rules between fields that attributes
//! of types cannot express.

use serde_json::{Map, Value, json};
use tasker_core::role::Role;
use tasker_core::task::TaskStatus;
use tasker_core::task::retry::DeadLetterReason;

use crate::auth::key_limits::{LIFETIME_SECONDS_MAX, QUEUES_MAX};

/// The pattern of queue names.
pub(super) const QUEUE: &str = "^[a-z0-9][a-z0-9_.-]{0,63}$";
/// The pattern of text that Postgres can store: no NUL.
const TEXT: &str = "^[^\\x00]*$";
/// The pattern of cursors: the base64url form of the 25 bytes of `crate::cursor`.
const CURSOR: &str = "^[A-Za-z0-9_-]{34}$";
/// The pattern of `?wait`: a duration of up to a minute.
const WAIT: &str = "^(?:[1-5]?[0-9](?:\\.[0-9]{1,3})?|60|(?:[1-5]?[0-9]|60)s|1m|[0-9]{1,4}ms)$";
/// The pattern of `?target_latency`: 100 milliseconds to a day.
const TARGET_LATENCY: &str =
    "^(?:[1-9][0-9]{0,3}(?:\\.[0-9]{1,3})?s?|[1-9][0-9]{0,2}m|(?:[1-9]|1[0-9]|2[0-4])h|[1-9][0-9]{2,6}ms)$";
/// The pattern of a header value that proxies pass unchanged: visible ASCII without spaces at its ends.
const HEADER: &str = "^[!-~](?:[ -~]*[!-~])?$";

/// Refines the document generated from the handlers.
pub(super) fn refine(document: &mut Value) {
    if let Some(paths) = document["paths"].as_object_mut() {
        let operations = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in operations.flat_map(Map::values_mut) {
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            parameters.into_iter().flatten().for_each(refine_parameter);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["StoredValue"] = stored_value();
    refine_submit(&mut schemas["SubmitRequest"]);
    refine_dead_letters(&mut schemas["DeadLetterFilter"]);
    refine_key(&mut schemas["ApiKeyRequest"]);
}

fn refine_parameter(parameter: &mut Value) {
    let (place, name) = (parameter["in"].clone(), parameter["name"].clone());
    let schema = &mut parameter["schema"];
    // a query string can omit a parameter but cannot send null
    if let Some(types) = schema["type"].as_array() {
        let kind = types.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or_default();
    }
    match (place.as_str(), name.as_str()) {
        (Some("query"), Some("status")) => {
            schema["enum"] = json!(TaskStatus::NAMES);
        }
        (Some("query"), Some("reason")) => schema["enum"] = reasons(),
        (Some("query"), Some("cursor")) => schema["pattern"] = json!(CURSOR),
        (Some("query"), Some("wait")) => schema["pattern"] = json!(WAIT),
        (Some("query"), Some("target_latency")) => schema["pattern"] = json!(TARGET_LATENCY),
        (Some("query"), Some("queue")) => schema["pattern"] = json!(QUEUE),
        (Some("query"), Some("task_name" | "tag" | "worker_id")) => schema["pattern"] = json!(TEXT),
        (Some("header"), Some("Idempotency-Key")) => {
            schema["maxLength"] = json!(255);
            schema["pattern"] = json!(HEADER);
        }
        _ => {}
    }
}

fn reasons() -> Value {
    json!(DeadLetterReason::NAMES)
}

/// Returns the schema of JSON that is stored as it was sent: what `tasker_core::json` accepts, at its top
/// level. It does not refer to itself for the levels below, since generators of clients cannot follow that.
fn stored_value() -> Value {
    json!({
        "description": "Any JSON value without `\\u0000`. Whole numbers are exact within these bounds.",
        "anyOf": [
            {"type": ["null", "boolean"]},
            {"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX},
            {"type": "number", "not": {"type": "integer"}},
            {"type": "string", "pattern": TEXT},
            {"type": "array", "items": {}},
            {"type": "object", "propertyNames": {"pattern": TEXT}, "additionalProperties": {}},
        ],
    })
}

fn refine_submit(schema: &mut Value) {
    let properties = &mut schema["properties"];
    for name in ["parameters", "metadata"] {
        properties[name]["type"] = json!(["object", "null"]);
        properties[name]["propertyNames"] = json!({"pattern": TEXT});
        properties[name]["additionalProperties"] = json!({"$ref": "#/components/schemas/StoredValue"});
    }
    for name in ["task_name", "idempotency_key"] {
        properties[name]["pattern"] = json!(TEXT);
    }
    properties["tags"]["items"]["pattern"] = json!(TEXT);
    // one of them at most; null counts as left out
    schema["not"] = json!({
        "required": ["delay", "run_at"],
        "properties": {"delay": {"type": ["number", "string"]}, "run_at": {"type": "string"}},
    });
}

fn refine_dead_letters(schema: &mut Value) {
    let properties = &mut schema["properties"];
    properties["task_name"]["pattern"] = json!(TEXT);
    properties["queue"]["pattern"] = json!(QUEUE);
    properties["reason"]["enum"] = reasons();
    schema["anyOf"] = json!([
        {"required": ["task_name"]},
        {"required": ["queue"]},
        {"required": ["reason"]},
        {"required": ["before"]},
        {"required": ["all"], "properties": {"all": {"const": true}}},
        {"required": ["dry_run"], "properties": {"dry_run": {"const": true}}},
    ]);
    schema["example"] = json!({"task_name": "example_failing", "dry_run": true});
}

fn refine_key(schema: &mut Value) {
    let properties = &mut schema["properties"];
    properties["name"]["pattern"] = json!("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$");
    properties["role"]["enum"] = json!(Role::NAMES);
    properties["queues"]["minItems"] = json!(1);
    properties["queues"]["maxItems"] = json!(QUEUES_MAX);
    properties["queues"]["items"]["pattern"] = json!(QUEUE);
    let holds = &mut properties["expires_in_seconds"];
    holds["minimum"] = json!(1);
    holds["maximum"] = json!(LIFETIME_SECONDS_MAX);
    // an admin has access to all queues, so a restriction would be misleading
    schema["not"] = json!({
        "required": ["queues"],
        "properties": {"role": {"const": "admin"}, "queues": {"type": "array"}},
    });
    schema["example"] = json!({"name": "deploy", "role": "submitter", "expires_in_seconds": 86400});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_stored_json_does_not_refer_to_itself() {
        assert!(!stored_value().to_string().contains("$ref"));
    }
}
