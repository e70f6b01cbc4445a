//! The registered task types, cached: submits look here and not into Postgres.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tasker_shared::store::task_types::{self, Registered, TaskType};
use tasker_shared::store::{self, PgPool};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::describe;
use crate::postgres::Postgres;
use crate::schema::ParametersSchema;

/// A type that a worker publishes is known within two seconds.
const REFRESH_INTERVAL: Duration = Duration::from_millis(1_800);
/// The least time between two looks for unknown names: a flood of them costs little.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A task type with its compiled schema.
#[derive(Debug)]
pub struct KnownType {
    /// As it was published.
    pub published: TaskType,
    /// What its parameters must be.
    pub schema: Arc<ParametersSchema>,
}

/// All types at one time.
#[derive(Debug, Default)]
pub struct TypeTable {
    types: HashMap<String, Arc<KnownType>>,
}

impl TypeTable {
    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<KnownType>> {
        self.types.get(name)
    }

    /// The known names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.types.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The table of `types`; schemas whose text is as in `before` are not compiled again.
    pub fn of(types: Vec<TaskType>, before: &Self) -> Self {
        let types = types.into_iter().map(|published| {
            let schema = match before.get(&published.name) {
                Some(old) if old.published.parameters_schema == published.parameters_schema => {
                    Arc::clone(&old.schema)
                }
                _ => Arc::new(ParametersSchema::compile(
                    &published.name,
                    published.parameters_schema.as_deref(),
                )),
            };
            (published.name.clone(), Arc::new(KnownType { published, schema }))
        });
        Self {
            types: types.collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Snapshot {
    table: Arc<TypeTable>,
    /// When the look began that this came from; nothing before the first.
    looked_at: Option<Instant>,
}

/// The cache.
#[derive(Debug)]
pub struct TypeCache {
    db: PgPool,
    postgres: Arc<Postgres>,
    worker_timeout: Duration,
    snapshot: RwLock<Snapshot>,
    looking: Mutex<()>,
}

impl TypeCache {
    /// An empty cache over `db`.
    pub fn new(db: PgPool, postgres: Arc<Postgres>, worker_timeout: Duration) -> Self {
        Self {
            db,
            postgres,
            worker_timeout,
            snapshot: RwLock::default(),
            looking: Mutex::new(()),
        }
    }

    /// The types as they were at most `REFRESH_INTERVAL` ago.
    pub fn current(&self) -> Arc<TypeTable> {
        Arc::clone(&self.read().table)
    }

    /// The types as they are now, after a name was missing in them. Of many who ask at once one looks, and looks are apart:
    /// who asks soon after the last one waits a moment.
    pub async fn look_again(&self) -> store::Result<Arc<TypeTable>> {
        self.postgres.while_alive(self.look_in_turn()).await
    }

    async fn look_in_turn(&self) -> store::Result<Arc<TypeTable>> {
        let asked = Instant::now();
        let _one_at_a_time = self.looking.lock().await;
        let looked_at = self.read().looked_at;
        match looked_at {
            Some(looked_at) if looked_at > asked => return Ok(self.current()),
            Some(looked_at) => tokio::time::sleep_until((looked_at + LOOK_INTERVAL).into()).await,
            None => {}
        }
        self.load().await?;
        Ok(self.current())
    }

    /// Refreshes until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(REFRESH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if self.postgres.check().is_err() {
                continue;
            }
            let _one_at_a_time = self.looking.lock().await;
            let result = self.load().await;
            // an outage lasts for many ticks and is told once
            if let (Err(error), false) = (&result, failed) {
                warn!(cause = describe(error), "cannot refresh the task types");
            }
            failed = result.is_err();
        }
    }

    async fn load(&self) -> store::Result<()> {
        let began = Instant::now();
        let types = task_types::all(&self.db, self.worker_timeout.as_secs_f64());
        let registered = self.postgres.call(types).await?;
        let types = registered
            .into_iter()
            .map(|Registered { task_type, .. }| task_type)
            .collect();
        let table = Arc::new(TypeTable::of(types, &self.current()));
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        *snapshot = Snapshot {
            table,
            looked_at: Some(began),
        };
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(schema: &str) -> TaskType {
        TaskType {
            name: "t".into(),
            description: String::new(),
            queue: None,
            priority: 0,
            max_retries: 3,
            timeout_seconds: 60.0,
            parameters_schema: Some(schema.into()),
        }
    }

    #[test]
    fn a_schema_is_compiled_again_only_when_its_text_changes() {
        let schema = |table: &TypeTable| Arc::as_ptr(&table.get("t").expect("known").schema);
        let first = TypeTable::of(vec![published(r#"{"required":["a"]}"#)], &TypeTable::default());
        let same = TypeTable::of(vec![published(r#"{"required":["a"]}"#)], &first);
        let other = TypeTable::of(vec![published(r#"{"required":["b"]}"#)], &same);
        assert_eq!(schema(&first), schema(&same));
        assert_ne!(schema(&same), schema(&other));
    }
}
