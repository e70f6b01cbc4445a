//! The task types and queues that exist now, as part of the OpenAPI document.

use serde_json::{Map, Value, json};
use tasker_core::task::QueueName;

use super::parameters;
use crate::types::TypeTable;

/// Returns `document` with the valid names of task types and queues and with the parameters schema of each
/// type.
pub(super) fn with_names(document: &Value, types: &TypeTable, queues: &[QueueName]) -> Value {
    let mut document = document.clone();
    let names = types.names();
    let schemas = &mut document["components"]["schemas"];
    if !names.is_empty() {
        schemas["SubmitRequest"]["properties"]["task_name"]["enum"] = json!(names);
        let mut rules = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let place = format!("TaskParameters{index}");
            if let Some((components, rule)) = rule(types, name, &place) {
                for (component, schema) in components {
                    schemas[&component] = schema;
                }
                rules.push(rule);
            }
        }
        if !rules.is_empty() {
            schemas["SubmitRequest"]["allOf"] = Value::from(rules);
        }
    }
    let mut queues: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
    // the aliases, which requests may use too
    queues.extend(["high", "low"]);
    schemas["ApiKeyRequest"]["properties"]["queues"]["items"]["enum"] = json!(queues);
    let optional: Vec<Value> = queues.into_iter().map(Value::from).chain([Value::Null]).collect();
    schemas["SubmitRequest"]["properties"]["queue"]["enum"] = json!(optional);
    document
}

/// Returns the components of the parameters schema of a type, and the rule that applies them to tasks of the
/// type. `None` where any object is valid.
fn rule(types: &TypeTable, name: &str, place: &str) -> Option<(Vec<(String, Value)>, Value)> {
    let text = types.get(name)?.published.parameters_schema.as_deref()?;
    let schema: Map<String, Value> = serde_json::from_str(text).ok()?;
    schema.get("properties")?;
    let given = json!({"$ref": format!("#/components/schemas/{place}")});
    let required = schema.get("required").and_then(Value::as_array);
    // omitted parameters count as an empty object, which a schema with required members rejects
    let then = if required.is_some_and(|names| !names.is_empty()) {
        json!({"required": ["parameters"], "properties": {"parameters": given}})
    } else {
        json!({"properties": {"parameters": {"anyOf": [{"type": "null"}, given]}}})
    };
    let rule = json!({
        "if": {"properties": {"task_name": {"const": name}}, "required": ["task_name"]},
        "then": then,
    });
    Some((parameters::components(schema, place), rule))
}

#[cfg(test)]
mod tests {
    use tasker_store::task_types::TaskType;

    use super::*;

    fn task_type(name: &str, schema: &str) -> TaskType {
        TaskType {
            name: name.to_owned(),
            description: String::new(),
            queue: None,
            priority: 0,
            max_retries: 0,
            timeout_seconds: 1.0,
            parameters_schema: Some(schema.to_owned()),
            result_schema: None,
            required_role: None,
        }
    }

    #[test]
    fn the_names_and_parameters_of_now_are_those_that_a_submit_takes() {
        let types = vec![
            task_type("any", r#"{"type":"object"}"#),
            task_type(
                "some",
                r#"{"properties":{"n":{"type":"integer"}},"required":["n"]}"#,
            ),
            task_type(
                "own",
                r##"{"properties":{"n":{"$ref":"#/$defs/N"}},"$defs":{"N":{}}}"##,
            ),
        ];
        let types = TypeTable::of(types, &TypeTable::default());
        let base = json!({"components": {"schemas": {"SubmitRequest": {"properties": {
            "task_name": {"type": "string"}, "queue": {"type": ["string", "null"]}}}, "ApiKeyRequest": {}}}});
        let live = with_names(&base, &types, &QueueName::classes());
        let submit = &live["components"]["schemas"]["SubmitRequest"];
        assert_eq!(
            submit["properties"]["task_name"]["enum"],
            json!(["any", "own", "some"])
        );
        assert_eq!(submit["allOf"].as_array().map(Vec::len), Some(2));
        assert_eq!(submit["allOf"][1]["then"]["required"], json!(["parameters"]));
        let schemas = &live["components"]["schemas"];
        assert_eq!(
            schemas["TaskParameters1"]["properties"]["n"]["$ref"],
            "#/components/schemas/TaskParameters1_N"
        );
        assert_eq!(schemas["TaskParameters1_N"], json!({}));
        let queues = json!(["high_priority", "default", "low_priority", "high", "low", null]);
        assert_eq!(submit["properties"]["queue"]["enum"], queues);
        let none = with_names(&base, &TypeTable::default(), &[]);
        let submit = &none["components"]["schemas"]["SubmitRequest"];
        assert!(submit["properties"]["task_name"].get("enum").is_none());
    }
}
