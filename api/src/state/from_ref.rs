//! The conversions of the state to the parts that handlers take.

use std::sync::Arc;

use axum::extract::FromRef;

use super::AppState;
use super::parts::{
    BatchSubmits, Duties, Fleet, HealthChecks, MetricSources, QueueControl, Submits, TaskActions, TaskReads,
    WorkflowReads, WorkflowStarts,
};
use crate::auth::Auth;
use crate::db::Db;
use crate::http::admission::Admission;
use crate::http::body::BodyBudgets;
use crate::known_names::KnownNames;
use crate::queues::QueueTable;
use tasker_maintenance::dead_letters::BulkOperations;

/// Implements `FromRef` for a part, given the expression that makes it from the handles.
macro_rules! part {
    ($part:ty, |$handles:ident| $made:expr) => {
        impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                let $handles = &*state.0;
                $made
            }
        }
    };
}

part!(Db, |of| of.db.clone());
part!(Arc<Auth>, |of| Arc::clone(&of.auth));
part!(KnownNames, |of| of.names.clone());
part!(Arc<QueueTable>, |of| Arc::clone(&of.names.queues));
part!(BodyBudgets, |of| of.bodies.clone());
part!(Admission, |of| of.admission.clone());
part!(BulkOperations, |of| of.dead_letters.clone());

part!(Submits, |of| Self {
    names: of.names.clone(),
    submitter: of.submitter.clone(),
});

part!(BatchSubmits, |of| Self {
    names: of.names.clone(),
    auth: Arc::clone(&of.auth),
    lane: of.batches.clone(),
    task_bytes_max: of.bodies.bytes_max,
});

part!(TaskReads, |of| Self {
    db: of.db.clone(),
    watcher: Arc::clone(&of.watcher),
    shutdown: of.shutdown.clone(),
});

part!(WorkflowStarts, |of| Self {
    db: of.db.clone(),
    names: of.names.clone(),
    pusher: Arc::clone(&of.pusher),
    environment: of.environment,
    max_age: of.workflow_max_age,
    key_ttl: of.key_ttl,
});

part!(WorkflowReads, |of| Self {
    db: of.db.clone(),
    shutdown: of.shutdown.clone(),
});

part!(TaskActions, |of| Self {
    db: of.db.clone(),
    pusher: Arc::clone(&of.pusher),
    redis: of.redis_in_use(),
    key_ttl: of.key_ttl,
});

part!(Fleet, |of| Self {
    db: of.db.clone(),
    worker_timeout: of.worker_timeout,
});

part!(QueueControl, |of| Self {
    db: of.db.clone(),
    table: Arc::clone(&of.names.queues),
    lists: Arc::clone(&of.queue),
    redis: of.redis_in_use(),
    worker_timeout: of.worker_timeout,
});

part!(HealthChecks, |of| Self {
    db: of.db.clone(),
    postgres: Arc::clone(&of.postgres),
    redis: of.redis_in_use(),
    shutdown: of.shutdown.clone(),
    started: of.started,
});

part!(Duties, |of| Self {
    status: Arc::clone(&of.duty_status),
    queues: of.names.queues.declared(),
    worker_timeout: of.worker_timeout,
});

part!(MetricSources, |of| Self {
    metrics: of.metrics.clone(),
    db: of.db.clone(),
    postgres: Arc::clone(&of.postgres),
    redis: Arc::clone(&of.redis),
    submitter: of.submitter.clone(),
    bodies: of.bodies.clone(),
    admission: of.admission.clone(),
});
