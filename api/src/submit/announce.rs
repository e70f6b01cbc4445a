//! The announcement of stored tasks, after their commit.

use std::collections::HashMap;

use tasker_core::task::{Hint, TaskStatus};
use tasker_store::insert::NewTask;

use super::push::Pusher;

/// Pushes the hints of those `stored` tasks that are pending, and counts all of them.
pub(super) async fn announce(pusher: &Pusher, stored: Vec<(&NewTask, TaskStatus)>) {
    let mut hints = Vec::with_capacity(stored.len());
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (task, status) in stored {
        *counts.entry(&task.task_name).or_default() += 1;
        if status == TaskStatus::Pending {
            let hint = Hint::new(task.id, task.queue.clone(), &*task.task_name);
            hints.push(hint.with_priority(task.priority));
        }
    }
    for (name, count) in counts {
        metrics::counter!("tasks_enqueued_total", "type" => name.to_owned()).increment(count);
    }
    pusher.push(hints).await;
}
