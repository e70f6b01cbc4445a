//! The filter of dead letters that the bulk actions share.

use tasker_core::task::retry::DeadLetterReason;
use tasker_maintenance::dead_letters::BulkError;
use tasker_store::dead_letters::Filter;

use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::fields::Fields;
use crate::http::query::Query;
use crate::http::values::{self, stored_time_of};
use crate::routes::params::read_queue;
use crate::validation_error::ValidationErrorKind;

/// A bulk action on dead letters.
#[derive(Debug)]
pub(super) struct ManyRequest {
    /// The filter, restricted to the queues of the caller.
    pub(super) filter: Filter,
    /// True if they are only counted.
    pub(super) dry_run: bool,
}

/// Reads a bulk action. Without a filter it requires `"all": true`, unless it is a dry run.
pub(super) fn read_many(body: &[u8], query: Query, caller: &Caller) -> Result<ManyRequest, ApiError> {
    let dry_run = read_dry_run(query)?;
    let mut fields = Fields::of_body(body)?;
    let queue = fields.take_given("queue", |raw| read_queue(&values::text(raw)?));
    let mut filter = Filter {
        task_name: fields.take_given("task_name", values::string),
        queues: None,
        reason: fields.take_given("reason", |raw| read_reason(&values::text(raw)?)),
        before: fields.take_given("before", |raw| stored_time_of(&values::text(raw)?)),
    };
    let all = fields.take_given("all", values::boolean).unwrap_or_default();
    let dry_run = fields.take_given("dry_run", values::boolean).unwrap_or_default() || dry_run;
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(ApiError::Invalid(errors));
    }
    let narrows =
        filter.task_name.is_some() || queue.is_some() || filter.reason.is_some() || filter.before.is_some();
    if !narrows && !all && !dry_run {
        return Err(ApiError::invalid(
            ValidationErrorKind::FilterRequired,
            "",
            "must have a task_name, queue, reason or before, or \"all\": true to act on every dead letter",
        ));
    }
    // without `queue`, a caller that is restricted to one queue acts on that one
    filter.queues = caller.narrowed(queue)?.map(|queue| vec![queue]);
    Ok(ManyRequest { filter, dry_run })
}

impl From<BulkError> for ApiError {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::Busy => Self::Overloaded("Other bulk operations on dead letters are running."),
            BulkError::Count(error) => error.into(),
            BulkError::Write(error) => write_failed(error),
            BulkError::Interrupted => Self::OutcomeUnknown,
        }
    }
}

/// Returns the value of `?dry_run`.
fn read_dry_run(mut query: Query) -> Result<bool, ApiError> {
    let dry_run = query.take("dry_run", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    });
    query.finish()?;
    Ok(dry_run.unwrap_or_default())
}

/// Reads the reason of a dead letter.
pub(super) fn read_reason(text: &str) -> Result<DeadLetterReason, String> {
    DeadLetterReason::parse(text)
        .ok_or_else(|| format!("must be one of {}", DeadLetterReason::NAMES.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tasker_core::task::QueueName;

    use super::*;
    use crate::auth::Identity;

    fn anybody() -> Caller {
        Caller {
            identity: Arc::new(Identity::anonymous()),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn read(body: &str, query: &str) -> Result<ManyRequest, ApiError> {
        read_many(body.as_bytes(), Query::read(query), &anybody())
    }

    fn pointers(body: &str) -> Vec<String> {
        match read(body, "") {
            Err(ApiError::Invalid(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_request_without_a_filter_says_that_it_means_all_or_only_counts() {
        for (body, query) in [
            ("{}", ""),
            (r#"{"all":false}"#, ""),
            ("{}", "dry_run=false"),
            (r#"{"dry_run":false}"#, ""),
        ] {
            match read(body, query) {
                Err(error @ ApiError::Invalid(_)) => {
                    assert_eq!(error.problem_type().code, "filter_required", "{body}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
        for (body, query, counts) in [
            (r#"{"all":true}"#, "", false),
            ("{}", "dry_run=true", true),
            (r#"{"dry_run":true}"#, "", true),
        ] {
            let ManyRequest { filter, dry_run } = read(body, query).expect(body);
            assert!(filter.task_name.is_none() && filter.queues.is_none());
            assert!(filter.reason.is_none() && filter.before.is_none());
            assert_eq!(dry_run, counts, "{body}");
        }
        let narrowed = read(r#"{"all":true,"queue":"low"}"#, "").expect("valid");
        assert_eq!(narrowed.filter.queues, Some(vec![QueueName::low()]));
    }

    #[test]
    fn a_filter_is_read_with_its_aliases() {
        let body =
            r#"{"task_name":"t","queue":"high","reason":"crash_loop","before":"2026-01-31T12:00:00+01:00"}"#;
        let ManyRequest { filter, .. } = read(body, "").expect("valid");
        assert_eq!(filter.queues, Some(vec![QueueName::high()]));
        assert_eq!(filter.reason, Some(DeadLetterReason::CrashLoop));
        assert_eq!(
            filter.before.map(|time| time.to_rfc3339()).as_deref(),
            Some("2026-01-31T11:00:00+00:00")
        );
    }

    #[test]
    fn what_could_widen_a_purge_by_a_slip_is_refused() {
        assert_eq!(pointers(r#"{"queues":"low"}"#), ["/queues"]);
        assert_eq!(pointers(r#"{"task_name":null}"#), ["/task_name"]);
        assert_eq!(
            pointers(r#"{"queue":"NO","reason":"bad luck","before":"yesterday"}"#),
            ["/queue", "/reason", "/before"]
        );
        assert_eq!(pointers(r#"{"all":"true","before":5}"#), ["/before", "/all"]);
        assert!(matches!(read("", ""), Err(ApiError::Malformed(_))));
    }
}
