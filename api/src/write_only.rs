//! Write-only parameters: members that a submitter may send and that are never stored.
//!
//! A task type marks them in the JSON Schema of its parameters: `"writeOnly": true` on a property at the top
//! level. They are validated with the other parameters and removed before the fingerprint of the request and
//! the row are made.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::fields::Pairs;

/// The names of a type's write-only parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOnly(Vec<String>);

/// Parameters without their write-only members.
#[derive(Debug, PartialEq, Eq)]
pub struct Stripped {
    /// The object without them. The text of the other members is unchanged.
    pub text: String,
    /// The names of the members that were removed, each once.
    pub removed: Vec<String>,
}

impl WriteOnly {
    /// Reads the names from a type's schema. They are found also if the schema does not compile.
    pub fn of(schema: Option<&str>) -> Self {
        let schema: Option<Value> = schema.and_then(|text| serde_json::from_str(text).ok());
        let properties = schema
            .as_ref()
            .and_then(|schema| schema.get("properties")?.as_object());
        let marked = properties
            .into_iter()
            .flatten()
            .filter(|(_, property)| property.get("writeOnly") == Some(&Value::Bool(true)));
        Self(marked.map(|(name, _)| name.clone()).collect())
    }

    /// Returns whether the parameter of this name is write-only.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|secret| secret == name)
    }

    /// Returns the parameters without the write-only members. `None` if there are none among them.
    pub fn strip(&self, parameters: &RawValue) -> Option<Stripped> {
        if self.0.is_empty() {
            return None;
        }
        // not reached for other values: parameters that are not an object were rejected before
        let members: Pairs<'_> = serde_json::from_str(parameters.get()).ok()?;
        let mut removed: Vec<String> = Vec::new();
        let mut kept = Vec::with_capacity(members.0.len());
        for (name, value) in members.0 {
            match self.0.iter().find(|secret| **secret == name) {
                None => kept.push(format!("{}:{value}", Value::from(&*name))),
                Some(secret) if removed.contains(secret) => {}
                Some(secret) => removed.push(secret.clone()),
            }
        }
        (!removed.is_empty()).then(|| Stripped {
            text: format!("{{{}}}", kept.join(",")),
            removed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": {
            "host": {"type": "string"},
            "password": {"type": ["string", "null"], "writeOnly": true},
            "token": {"writeOnly": true},
            "public": {"writeOnly": false},
            "inner": {"properties": {"deep": {"writeOnly": true}}}
        }
    }"#;

    fn strip(parameters: &str) -> Option<Stripped> {
        let raw: &RawValue = serde_json::from_str(parameters).expect("JSON");
        WriteOnly::of(Some(SCHEMA)).strip(raw)
    }

    #[test]
    fn only_marked_properties_of_the_top_level_are_write_only() {
        assert_eq!(
            WriteOnly::of(Some(SCHEMA)),
            WriteOnly(vec!["password".into(), "token".into()])
        );
        for schema in [
            None,
            Some("true"),
            Some("not JSON"),
            Some(r#"{"properties":[1]}"#),
        ] {
            assert_eq!(WriteOnly::of(schema), WriteOnly::default(), "{schema:?}");
        }
    }

    #[test]
    fn the_text_of_the_other_members_is_unchanged() {
        let stripped =
            strip(r#" {"n": 1.50, "password" : "hunter2" , "a\"b":{"password":"kept"},"token":1} "#);
        assert_eq!(
            stripped,
            Some(Stripped {
                text: r#"{"n":1.50,"a\"b":{"password":"kept"}}"#.into(),
                removed: vec!["password".into(), "token".into()],
            })
        );
    }

    #[test]
    fn a_name_that_is_repeated_or_written_with_escapes_is_removed_everywhere() {
        let stripped = strip(r#"{"password":"a","\u0070assword":"hunter2","password":null}"#);
        assert_eq!(
            stripped,
            Some(Stripped {
                text: "{}".into(),
                removed: vec!["password".into()],
            })
        );
    }

    #[test]
    fn parameters_without_write_only_members_stay_as_they_are() {
        assert_eq!(strip(r#"{"host":"db","inner":{"deep":1}}"#), None);
        assert_eq!(strip("{}"), None);
    }
}
