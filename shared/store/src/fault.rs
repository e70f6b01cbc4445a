/// The classification of a failed statement, by what the caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The row cannot be stored, by any caller at any time: reject it, keep the others.
    Row,
    /// Rolled back by a deadlock or a serialisation failure: may be sent again at once.
    RolledBack,
    /// The statement had no effect, and cannot succeed until Postgres recovers.
    Outage,
    /// The connection broke after the statement was sent: it may have happened, and must not be sent again
    /// blindly.
    Unknown,
}

/// Classifies `error` by its SQLSTATE (PostgreSQL, appendix A).
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(answer) => by_code(
            answer.code().as_deref().unwrap_or_default(),
            answer.constraint().is_some(),
        ),
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Configuration(_)
        | sqlx::Error::Tls(_) => Fault::Outage,
        sqlx::Error::Encode(_) => Fault::Row,
        _ => Fault::Unknown,
    }
}

/// Returns whether `error` means that Postgres is unavailable to every caller, which a circuit breaker
/// counts. A row that cannot be stored, a conflict, or a cancelled statement does not.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(answer) => is_unavailable_by_code(answer.code().as_deref().unwrap_or_default()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
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

fn by_code(code: &str, names_constraint: bool) -> Fault {
    match code {
        "40001" | "40P01" => Fault::RolledBack,
        "54000" => Fault::Row,
        _ if code.starts_with("22") => Fault::Row,
        // without a constraint's name, 23514 means a missing partition: every row would fail, so rejecting
        // rows is wrong
        _ if code.starts_with("23") && names_constraint => Fault::Row,
        _ => Fault::Outage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_and_a_broken_constraint_are_the_rows_fault() {
        assert_eq!(by_code("22003", false), Fault::Row);
        assert_eq!(by_code("23514", true), Fault::Row);
        assert_eq!(by_code("54000", false), Fault::Row);
    }

    #[test]
    fn a_missing_partition_a_full_disk_and_a_shutdown_are_outages() {
        for code in ["23514", "53100", "57P01", "25006", ""] {
            assert_eq!(by_code(code, false), Fault::Outage, "{code}");
        }
    }

    #[test]
    fn a_shutdown_a_full_disk_and_a_standby_mean_that_postgres_is_unavailable() {
        for code in ["57P01", "57P03", "53100", "53300", "25006", "08006"] {
            assert!(is_unavailable_by_code(code), "{code}");
        }
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
    }

    #[test]
    fn bad_rows_conflicts_and_cancelled_statements_do_not() {
        for code in ["22003", "23505", "40P01", "57014", "42P01", "55P03", ""] {
            assert!(!is_unavailable_by_code(code), "{code}");
        }
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
    }

    #[test]
    fn a_deadlock_may_be_tried_again() {
        assert_eq!(by_code("40P01", false), Fault::RolledBack);
    }
}
