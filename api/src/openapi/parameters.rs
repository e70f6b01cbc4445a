//! The parameters schema of a task type, as components of the OpenAPI document.

use serde_json::{Map, Value};

const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "$defs";

/// Returns the components that `schema` becomes, by name: the schema itself as `place`, and each of its
/// definitions as `place`, `_` and its own name.
pub(super) fn components(mut schema: Map<String, Value>, place: &str) -> Vec<(String, Value)> {
    // only the root of a schema may have it, and here it becomes a part
    schema.remove("$schema");
    let definitions = lift_definitions(&mut schema);
    let lifted = definitions
        .into_iter()
        .map(|(name, definition)| (lifted_name(place, &name), definition));
    let mut components: Vec<_> = std::iter::once((place.to_owned(), Value::Object(schema)))
        .chain(lifted)
        .collect();
    for (_, component) in &mut components {
        // generators name models by it, and it is the same for many types
        if let Some(keywords) = component.as_object_mut() {
            keywords.remove("title");
        }
        move_references(component, place);
    }
    components
}

/// Removes the definitions from a schema and returns them. Those whose names are not valid names of
/// components stay.
fn lift_definitions(schema: &mut Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Object(definitions)) = schema.remove(DEFINITIONS) else {
        return Map::new();
    };
    let (lifted, left): (Map<_, _>, Map<_, _>) =
        definitions.into_iter().partition(|(name, _)| is_liftable(name));
    if !left.is_empty() {
        schema.insert(DEFINITIONS.to_owned(), Value::Object(left));
    }
    lifted
}

/// Returns whether a definition's name is a valid name of a component, which also needs no escaping in
/// references.
fn is_liftable(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.chars().all(valid)
}

fn lifted_name(place: &str, name: &str) -> String {
    format!("{place}_{name}")
}

/// Rewrites the references within a component of the schema at `place` to components.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    Value::String(reference) if keyword == "$ref" => {
                        if let Some(path) = reference.strip_prefix('#') {
                            *reference = moved(path, place);
                        }
                    }
                    value => move_references(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

/// Returns the reference that replaces `#` and `path`.
fn moved(path: &str, place: &str) -> String {
    let in_definitions = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(DEFINITIONS)?.strip_prefix('/'));
    if let Some(path) = in_definitions {
        let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        if is_liftable(name) {
            return format!("{COMPONENTS}{}{rest}", lifted_name(place, name));
        }
    }
    format!("{COMPONENTS}{place}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn components_of(schema: &Value) -> Value {
        let schema = schema.as_object().expect("an object").clone();
        Value::Object(components(schema, "TaskParameters1").into_iter().collect())
    }

    #[test]
    fn definitions_become_components_and_references_follow_them() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Parameters",
            "properties": {
                "title": {"type": "string"},
                "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
                "size": {"$ref": "#/$defs/Item/properties/size"},
                "parent": {"$ref": "#"},
            },
            "$defs": {"Item": {
                "title": "Item",
                "properties": {"size": {"type": "integer"}, "parts": {"items": {"$ref": "#/$defs/Item"}}},
            }},
        });
        let item = "#/components/schemas/TaskParameters1_Item";
        let expected = json!({
            "TaskParameters1": {"properties": {
                "title": {"type": "string"},
                "items": {"type": "array", "items": {"$ref": item}},
                "size": {"$ref": format!("{item}/properties/size")},
                "parent": {"$ref": "#/components/schemas/TaskParameters1"},
            }},
            "TaskParameters1_Item": {
                "properties": {"size": {"type": "integer"}, "parts": {"items": {"$ref": item}}},
            },
        });
        assert_eq!(components_of(&schema), expected);
    }

    #[test]
    fn a_definition_whose_name_no_component_can_have_stays() {
        let schema = json!({
            "properties": {"n": {"$ref": "#/$defs/a~1b"}},
            "$defs": {"a/b": {"type": "integer"}},
        });
        let expected = json!({"TaskParameters1": {
            "properties": {"n": {"$ref": "#/components/schemas/TaskParameters1/$defs/a~1b"}},
            "$defs": {"a/b": {"type": "integer"}},
        }});
        assert_eq!(components_of(&schema), expected);
    }
}
