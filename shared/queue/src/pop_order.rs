//! The order in which a worker pops its queues, and the keys of these pops, for plain queues and for queues
//! that are split by task type.

use std::time::Duration;

use redis::Pipeline;

use super::age::starved_before;
use super::{KeyNames, scripts};
use tasker_core::task::QueueName;

/// The value of a queue's state while its type lists are popped.
pub(super) const SPLIT: &str = "split";

/// The keys of one queue.
#[derive(Debug)]
struct QueueKeys {
    name: QueueName,
    list: String,
    state: String,
    split_lists: String,
    starved: String,
    type_lists: String,
    /// Whether it was split at the last read of its state.
    is_split: bool,
}

/// The queues of a popper, in the order in which they are popped.
#[derive(Debug)]
pub(super) struct PopOrder {
    queues: Vec<QueueKeys>,
    /// For each queue the position, from 1, of the one whose starved heads may go before it; 0 for none.
    before: Vec<usize>,
    task_names: Vec<String>,
}

impl PopOrder {
    pub(super) fn new(keys: &KeyNames, queues: &[QueueName], task_names: &[String]) -> Self {
        let mut order = Self {
            queues: Vec::new(),
            before: Vec::new(),
            task_names: task_names.to_vec(),
        };
        order.serve(keys, queues);
        order
    }

    /// Changes the queues; their known states are kept.
    pub(super) fn serve(&mut self, keys: &KeyNames, queues: &[QueueName]) {
        let split: Vec<&QueueName> = self
            .queues
            .iter()
            .filter(|queue| queue.is_split)
            .map(|queue| &queue.name)
            .collect();
        let queue_keys = |name: &QueueName| QueueKeys {
            name: name.clone(),
            list: keys.list(name),
            state: keys.split(name),
            split_lists: keys.split_lists(name),
            starved: keys.starved_heads(name),
            type_lists: keys.type_lists(name),
            is_split: split.contains(&name),
        };
        self.queues = queues.iter().map(queue_keys).collect();
        self.before = starved_before(queues);
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(super) fn any_split(&self) -> bool {
        self.queues.iter().any(|queue| queue.is_split)
    }

    /// Returns whether starved heads of one queue may go before another.
    pub(super) fn applies_aging(&self) -> bool {
        self.before.iter().any(|place| *place > 0)
    }

    /// Returns the lists that a pop takes from, each with its queue.
    pub(super) fn lists(&self) -> Vec<(String, QueueName)> {
        let mut lists = Vec::new();
        for queue in &self.queues {
            lists.push((queue.list.clone(), queue.name.clone()));
            if queue.is_split {
                let types = self.task_names.iter();
                lists.extend(types.map(|name| (format!("{}{name}", queue.type_lists), queue.name.clone())));
            }
        }
        lists
    }

    /// Adds a pop that waits up to `block` for an id: on the main lists of plain queues, on the worker's own
    /// type lists of split ones. Afterwards the main lists of split queues are adjusted to the length of
    /// their type lists.
    pub(super) fn add_blocking_pop(&self, commands: &mut Pipeline, block: Duration, count: usize) {
        let mut lists = Vec::new();
        for queue in &self.queues {
            if queue.is_split {
                lists.extend(
                    self.task_names
                        .iter()
                        .map(|name| format!("{}{name}", queue.type_lists)),
                );
            } else {
                lists.push(queue.list.clone());
            }
        }
        commands
            .cmd("BLMPOP")
            .arg(block.as_secs_f64())
            .arg(lists.len())
            .arg(lists)
            .arg("LEFT")
            .arg("COUNT")
            .arg(count);
        // `BLMPOP` took from type lists alone, so their main lists count too many until this
        let split = self.queues.iter().filter(|queue| queue.is_split);
        let keys: Vec<&str> = split
            .flat_map(|queue| [&*queue.list, &*queue.state, &*queue.split_lists])
            .collect();
        if !keys.is_empty() {
            commands
                .cmd("EVAL")
                .arg(scripts::balance())
                .arg(keys.len())
                .arg(keys)
                .ignore();
        }
    }

    /// Adds the lengths of the main lists.
    pub(super) fn add_lengths(&self, commands: &mut Pipeline) {
        for queue in &self.queues {
            commands.cmd("LLEN").arg(&queue.list);
        }
    }

    /// Adds a pop that does not wait.
    pub(super) fn add_pop(&self, commands: &mut Pipeline, count: usize, starved_first: bool) {
        let keys: Vec<&str> = self
            .queues
            .iter()
            .flat_map(|queue| [&*queue.list, &*queue.state, &*queue.split_lists, &*queue.starved])
            .collect();
        let script = commands
            .cmd("EVAL")
            .arg(scripts::pop())
            .arg(keys.len())
            .arg(keys)
            .arg(count);
        for place in &self.before {
            // 0 for each queue turns aging off, so that one script serves both ways
            script.arg(if starved_first { *place } else { 0 });
        }
        for queue in &self.queues {
            script.arg(&queue.type_lists);
        }
        script.arg(&self.task_names);
    }

    /// Adds a read of the states that [`Self::note`] takes.
    pub(super) fn add_states(&self, commands: &mut Pipeline) {
        let states = self.queues.iter().map(|queue| &*queue.state);
        let keys: Vec<&str> = states.chain(self.starved_keys()).collect();
        commands.cmd("MGET").arg(keys);
    }

    /// Stores the states of the queues; returns whether there are starved heads that could be taken first.
    pub(super) fn note(&mut self, told: &[Option<String>]) -> bool {
        let (states, starved) = told.split_at(self.queues.len().min(told.len()));
        for (queue, state) in self.queues.iter_mut().zip(states) {
            // a worker without task types has no type lists to pop: it pops the main list
            queue.is_split = state.as_deref() == Some(SPLIT) && !self.task_names.is_empty();
        }
        let counts = starved
            .iter()
            .flatten()
            .filter_map(|count| count.parse::<i64>().ok());
        counts.max() > Some(0)
    }

    /// Returns the keys of the numbers of starved heads that can be taken first.
    fn starved_keys(&self) -> impl Iterator<Item = &str> {
        let places = self.before.iter().filter_map(|place| place.checked_sub(1));
        places
            .filter_map(|place| self.queues.get(place))
            .map(|queue| &*queue.starved)
    }
}
