//! The current states of queues: their rows, and the lengths of their lists.

use tasker_core::task::QueueName;
use tasker_queue::RedisQueues;
use tasker_store::queues;
use tasker_wire::QueueInfo;

use crate::error::ApiError;
use crate::state::parts::QueueControl;

/// Returns the current state of one declared queue.
pub(super) async fn queue_now(control: &QueueControl, name: QueueName) -> Result<QueueInfo, ApiError> {
    let queues = queues_now(control, &[name]).await?;
    let queue = queues.into_iter().next();
    queue.ok_or_else(|| ApiError::Internal("a requested queue is missing from the result".to_owned()))
}

/// Returns the current states of declared queues, in the order of `names`.
pub(super) async fn queues_now(
    control: &QueueControl,
    names: &[QueueName],
) -> Result<Vec<QueueInfo>, ApiError> {
    let timeout = control.worker_timeout.as_secs_f64();
    let (states, lengths) = tokio::join!(
        queues::states(&control.db, names, timeout),
        lengths(control, names)
    );
    let (depths, unroutable) = lengths.unzip();
    let of = |lengths: &Option<Vec<u64>>, place: usize| lengths.as_ref()?.get(place).copied();
    let queues = states?.into_iter().enumerate().map(|(place, queue)| QueueInfo {
        key: control.lists.keys().list(&queue.name),
        depth: of(&depths, place),
        pending: queue.pending,
        running: queue.running,
        scheduled: queue.scheduled,
        retry: queue.retry,
        unroutable: of(&unroutable, place),
        oldest_age_seconds: queue.oldest_age_seconds,
        paused: queue.paused,
        workers: queue.workers,
        name: queue.name,
    });
    Ok(queues.collect())
}

/// Returns the lengths of the lists and the numbers of parked hints; `None` while Redis is unavailable or
/// where it is not used.
async fn lengths(control: &QueueControl, names: &[QueueName]) -> Option<(Vec<u64>, Vec<u64>)> {
    let redis = control.redis.as_ref()?;
    let ask = async |queue: &RedisQueues| Ok((queue.depths(names).await?, queue.unroutable(names).await?));
    redis.ask(ask).await
}

/// Returns the lengths of the lists; `None` while Redis is unavailable or where it is not used.
pub(super) async fn depths(control: &QueueControl, names: &[QueueName]) -> Option<Vec<u64>> {
    let redis = control.redis.as_ref()?;
    redis.ask(async |queue| queue.depths(names).await).await
}
