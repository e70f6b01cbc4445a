//! Reads the retry settings of a step.

use super::fields::{Fields, Place};
use super::values;
use crate::definition::{Backoff, RetryOverrides};
use crate::issue::Issues;
use crate::limits;

/// Reads retry settings; what is left out is `None`.
pub(super) fn read(place: &Place<'_>, issues: &mut Issues) -> Option<RetryOverrides> {
    let mut fields = Fields::of(place, issues)?;
    let mut integer = |names, issues: &mut Issues| {
        let place = fields.take(names, issues)?;
        values::milliseconds(&place, issues)
    };
    let backoff_base_ms = integer(&["backoff_base_ms"], issues);
    let max_backoff_ms = integer(&["max_backoff_ms"], issues);
    let retry = RetryOverrides {
        max_attempts: fields
            .take(&["max_attempts"], issues)
            .and_then(|place| values::integer(&place, 1, limits::ATTEMPTS, issues)),
        backoff: fields
            .take(&["backoff"], issues)
            .and_then(|place| values::one_of(&place, Backoff::NAMES, issues)),
        backoff_base_ms,
        max_backoff_ms,
        retryable: fields
            .take(&["retryable"], issues)
            .and_then(|place| values::bool(&place, issues)),
    };
    fields.finish(issues);
    Some(retry)
}
