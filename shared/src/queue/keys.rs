//! Every name that Tasker uses in Redis.

use crate::task::QueueName;

/// Makes the keys of one deployment.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// `prefix` is `QUEUE_KEY_PREFIX`, `rq:queue:` by default: two deployments on one Redis differ in it.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// LIST of task ids as text: pushed at the tail, popped from the head; its length is the waiting depth.
    pub fn list(&self, queue: &QueueName) -> String {
        format!("{}{queue}", self.prefix)
    }

    /// Channel on which the id of a running task is published when somebody cancels it. Queue names hold no `:`, so no list
    /// can have this name.
    pub fn cancellations(&self) -> String {
        format!("{}events:cancel", self.prefix)
    }

    /// LIST that is being made to replace the list of `queue`, by `maker`.
    pub fn unfinished_list(&self, queue: &QueueName, maker: &str) -> String {
        format!("{}rebuild:{queue}:{maker}", self.prefix)
    }

    /// STRING: how many heads of the list of `queue` have waited so long that they are taken out of turn.
    pub fn aged_heads(&self, queue: &QueueName) -> String {
        format!("{}aged:{queue}", self.prefix)
    }

    /// STRING: which start of Redis the lists were right on; gone when Redis lost its data.
    pub fn mark(&self) -> String {
        format!("{}rebuild:mark", self.prefix)
    }

    /// LIST that nobody ever makes: what is pushed to it only if it exists shows whether Redis takes pushes.
    pub fn never_made(&self) -> String {
        format!("{}probe:none", self.prefix)
    }

    /// The queue whose list has this key.
    pub fn queue_of(&self, list: &str) -> Option<QueueName> {
        QueueName::parse(list.strip_prefix(&self.prefix)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_prefix_gives_the_names_that_operators_know() {
        assert_eq!(
            Keys::new("rq:queue:").list(&QueueName::high()),
            "rq:queue:high_priority"
        );
    }

    #[test]
    fn a_queue_is_found_by_its_list() {
        let keys = Keys::new("a:");
        assert_eq!(
            keys.queue_of(&keys.list(&QueueName::low())),
            Some(QueueName::low())
        );
        assert_eq!(keys.queue_of("b:low_priority"), None);
    }
}
