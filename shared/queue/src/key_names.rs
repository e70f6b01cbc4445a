//! The names of all keys that Tasker uses in Redis.

use tasker_core::task::QueueName;

/// The key names of one deployment.
#[derive(Debug, Clone)]
pub struct KeyNames {
    prefix: String,
}

impl KeyNames {
    /// Creates the names. `prefix` is `QUEUE_KEY_PREFIX`, `rq:queue:` by default; deployments that share a
    /// Redis need different ones.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// LIST of task ids as text: pushed at the tail, popped from the head; its length is the number of
    /// pending tasks.
    pub fn list(&self, queue: &QueueName) -> String {
        format!("{}{queue}", self.prefix)
    }

    /// Channel to which the id of a running task is published when it is cancelled. Queue names contain no
    /// `:`, so no list can have this name.
    pub fn cancellations(&self) -> String {
        format!("{}events:cancel", self.prefix)
    }

    /// LIST that `maker` is building to replace the list of `queue`.
    pub fn unfinished_list(&self, queue: &QueueName, maker: &str) -> String {
        format!("{}rebuild:{queue}:{maker}", self.prefix)
    }

    /// STRING: the number of starved heads of the list of `queue`.
    pub fn starved_heads(&self, queue: &QueueName) -> String {
        format!("{}aged:{queue}", self.prefix)
    }

    /// LIST of the waiting ids of one task type, filled and popped while `queue` is split. Queue names
    /// contain no `:`, so the name is unambiguous whatever the task type is called.
    pub fn type_list(&self, queue: &QueueName, task_name: &str) -> String {
        format!("{}{task_name}", self.type_lists(queue))
    }

    /// The common prefix of the names of all type lists of `queue`.
    pub fn type_lists(&self, queue: &QueueName) -> String {
        format!("{}type:{queue}:", self.prefix)
    }

    /// STRING: `opening` or `split` while `queue` is split by task type; absent while it is plain.
    pub fn split(&self, queue: &QueueName) -> String {
        format!("{}split:{queue}", self.prefix)
    }

    /// SET: the names of the type lists of `queue` that were filled since it was split.
    pub fn split_lists(&self, queue: &QueueName) -> String {
        format!("{}split-lists:{queue}", self.prefix)
    }

    /// STRING: the generation of the type lists of `queue`, while it is not plain.
    pub fn split_generation(&self, queue: &QueueName) -> String {
        format!("{}split-generation:{queue}", self.prefix)
    }

    /// LIST of parked ids: tasks of `queue` whose type no live worker registers. `rq:unroutable:{queue}` with
    /// the default prefix.
    pub fn unroutable(&self, queue: &QueueName) -> String {
        match self.prefix.strip_suffix("queue:") {
            Some(before) => format!("{before}unroutable:{queue}"),
            None => format!("{}unroutable:{queue}", self.prefix),
        }
    }

    /// STRING: the number of hints of `queue` that should have been removed from its lists and were not found
    /// near their ends.
    pub fn unremoved(&self, queue: &QueueName) -> String {
        format!("{}unremoved:{queue}", self.prefix)
    }

    /// STRING: the run id of the Redis server on which the lists were last known to be complete; missing
    /// after Redis lost its data.
    pub fn mark(&self) -> String {
        format!("{}rebuild:mark", self.prefix)
    }

    /// LIST that never exists, for pushes and pops that only test whether Redis accepts them.
    pub fn probe_list(&self) -> String {
        format!("{}probe:none", self.prefix)
    }

    /// Returns the queue that a list belongs to, and the task type if it is a type list.
    pub fn read_list<'a>(&self, list: &'a str) -> Option<(QueueName, Option<&'a str>)> {
        let name = list.strip_prefix(&self.prefix)?;
        match name.strip_prefix("type:").and_then(|rest| rest.split_once(':')) {
            Some((queue, task_name)) => Some((QueueName::parse(queue).ok()?, Some(task_name))),
            None => Some((QueueName::parse(name).ok()?, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_prefix_gives_the_names_that_operators_know() {
        assert_eq!(
            KeyNames::new("rq:queue:").list(&QueueName::high()),
            "rq:queue:high_priority"
        );
    }

    #[test]
    fn a_queue_and_a_task_type_are_found_by_their_list() {
        let keys = KeyNames::new("a:");
        let low = QueueName::low();
        assert_eq!(keys.read_list(&keys.list(&low)), Some((low.clone(), None)));
        assert_eq!(
            keys.read_list(&keys.type_list(&low, "task:backup")),
            Some((low, Some("task:backup")))
        );
        assert_eq!(keys.read_list("b:low_priority"), None);
    }

    #[test]
    fn the_list_of_parked_hints_follows_the_prefix() {
        let name = |prefix: &str| KeyNames::new(prefix).unroutable(&QueueName::low());
        assert_eq!(name("rq:queue:"), "rq:unroutable:low_priority");
        assert_eq!(name("staging:queue:"), "staging:unroutable:low_priority");
        assert_eq!(name("staging:"), "staging:unroutable:low_priority");
    }
}
