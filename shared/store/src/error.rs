//! The error of a failed statement: what the caller may do next, and what of it a log may show.

use std::borrow::Cow;
use std::fmt;

use sqlx::error::DatabaseError;

/// The classification of a failed statement, by what the caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The row cannot be stored, by any caller at any time: reject it, keep the others.
    Row,
    /// Rolled back by a deadlock or a serialisation failure: may be sent again at once.
    RolledBack,
    /// The statement had no effect, and cannot succeed until Postgres recovers.
    Outage,
    /// The connection broke after the statement was sent: it may have happened, and must not be sent again
    /// blindly.
    Unknown,
    /// The statement was abandoned after its time limit: like [`Unknown`](Self::Unknown), it may have
    /// happened or still happen.
    TimedOut,
}

impl ErrorKind {
    /// Returns true if the statement may have taken effect.
    pub fn may_have_happened(self) -> bool {
        matches!(self, Self::Unknown | Self::TimedOut)
    }
}

/// The error of a failed statement.
///
/// `Display` and `Debug` may be logged: they show no values of rows. [`std::error::Error::source`] is `None`,
/// since a log of the whole chain would show them.
pub struct Error {
    kind: ErrorKind,
    source: sqlx::Error,
}

impl Error {
    /// Creates the error of a statement that was abandoned after its time limit.
    pub fn timed_out() -> Self {
        Self {
            kind: ErrorKind::TimedOut,
            source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
        }
    }

    /// Creates the error of a commit. It may have happened whatever Postgres answered, unless Postgres rolled
    /// it back.
    pub(crate) fn of_commit(source: sqlx::Error) -> Self {
        let mut error = Self::from(source);
        if error.kind != ErrorKind::RolledBack {
            error.kind = ErrorKind::Unknown;
        }
        error
    }

    /// Returns the error of `sqlx`.
    pub(crate) fn into_source(self) -> sqlx::Error {
        self.source
    }

    /// Returns what the caller may do next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the SQLSTATE with which Postgres rejected the statement; `None` if it did not answer.
    pub fn code(&self) -> Option<Cow<'_, str>> {
        self.answer()?.code()
    }

    /// Returns the name of the constraint that the statement violated.
    pub fn constraint(&self) -> Option<&str> {
        self.answer()?.constraint()
    }

    /// Returns true if Postgres answered with this error.
    pub fn is_answer(&self) -> bool {
        self.answer().is_some()
    }

    /// Returns true if no connection of the pool was free in time. The cause, if there is one other than
    /// load, is hidden.
    pub fn lacked_connection(&self) -> bool {
        matches!(self.source, sqlx::Error::PoolTimedOut)
    }

    /// Returns true if Postgres is unavailable to every caller, which a circuit breaker counts. A row that
    /// cannot be stored, a conflict, or a cancelled statement does not mean that.
    pub fn is_unavailable(&self) -> bool {
        match &self.source {
            sqlx::Error::Database(answer) => {
                is_unavailable_by_code(answer.code().as_deref().unwrap_or_default())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        }
    }

    fn answer(&self) -> Option<&dyn DatabaseError> {
        self.source.as_database_error()
    }
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Self {
            kind: kind_of(&source),
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            _ if self.kind == ErrorKind::TimedOut => formatter.write_str("Postgres did not answer in time"),
            sqlx::Error::Database(answer) => match answer.code() {
                // the texts of data and constraint errors may hold the value
                Some(code) if code.starts_with("22") || code.starts_with("23") => {
                    write!(formatter, "SQLSTATE {code}")
                }
                // without DETAIL, which quotes rows
                _ => write!(formatter, "error returned from database: {}", answer.message()),
            },
            // what the encoding of a value reports may quote the value
            sqlx::Error::ColumnDecode { index, .. } => {
                write!(formatter, "column {index} cannot be decoded")
            }
            sqlx::Error::Decode(_) => formatter.write_str("a value cannot be decoded"),
            sqlx::Error::Encode(_) => formatter.write_str("a value cannot be encoded"),
            source => source.fmt(formatter),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("kind", &self.kind)
            .field("text", &format_args!("{self}"))
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

/// Classifies `error` by its SQLSTATE (PostgreSQL, appendix A).
fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(answer) => by_code(
            answer.code().as_deref().unwrap_or_default(),
            answer.constraint().is_some(),
        ),
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Configuration(_)
        | sqlx::Error::Tls(_) => ErrorKind::Outage,
        sqlx::Error::Encode(_) => ErrorKind::Row,
        _ => ErrorKind::Unknown,
    }
}

fn is_unavailable_by_code(code: &str) -> bool {
    match code {
        // cancelled by a timeout or an operator: it says something about the statement, not about Postgres
        "57014" => false,
        // a standby, or a write-protected disk
        "25006" => true,
        // connection failure, sign-in rejected, no such database, no resources, shutdown, system error
        _ => ["08", "28", "3D", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)),
    }
}

fn by_code(code: &str, names_constraint: bool) -> ErrorKind {
    match code {
        "40001" | "40P01" => ErrorKind::RolledBack,
        "54000" => ErrorKind::Row,
        _ if code.starts_with("22") => ErrorKind::Row,
        // without a constraint's name, 23514 means a missing partition: every row would fail, so rejecting
        // rows is wrong
        _ if code.starts_with("23") && names_constraint => ErrorKind::Row,
        _ => ErrorKind::Outage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_and_a_broken_constraint_are_the_rows_fault() {
        assert_eq!(by_code("22003", false), ErrorKind::Row);
        assert_eq!(by_code("23514", true), ErrorKind::Row);
        assert_eq!(by_code("54000", false), ErrorKind::Row);
    }

    #[test]
    fn a_missing_partition_a_full_disk_and_a_shutdown_are_outages() {
        for code in ["23514", "53100", "57P01", "25006", ""] {
            assert_eq!(by_code(code, false), ErrorKind::Outage, "{code}");
        }
    }

    #[test]
    fn a_shutdown_a_full_disk_and_a_standby_mean_that_postgres_is_unavailable() {
        for code in ["57P01", "57P03", "53100", "53300", "25006", "08006"] {
            assert!(is_unavailable_by_code(code), "{code}");
        }
        assert!(Error::from(sqlx::Error::PoolTimedOut).is_unavailable());
        assert!(Error::timed_out().is_unavailable());
    }

    #[test]
    fn bad_rows_conflicts_and_cancelled_statements_do_not() {
        for code in ["22003", "23505", "40P01", "57014", "42P01", "55P03", ""] {
            assert!(!is_unavailable_by_code(code), "{code}");
        }
        assert!(!Error::from(sqlx::Error::RowNotFound).is_unavailable());
    }

    #[test]
    fn an_abandoned_statement_may_have_happened() {
        let error = Error::timed_out();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.kind().may_have_happened() && !error.is_answer());
    }

    #[test]
    fn a_commit_without_a_rollback_may_have_happened() {
        let error = Error::of_commit(sqlx::Error::PoolClosed);
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }

    #[test]
    fn the_text_of_a_data_or_constraint_error_is_not_shown() {
        for code in ["22P02", "23505", "23514"] {
            let error = crate::testing::answer(code);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret") && shown.contains(code), "{shown}");
            assert!(std::error::Error::source(&error).is_none());
        }
    }

    #[test]
    fn a_value_that_cannot_be_encoded_is_not_shown() {
        for source in [
            sqlx::Error::Encode("secret".into()),
            sqlx::Error::Decode("secret".into()),
            sqlx::Error::ColumnDecode {
                index: "queue".to_owned(),
                source: "secret".into(),
            },
        ] {
            let error = Error::from(source);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_deadlock_may_be_tried_again() {
        assert_eq!(by_code("40P01", false), ErrorKind::RolledBack);
    }
}
