//! A worker in this process, on the test's own database and key prefix. The tests of the built-in task types
//! include this file, too.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use tasker_core::task::{Hint, TaskId, TaskStatus};
use tasker_platform::lifecycle::Shutdown;
use tasker_store::insert::{NewTask, insert};
use tasker_store::promote::promote;
use tasker_store::records::{TaskRecord, get};
use tasker_testkit::{TestQueue, a_task, eventually};
use tasker_worker::{AnyTaskType, RunError, Worker, WorkerConfig};
use tokio::task::JoinHandle;

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A database, a key prefix, and what a test does with them.
pub(crate) struct System {
    pub(crate) db: PgPool,
    pub(crate) queue: TestQueue,
}

/// A worker that runs in this process.
pub(crate) struct RunningWorker {
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), RunError>>,
}

impl System {
    pub(crate) fn new(db: PgPool) -> Self {
        Self {
            db,
            queue: TestQueue::new(),
        }
    }

    /// Starts a worker with these task types and settings.
    pub(crate) fn worker(
        &self,
        tasks: Vec<impl Into<AnyTaskType>>,
        settings: &[(&str, &str)],
    ) -> RunningWorker {
        RunningWorker::start(tasks, self.config(settings))
    }

    /// The configuration of a worker with these settings.
    pub(crate) fn config(&self, settings: &[(&str, &str)]) -> WorkerConfig {
        let redis = self.queue.config();
        let mut flags = BTreeMap::from([
            (
                "database-url",
                self.db.connect_options().to_url_lossy().to_string(),
            ),
            ("redis-url", tasker_testkit::redis_url()),
            ("queue-key-prefix", redis.key_prefix.clone()),
            ("worker-listen-addr", "127.0.0.1:0".to_owned()),
            ("db-pool-size", "5".to_owned()),
        ]);
        flags.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let flags = flags.into_iter().map(|(name, value)| format!("--{name}={value}"));
        let arguments = std::iter::once("tasker-worker".to_owned()).chain(flags);
        WorkerConfig::load(arguments).expect("sound settings")
    }

    /// Submits a task as the API does: the row first, then its hint.
    pub(crate) async fn submit(&self, task: NewTask) -> TaskId {
        self.submit_all(vec![task]).await[0]
    }

    /// Submits tasks in this order.
    pub(crate) async fn submit_all(&self, tasks: Vec<NewTask>) -> Vec<TaskId> {
        let inserted = insert(&self.db, &tasks, 60.0)
            .await
            .expect("tasks can be inserted");
        let hints: Vec<_> = tasks
            .iter()
            .filter(|task| inserted.status(task) == Some(TaskStatus::Pending))
            .map(|task| Hint::new(task.id, task.queue.clone(), &*task.task_name))
            .collect();
        self.queue.push_back(&hints).await.expect("hints can be pushed");
        tasks.iter().map(|task| task.id).collect()
    }

    /// Makes what is due pending, as a server does.
    pub(crate) async fn promote(&self) {
        let due = promote(&self.db, 1_000).await.expect("tasks can be promoted");
        self.queue.push_back(&due).await.expect("hints can be pushed");
    }

    pub(crate) async fn task(&self, id: TaskId) -> TaskRecord {
        get(&self.db, id)
            .await
            .expect("tasks can be read")
            .expect("the task exists")
    }

    /// Waits until a task is in this state; promotes what becomes due meanwhile.
    pub(crate) async fn until(&self, id: TaskId, status: TaskStatus) -> TaskRecord {
        eventually(&format!("{id} is {status}"), SOON, async || {
            self.promote().await;
            self.task(id).await.status == status
        })
        .await;
        self.task(id).await
    }
}

impl RunningWorker {
    fn start(tasks: Vec<impl Into<AnyTaskType>>, config: WorkerConfig) -> Self {
        let shutdown = Shutdown::new();
        let worker = Worker::builder()
            .register_all(tasks)
            .run_until(config, shutdown.clone());
        Self {
            shutdown,
            ended: tokio::spawn(worker),
        }
    }

    /// Asks the worker to stop and waits until it has.
    pub(crate) async fn stop(self) -> Result<(), RunError> {
        self.shutdown.soft().cancel();
        self.ended().await
    }

    /// Waits until the worker has ended.
    pub(crate) async fn ended(mut self) -> Result<(), RunError> {
        tokio::time::timeout(SOON, &mut self.ended)
            .await
            .expect("the worker stops")
            .expect("the worker does not panic")
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

/// A task with these parameters.
pub(crate) fn with(name: &str, parameters: &Value) -> NewTask {
    NewTask {
        parameters: parameters.to_string(),
        ..a_task(name)
    }
}

/// The result of an ended task.
pub(crate) fn result(task: &TaskRecord) -> Value {
    serde_json::from_str(task.result.as_deref().expect("a result")).expect("JSON")
}
