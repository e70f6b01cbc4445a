//! Priority aging: starved tasks, those at the head of a list that have waited longer than the limit, are
//! popped before the tasks of the class above. They stay in their own list until then.
//!
//! The leader publishes the number of starved heads of each list. A pop that takes them first subtracts what
//! it popped, in the same script, so between two publications no more are taken than were published. Ordinary
//! pops do not subtract: the next publication corrects the number, and until then as many younger heads may
//! be taken early.

use std::time::Duration;

use redis::Pipeline;

use super::{RedisQueues, Result};
use tasker_core::task::QueueName;

/// Returns for each of `queues` the position, from 1, of the queue whose starved heads may go before it: the
/// first queue of the class below that is served after it. 0 if there is none.
pub(super) fn starved_before(queues: &[QueueName]) -> Vec<usize> {
    let below = |place: usize| {
        let later = queues.iter().enumerate().skip(place + 1);
        let mut raised = later.filter(|(_, later)| later.class_above().as_ref() == queues.get(place));
        raised.next().map_or(0, |(place, _)| place + 1)
    };
    (0..queues.len()).map(below).collect()
}

impl RedisQueues {
    /// Publishes the numbers of starved heads of these lists. They expire after `ttl` unless they are
    /// published again.
    pub async fn publish_starved(&self, heads: &[(QueueName, u64)], ttl: Duration) -> Result<()> {
        let mut commands = Pipeline::new();
        for (queue, count) in heads {
            let key = self.keys().starved_heads(queue);
            match count {
                // 0 is deleted, not stored: a pop reads a missing key as 0, and most queues have none
                0 => commands.cmd("DEL").arg(key).ignore(),
                _ => commands
                    .cmd("SET")
                    .arg(key)
                    .arg(count)
                    .arg("PX")
                    .arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
                    .ignore(),
            };
        }
        if commands.is_empty() {
            return Ok(());
        }
        self.run(&commands).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns for each queue the one whose starved heads go before it.
    fn before(queues: &[&str]) -> Vec<Option<String>> {
        let names: Vec<QueueName> = queues
            .iter()
            .map(|name| QueueName::parse(name).expect("a name"))
            .collect();
        let places = starved_before(&names).into_iter();
        places
            .map(|place| place.checked_sub(1).map(|place| names[place].to_string()))
            .collect()
    }

    #[test]
    fn starved_heads_go_before_the_class_above() {
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(
            before(&["high", "default", "low"]),
            [name("default"), name("low_priority"), None]
        );
        assert_eq!(
            before(&["default", "team", "low"]),
            [name("low_priority"), None, None]
        );
    }

    #[test]
    fn no_aging_applies_where_the_class_above_is_not_served_or_not_served_first() {
        for queues in [&["high", "low"], &["low", "default"], &["default", "team"]] {
            assert_eq!(before(queues), [None, None], "{queues:?}");
        }
    }
}
