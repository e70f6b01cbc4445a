//! The list of the declared queues in memory.

use std::sync::{Arc, PoisonError, RwLock};

use tasker_core::task::QueueName;

/// The list of the declared queues: the classes first. All clones share one list, so users take a snapshot
/// each time.
#[derive(Debug, Clone)]
pub struct DeclaredQueues(Arc<RwLock<Arc<[QueueName]>>>);

impl DeclaredQueues {
    /// Returns the queues that are declared now.
    pub fn snapshot(&self) -> Arc<[QueueName]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns true if `name` is in the list.
    pub fn contains(&self, name: &QueueName) -> bool {
        self.snapshot().contains(name)
    }

    /// Replaces the list, for all clones.
    pub fn replace(&self, names: Vec<QueueName>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names.into();
    }
}

impl From<Vec<QueueName>> for DeclaredQueues {
    fn from(names: Vec<QueueName>) -> Self {
        Self(Arc::new(RwLock::new(names.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_list() {
        let declared = DeclaredQueues::from(QueueName::classes().to_vec());
        let clone = declared.clone();
        declared.replace(vec![QueueName::high()]);
        assert_eq!(*clone.snapshot(), [QueueName::high()]);
        assert!(!clone.contains(&QueueName::low()));
    }
}
