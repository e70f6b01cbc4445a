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
    fn a_deadlock_may_be_tried_again() {
        assert_eq!(by_code("40P01", false), Fault::RolledBack);
    }
}
