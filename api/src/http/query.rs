//! Strict query strings: unknown and invalid parameters are reported by name.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tasker_core::similar_names::did_you_mean;
use url::form_urlencoded;

use crate::error::ApiError;
use crate::validation_error::ValidationError;

/// The parameters of a query string. Each known one has to be taken; [`Query::finish`] reports the others as
/// unknown.
#[derive(Debug, Default)]
pub struct Query {
    values: BTreeMap<String, String>,
    taken: Vec<&'static str>,
    errors: Vec<ValidationError>,
}

/// The extractor of routes without parameters.
#[derive(Debug)]
pub struct NoQuery;

impl Query {
    /// Reads a query string.
    pub fn read(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            // which of two values counts would be a guess, and a wrong guess could widen a filter
            if query.values.insert(name.to_string(), value.to_string()).is_some() {
                query.errors.push(ValidationError::invalid(name, "appears twice"));
            }
        }
        query
    }

    /// Takes the parameter `name` parsed by `parse`; its error is kept for [`Query::finish`].
    pub fn take<T, E: Into<String>>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.taken.push(name);
        let value = self.values.remove(name)?;
        // no stored text contains NUL, and Postgres rejects it in a parameter
        if value.contains('\0') {
            self.errors
                .push(ValidationError::invalid(name, "contains the NUL character"));
            return None;
        }
        match parse(&value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.errors.push(ValidationError::invalid(name, detail));
                None
            }
        }
    }

    /// Returns the errors of all parameters, including unknown ones.
    pub fn finish(mut self) -> Result<(), ApiError> {
        for name in self.values.keys() {
            let hint = match self.taken.as_slice() {
                [] => "it takes none".to_owned(),
                taken => did_you_mean(name, taken),
            };
            let detail = format!("is not a parameter of this route; {hint}");
            self.errors.push(ValidationError::invalid(name, detail));
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.errors))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self::read(parts.uri.query().unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(text) => Query::read(text).finish().map(|()| Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32, &'static str> {
        text.parse().map_err(|_| "must be a number")
    }

    fn pointers(query: Query) -> Vec<String> {
        match query.finish() {
            Err(ApiError::Invalid(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_known_is_read_and_what_is_not_is_named() {
        let mut query = Query::read("limit=5&nope=1");
        assert_eq!(query.take("limit", number), Some(5));
        assert_eq!(pointers(query), ["nope"]);
    }

    #[test]
    fn a_bad_value_a_repeated_one_and_a_nul_are_named() {
        let mut query = Query::read("limit=x&wait=1&wait=2&tag=a%00b");
        assert_eq!(query.take("limit", number), None);
        query.take("wait", number);
        assert_eq!(query.take("tag", |text| Ok::<_, String>(text.to_owned())), None);
        let mut names = pointers(query);
        names.sort();
        assert_eq!(names, ["limit", "tag", "wait"]);
    }
}
