use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Any JSON value, stored as its text, so that numbers keep their digits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AnyJson(Box<RawValue>);

impl JsonSchema for AnyJson {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyJson".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_as_it_is() {
        let text = r#"{"n":0.12345678901234567890,"m":[18446744073709551615, 1.50]}"#;
        let json: AnyJson = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::to_string(&json).expect("JSON"), text);
    }
}
