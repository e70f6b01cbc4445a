//! Reads a template from text and validates it.

use super::checks::{self, TemplateError};
use super::template::Template;

impl Template {
    /// Parses a template in JSON or YAML. Returns the first syntax or type error, or else all validation
    /// errors.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > checks::BYTES_MAX {
            return Err(TemplateError::TooLong(text.len()));
        }
        // nearly all JSON is YAML too, but not all of it: keys, for one, may be longer
        let template = match serde_json::from_str(text) {
            Ok(template) => template,
            Err(_) => from_yaml(text)?,
        };
        match checks::problems(&template) {
            problems if problems.is_empty() => Ok(template),
            problems => Err(TemplateError::Invalid(problems)),
        }
    }
}

/// Parses YAML by version 1.2: `NO` is a country code and `01234` a postal code, not `false` and a number.
fn from_yaml(text: &str) -> Result<Template, TemplateError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| TemplateError::Unreadable(error.without_snippet().to_string()))
}
