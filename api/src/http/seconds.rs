//! Durations in requests: a number of seconds, or text like `1h30m`.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use tasker_core::duration;

/// A duration in a request, in seconds. Its range is checked later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub f64);

impl Seconds {
    /// Returns the seconds, or the detail of an error if they are negative or exceed `max`.
    pub fn within(self, max: Duration) -> Result<f64, &'static str> {
        if self.0 < 0.0 {
            return Err("must not be negative");
        }
        if self.0 > max.as_secs_f64() {
            return Err("is too long");
        }
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds or text like 1h30m")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Seconds, E> {
        Ok(Seconds(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what loses precision is far beyond every limit"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Seconds, E> {
        Ok(Seconds(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what loses precision is far beyond every limit"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Seconds, E> {
        Ok(Seconds(value as f64))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seconds, E> {
        let parsed = duration::parse(text).map_err(E::custom)?;
        Ok(Seconds(parsed.as_secs_f64()))
    }
}
