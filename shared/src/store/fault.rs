/// What a failed statement means for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A row cannot be stored, whoever sends it and whenever: refuse it, keep the others.
    Row,
    /// Rolled back by a deadlock or a serialisation failure: may be sent again at once.
    RolledBack,
    /// Nothing happened, and nothing will until Postgres is well again.
    Outage,
    /// The connection broke after the statement was sent: it may have happened, and must not be sent again blindly.
    Unknown,
}

/// Reads the meaning of `error` from its SQLSTATE (PostgreSQL, appendix A).
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

/// Whether `error` says that Postgres is away, or not able to work for anybody: what a circuit breaker counts. A row that
/// cannot be stored, a conflict, or a statement that was cancelled says nothing of the kind.
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
        // cancelled: it took too long, or somebody asked for that
        "57014" => false,
        // a standby, or a disk that is write-protected
        "25006" => true,
        // no connection, nobody let in, no such database, no resources, shut down, a system error
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
        // without a constraint's name, 23514 is a partition that is missing
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
    fn a_shutdown_a_full_disk_and_a_standby_mean_that_postgres_is_away() {
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
