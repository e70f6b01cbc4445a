//! Age: heads that have waited too long are popped before those of the class above, and stay in their own list until then.
//!
//! The leader publishes how many such heads each list has. A pop out of turn takes what it popped off that number, in one
//! step, so between two publications no more is taken out of turn than was published. Heads that are popped in their turn
//! are not taken off: so many younger ones may follow out of turn until the next publication.

use std::time::Duration;

use deadpool_redis::redis::Pipeline;

use super::{Keys, Queue, Result};
use crate::task::QueueName;

/// Pops from the first list that has any, or the aged heads of the class below in its stead; does not wait.
///
/// ```text
/// KEYS[i]     -> a list, in the order of priority
/// KEYS[n + i] -> how many of its heads are aged, n being the number of lists
/// ARGV[1]     -> most ids
/// ARGV[1 + i] -> which list's aged heads go before list i; 0 for none
/// Output      -> list, ids, and 1 if they were taken out of turn; nil if there is nothing
/// ```
const POP_AGED_FIRST: &str = r"
local most, lists = tonumber(ARGV[1]), #ARGV - 1
for i = 1, lists do
  if redis.call('LLEN', KEYS[i]) > 0 then
    local below = tonumber(ARGV[1 + i])
    if below > 0 then
      local aged = math.min(most, tonumber(redis.call('GET', KEYS[lists + below]) or 0) or 0)
      if aged > 0 then
        local ids = redis.call('LPOP', KEYS[below], aged)
        if ids then
          redis.call('DECRBY', KEYS[lists + below], #ids)
          return {KEYS[below], ids, 1}
        end
        redis.call('DEL', KEYS[lists + below])
      end
    end
    return {KEYS[i], redis.call('LPOP', KEYS[i], most)}
  end
end
return false";

/// The order in which lists are popped from when aged heads go first.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The lists, then the numbers of their aged heads.
    keys: Vec<String>,
    /// For each list the place, from 1, of the one whose aged heads go before it; 0 for none.
    below: Vec<usize>,
    /// The numbers of aged heads that matter: none where nothing can be raised.
    aged: Vec<String>,
}

impl Order {
    /// The order for a worker that serves `queues`: aged heads go before the class above theirs, where that is served too, and
    /// first.
    pub(super) fn new(keys: &Keys, queues: &[QueueName]) -> Self {
        let below = |place: usize| {
            let later = queues.iter().enumerate().skip(place + 1);
            let mut raised = later.filter(|(_, later)| later.class_above().as_ref() == queues.get(place));
            raised.next().map(|(place, _)| place)
        };
        let below: Vec<Option<usize>> = (0..queues.len()).map(below).collect();
        let lists = queues.iter().map(|queue| keys.list(queue));
        let heads: Vec<String> = queues.iter().map(|queue| keys.aged_heads(queue)).collect();
        let aged = below.iter().flatten();
        Self {
            aged: aged.filter_map(|place| heads.get(*place)).cloned().collect(),
            keys: lists.chain(heads.iter().cloned()).collect(),
            below: below
                .into_iter()
                .map(|place| place.map_or(0, |place| place + 1))
                .collect(),
        }
    }

    /// The keys of the numbers of aged heads: none where nothing can be raised.
    pub(super) fn aged(&self) -> &[String] {
        &self.aged
    }

    /// Adds the pop of up to `count` ids.
    pub(super) fn pop(&self, commands: &mut Pipeline, count: usize) {
        commands
            .cmd("EVAL")
            .arg(POP_AGED_FIRST)
            .arg(self.keys.len())
            .arg(&self.keys)
            .arg(count)
            .arg(&self.below);
    }
}

impl Queue {
    /// Publishes how many heads of these lists are aged. After `ttl` none are, unless it is published again.
    pub async fn publish_aged(&self, heads: &[(QueueName, u64)], ttl: Duration) -> Result<()> {
        let mut commands = Pipeline::new();
        for (queue, count) in heads {
            let key = self.keys().aged_heads(queue);
            match count {
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

    /// For each queue the one whose aged heads go before it.
    fn before(queues: &[&str]) -> Vec<Option<String>> {
        let names: Vec<QueueName> = queues
            .iter()
            .map(|name| QueueName::parse(name).expect("a name"))
            .collect();
        let order = Order::new(&Keys::new(""), &names);
        assert_eq!(order.keys.len(), names.len() * 2);
        let below = order.below.iter();
        below
            .map(|place| place.checked_sub(1).map(|place| names[place].to_string()))
            .collect()
    }

    #[test]
    fn aged_heads_go_before_the_class_above() {
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
    fn nothing_is_raised_where_the_class_above_is_not_served_or_not_served_first() {
        for queues in [&["high", "low"], &["low", "default"], &["default", "team"]] {
            assert_eq!(before(queues), [None, None], "{queues:?}");
        }
    }
}
