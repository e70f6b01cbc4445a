//! A pool that reports the outcome of each statement, for a circuit breaker.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr};

use super::{Error, PooledConnection, Result};

/// The receiver of the outcomes of statements.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Records that a statement succeeded.
    fn answered(&self);
    /// Records that a statement failed.
    fn failed(&self, error: &Error);
}

/// A pool whose statements report their outcomes to an [`Observer`]. Cheap to clone.
///
/// A statement that is abandoned reports no outcome.
#[derive(Debug, Clone)]
pub struct ObservedPool {
    pool: PgPool,
    /// `None` for a pool without a circuit breaker.
    observer: Option<Arc<dyn Observer>>,
}

impl ObservedPool {
    /// Creates a pool that reports to `observer`.
    pub fn new(pool: PgPool, observer: Arc<dyn Observer>) -> Self {
        Self {
            pool,
            observer: Some(observer),
        }
    }

    /// Returns the pool itself, whose statements report no outcomes.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a connection for a transaction. Only a failure to get one is reported here, not the outcomes of
    /// its statements.
    pub async fn acquire(&self) -> Result<PooledConnection> {
        self.report_failure(self.pool.acquire().await.map_err(Error::from))
    }

    /// Reports the outcome of a statement on a connection that is not part of the pool.
    pub(crate) fn report<T>(&self, outcome: Result<T>) -> Result<T> {
        if let (Ok(_), Some(observer)) = (&outcome, &self.observer) {
            observer.answered();
        }
        self.report_failure(outcome)
    }

    /// Reports that a connection could not be opened or taken; one that could has not answered a statement
    /// yet.
    pub(crate) fn report_failure<T>(&self, outcome: Result<T>) -> Result<T> {
        if let (Err(error), Some(observer)) = (&outcome, &self.observer) {
            observer.failed(error);
        }
        outcome
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            observer: self.observer.clone(),
            answered: false,
        }
    }
}

impl From<PgPool> for ObservedPool {
    /// Creates a pool that reports to no observer.
    fn from(pool: PgPool) -> Self {
        Self { pool, observer: None }
    }
}

/// Reports the outcome of one statement.
struct Reporter {
    observer: Option<Arc<dyn Observer>>,
    answered: bool,
}

impl Reporter {
    /// Reports the first row of a statement, or its error.
    fn report<T>(&mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        let Some(observer) = &self.observer else {
            return outcome;
        };
        match outcome {
            Ok(answer) => {
                if !self.answered {
                    self.answered = true;
                    observer.answered();
                }
                Ok(answer)
            }
            Err(source) => {
                let error = Error::from(source);
                observer.failed(&error);
                Err(error.into_source())
            }
        }
    }
}

impl<'p> Executor<'p> for &'_ ObservedPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let mut reporter = self.reporter();
        let answers = (&self.pool).fetch_many(query);
        answers.map(move |answer| reporter.report(answer)).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let mut reporter = self.reporter();
        let answer = (&self.pool).fetch_optional(query);
        Box::pin(async move { reporter.report(answer.await) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        let mut reporter = self.reporter();
        let answer = (&self.pool).prepare_with(sql, parameters);
        Box::pin(async move { reporter.report(answer.await) })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>> {
        (&self.pool).describe(sql)
    }
}
