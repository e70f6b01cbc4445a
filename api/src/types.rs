//! The cache of registered task types, so that submits need no query.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tasker_core::role::Role;
use tasker_store as store;
use tasker_store::task_types::{self, Registered, TaskType};
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::postgres::PostgresHealth;
use crate::refresh::Refresher;
use crate::schema::ParametersSchema;
use crate::write_only::WriteOnly;

/// The refresh interval: every server knows a published type within two seconds.
const REFRESH_INTERVAL: Duration = Duration::from_millis(1_800);

/// A task type with its compiled schema.
#[derive(Debug)]
pub struct KnownType {
    /// The type as published by workers.
    pub published: TaskType,
    /// The compiled schema of its parameters.
    pub schema: Arc<ParametersSchema>,
    /// The parameters that are not stored.
    pub write_only: Arc<WriteOnly>,
}

/// A snapshot of all task types.
#[derive(Debug, Default)]
pub struct TypeTable {
    types: HashMap<String, Arc<KnownType>>,
}

impl TypeTable {
    /// Returns the type with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<KnownType>> {
        self.types.get(name)
    }

    /// Returns the role that a submit of the type with this name requires; `None` for any role that may
    /// submit.
    pub fn required_role(&self, name: &str) -> Option<Role> {
        self.get(name)?.published.required_role
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.types.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Creates the table of `types`. Schemas with the same text as in `before` are not compiled again.
    pub fn of(types: Vec<TaskType>, before: &Self) -> Self {
        let types = types.into_iter().map(|published| {
            let text = published.parameters_schema.as_deref();
            let (schema, write_only) = match before.get(&published.name) {
                Some(old) if old.published.parameters_schema == published.parameters_schema => {
                    (Arc::clone(&old.schema), Arc::clone(&old.write_only))
                }
                _ => (
                    Arc::new(ParametersSchema::compile(&published.name, text)),
                    Arc::new(WriteOnly::of(text)),
                ),
            };
            let known = KnownType {
                published,
                schema,
                write_only,
            };
            (known.published.name.clone(), Arc::new(known))
        });
        Self {
            types: types.collect(),
        }
    }
}

/// The cache of the task types.
#[derive(Debug)]
pub struct TypeCache {
    db: Db,
    postgres: Arc<PostgresHealth>,
    worker_timeout: Duration,
    table: RwLock<Arc<TypeTable>>,
    refresher: Refresher,
}

impl TypeCache {
    /// Creates an empty cache over `db`.
    pub fn new(db: Db, postgres: Arc<PostgresHealth>, worker_timeout: Duration) -> Self {
        Self {
            db,
            postgres,
            worker_timeout,
            table: RwLock::default(),
            refresher: Refresher::default(),
        }
    }

    /// Returns the types as of `REFRESH_INTERVAL` ago or later.
    pub fn current(&self) -> Arc<TypeTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reloads the types after a name was missing in them. Concurrent callers share one query, and queries
    /// are spaced, so a flood of unknown names stays cheap.
    pub async fn reload_after_miss(&self) -> store::Result<Arc<TypeTable>> {
        let read = self.refresher.after_miss(self.load());
        self.postgres.while_alive(read).await?;
        Ok(self.current())
    }

    /// Refreshes until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let load = || self.load();
        self.refresher
            .run(REFRESH_INTERVAL, &self.postgres, "the task types", &stop, load)
            .await;
    }

    async fn load(&self) -> store::Result<()> {
        let types = task_types::all(&self.db, self.worker_timeout.as_secs_f64());
        let registered = self.postgres.while_alive(types).await?;
        let types = registered
            .into_iter()
            .map(|Registered { task_type, .. }| task_type)
            .collect();
        // schemas are compiled before the lock is taken, so that submits do not wait for it
        let table = Arc::new(TypeTable::of(types, &self.current()));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
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
            result_schema: None,
            required_role: None,
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
