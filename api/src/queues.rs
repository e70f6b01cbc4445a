//! The declared queues: the three classes, those of `EXTRA_QUEUES`, and every row of the table `queues`.
//!
//! A queue is declared by inserting its row, on any server or by a worker at its start. Each server reads the
//! table about once a second, and once more before it rejects a name that its copy lacks.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_store::{self as store, DeclaredQueues, queues};
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::postgres::PostgresHealth;
use crate::refresh::Refresher;

/// Time between two reads of the table: a new queue is known everywhere within two seconds.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a [`DeclaredQueues`] in step with the table.
#[derive(Debug)]
pub struct QueueTable {
    db: Db,
    postgres: Arc<PostgresHealth>,
    /// The queues declared by the configuration, in the table or not.
    configured: Vec<QueueName>,
    declared: DeclaredQueues,
    refresher: Refresher,
}

impl QueueTable {
    /// Returns a table whose list begins with `configured` and is not read from the table yet.
    pub fn new(db: Db, postgres: Arc<PostgresHealth>, configured: Vec<QueueName>) -> Self {
        Self {
            db,
            postgres,
            declared: DeclaredQueues::from(configured.clone()),
            configured,
            refresher: Refresher::default(),
        }
    }

    /// Returns the list that this table keeps in step.
    pub fn declared(&self) -> DeclaredQueues {
        self.declared.clone()
    }

    /// Returns the list; asks the table once if the list lacks one of `names` that could be in it.
    pub async fn covering<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> store::Result<Arc<[QueueName]>> {
        let declared = self.declared.snapshot();
        let mut valid = names.into_iter().filter_map(|name| QueueName::parse(name).ok());
        if valid.all(|name| declared.contains(&name)) {
            return Ok(declared);
        }
        self.refresh().await?;
        Ok(self.declared.snapshot())
    }

    /// Reads the table now.
    pub async fn refresh(&self) -> store::Result<()> {
        let read = self.refresher.after_miss(self.load());
        self.postgres.while_alive(read).await
    }

    /// Reads the table regularly until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let load = || self.load();
        self.refresher
            .run(
                REFRESH_INTERVAL,
                &self.postgres,
                "the declared queues",
                &stop,
                load,
            )
            .await;
    }

    async fn load(&self) -> store::Result<()> {
        let stored = self.postgres.while_alive(queues::names(&self.db)).await?;
        self.declared.replace(united(&self.configured, stored));
        Ok(())
    }
}

/// Returns the configured queues, then the others of the table.
fn united(configured: &[QueueName], mut stored: Vec<QueueName>) -> Vec<QueueName> {
    stored.retain(|name| !configured.contains(name));
    [configured, &stored].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_queues_come_first_and_none_twice() {
        let name = |text| QueueName::parse(text).expect("a name");
        let configured = [QueueName::classes().as_slice(), &[name("zeta")]].concat();
        let stored = ["alpha", "default", "zeta"].map(name).to_vec();
        let all = united(&configured, stored);
        let texts: Vec<&str> = all.iter().map(QueueName::as_str).collect();
        assert_eq!(
            texts,
            ["high_priority", "default", "low_priority", "zeta", "alpha"]
        );
    }
}
