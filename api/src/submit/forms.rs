//! The OpenAPI schemas of a request's fields, with the limits that [`super::validate`] enforces.

use serde_json::json;
use tasker_core::task::limits::{DELAY, TAG_CHARS, TAGS, TIMEOUT};
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};

/// Durations as text from `1ms` to a year: one unit up to the limit, or several.
const DELAY_PATTERN: &str = "^(?:(?:[12]?[0-9]{1,2}|3[0-5][0-9]|36[0-6])d|[0-7]?[0-9]{1,3}h|[0-4]?[0-9]{1,5}m|[0-2]?[0-9]{1,7}s|[0-2]?[0-9]{1,10}ms|[0-9]{1,2}d[0-9]{1,3}h(?:[0-9]{1,4}m)?(?:[0-9]{1,5}s)?|[0-9]{1,3}h[0-9]{1,4}m(?:[0-9]{1,5}s)?|[0-9]{1,4}m[0-9]{1,5}s)$";
/// Durations as text from `1ms` to seven days, without zeros.
const TIMEOUT_PATTERN: &str = "^(?:[1-7]d|(?:[1-9][0-9]?|1[0-5][0-9]|16[0-8])h|[1-9][0-9]{0,3}m|(?:[1-9][0-9]{0,4}|[1-5][0-9]{5})s|[1-9][0-9]{0,7}ms|[1-6]d(?:[1-9]|1[0-9]|2[0-3])h|[1-6]d(?:[1-9]|1[0-9]|2[0-3])h(?:[1-9]|[1-5][0-9])m|(?:[1-9]|[1-9][0-9])h(?:[1-9]|[1-5][0-9])m|(?:[1-9]|[1-9][0-9])m(?:[1-9]|[1-5][0-9])s)$";

/// Returns the schema of `delay`.
pub(super) fn delay() -> Object {
    duration()
        .minimum(Some(0))
        .maximum(Some(DELAY.as_secs_f64()))
        .pattern(Some(DELAY_PATTERN))
        .examples([json!("1h30m"), json!(90)])
        .build()
}

/// Returns the schema of `timeout`.
pub(super) fn timeout() -> Object {
    duration()
        .exclusive_minimum(Some(0))
        .maximum(Some(TIMEOUT.as_secs_f64()))
        .pattern(Some(TIMEOUT_PATTERN))
        .examples([json!("5m"), json!(30)])
        .build()
}

fn duration() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Number, Type::String, Type::Null]))
        .description(Some("A number of seconds, or text like `1h30m`"))
}

/// Returns the schema of `tags`.
pub(crate) fn tags() -> Array {
    let tag = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(TAG_CHARS));
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(tag)
        .max_items(Some(TAGS))
        .description(Some("At most 20, each of 1 to 128 characters"))
        .build()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use tasker_core::duration::parse;

    use super::*;

    fn texts(pattern: &str) -> impl Strategy<Value = String> + use<> {
        string_regex(pattern.trim_matches(['^', '$'])).expect("a regular expression")
    }

    proptest! {
        #[test]
        fn every_documented_delay_is_within_its_limit(text in texts(DELAY_PATTERN)) {
            prop_assert!(parse(&text).is_ok_and(|read| read <= DELAY), "{}", text);
        }

        #[test]
        fn every_documented_timeout_is_within_its_limit(text in texts(TIMEOUT_PATTERN)) {
            prop_assert!(parse(&text).is_ok_and(|read| !read.is_zero() && read <= TIMEOUT), "{}", text);
        }
    }
}
