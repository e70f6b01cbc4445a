use super::{Priority, QueueName, TaskId};

/// Tasks of a higher priority than this go to the head of their list.
const TAIL_PRIORITY_MAX: Priority = 50;

/// Returns true if the hint of a task with this priority goes to the head of its list.
pub fn is_urgent(priority: Priority) -> bool {
    priority > TAIL_PRIORITY_MAX
}

/// A wake-up hint: the id of a pending task, in the Redis list of its queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// The task.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type; `None` where only the id is known. While its queue is split by type, such a hint reaches no
    /// worker.
    pub task_name: Option<String>,
    /// True if it is pushed to the head of its list instead of the tail.
    pub urgent: bool,
}

impl Hint {
    /// Creates a hint for a task of the type `task_name`.
    pub fn new(id: TaskId, queue: QueueName, task_name: impl Into<String>) -> Self {
        Self {
            id,
            queue,
            task_name: Some(task_name.into()),
            urgent: false,
        }
    }

    /// Creates a hint for a popped id, whose task type is not known.
    pub fn of_id(id: TaskId, queue: QueueName) -> Self {
        Self {
            id,
            queue,
            task_name: None,
            urgent: false,
        }
    }

    /// Returns the same hint, urgent if this is the priority of its task and above 50.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self {
            urgent: is_urgent(priority),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_above_fifty_is_urgent_in_whatever_queue() {
        let urgent = |priority| {
            let hint = Hint::of_id(TaskId::generate(), QueueName::low());
            hint.with_priority(priority).urgent
        };
        assert_eq!([-100, 0, 50].map(urgent), [false; 3]);
        assert_eq!([51, 100].map(urgent), [true; 2]);
    }
}
