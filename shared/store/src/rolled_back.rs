use super::{ErrorKind, Result};

/// The maximum number of times that a statement is sent again.
const RETRIES_MAX: u32 = 5;

/// Sends a statement, and again when Postgres rolled it back to resolve a conflict (a deadlock, a
/// serialisation failure). Any other error is returned at once: after an unknown outcome the statement may
/// have taken effect.
pub async fn retry_rolled_back<T, F>(mut send: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut retries = 0;
    loop {
        match send().await {
            // without a pause: Postgres rolls back one side of a conflict, so the other one goes on
            Err(error) if error.kind() == ErrorKind::RolledBack && retries < RETRIES_MAX => retries += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::Error;
    use crate::testing::answer;

    #[tokio::test]
    async fn a_statement_is_sent_again_after_a_deadlock() {
        let mut sent = 0;
        let result = retry_rolled_back(|| {
            sent += 1;
            ready(if sent < 3 { Err(answer("40P01")) } else { Ok(sent) })
        });
        assert_eq!(result.await.expect("the third one"), 3);
    }

    #[tokio::test]
    async fn retries_of_a_conflict_that_stays_end() {
        let mut sent = 0;
        let result = retry_rolled_back(|| {
            sent += 1;
            ready(Err::<(), _>(answer("40001")))
        });
        assert_eq!(result.await.expect_err("conflict").kind(), ErrorKind::RolledBack);
        assert_eq!(sent, 1 + RETRIES_MAX);
    }

    #[tokio::test]
    async fn a_statement_with_an_unknown_outcome_is_not_sent_again() {
        let broken = || Error::from(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        for error in [Error::timed_out, broken] {
            let mut sent = 0;
            let result = retry_rolled_back(|| {
                sent += 1;
                ready(Err::<(), _>(error()))
            });
            assert!(result.await.is_err_and(|error| error.kind().may_have_happened()));
            assert_eq!(sent, 1);
        }
    }
}
