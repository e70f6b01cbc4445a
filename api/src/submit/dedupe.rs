//! Deduplicates the idempotency keys of one flush. A statement may contain each key once, so duplicates wait
//! for the first task with their key. Pure.

use std::collections::HashMap;

use tasker_store::insert::NewTask;

/// Returns for each task `None` if it goes into the statement, or, if it repeats a key, the index of the
/// first task with that key among those that go.
pub(super) fn dedupe<'a>(tasks: impl Iterator<Item = &'a NewTask>) -> Vec<Option<usize>> {
    let mut first_with: HashMap<(&str, &str), usize> = HashMap::new();
    let mut firsts = 0;
    let mut repeats = Vec::with_capacity(tasks.size_hint().0);
    for task in tasks {
        let first = match &task.key {
            Some(key) => *first_with.entry((&task.task_name, &key.key)).or_insert(firsts),
            None => firsts,
        };
        repeats.push((first != firsts).then_some(first));
        firsts += usize::from(first == firsts);
    }
    repeats
}

/// Returns true if the request of `task` has this fingerprint.
pub(super) fn same_request(task: &NewTask, fingerprint: &[u8]) -> bool {
    task.key
        .as_ref()
        .is_some_and(|key| key.fingerprint.as_slice() == fingerprint)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tasker_core::task::{QueueName, TaskId};
    use tasker_store::insert::{Due, NewKey};

    /// Returns a task with or without a key.
    pub(in crate::submit) fn task(name: &str, key: Option<&str>) -> NewTask {
        let id = TaskId::generate();
        NewTask {
            id,
            task_name: name.into(),
            queue: QueueName::default_class(),
            priority: 0,
            parameters: "{}".into(),
            metadata: "{}".into(),
            tags: Vec::new(),
            max_attempts: 1,
            timeout_seconds: 60.0,
            key: key.map(|key| NewKey {
                key: key.into(),
                fingerprint: [0; 32],
            }),
            correlation_id: id.to_string(),
            traceparent: None,
            due: Due::Now,
        }
    }

    #[test]
    fn a_task_that_repeats_a_key_waits_for_the_first_with_it() {
        let tasks = [
            task("a", Some("k")),
            task("a", None),
            task("a", Some("k")),
            task("b", Some("k")),
            task("a", None),
            task("b", Some("k")),
            task("a", Some("k")),
        ];
        assert_eq!(
            dedupe(tasks.iter()),
            [None, None, Some(0), None, None, Some(2), Some(0)]
        );
    }
}
