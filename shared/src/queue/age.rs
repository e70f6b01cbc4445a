//! Age: heads that have waited too long are popped as if they were one class higher, and stay in their own list until then.
//!
//! The leader publishes how many such heads each list has, and each pop out of turn takes what it popped off that number, in
//! one step. So between two publications no more is taken out of turn than was published. A number that was counted while
//! workers popped comes too late by what they popped meanwhile: so many younger heads of that list may follow out of turn.

use std::time::Duration;

use deadpool_redis::redis::Pipeline;

use super::{Keys, Queue, Result};
use crate::task::QueueName;

/// Pops from the first list that has any; does not wait for one.
///
/// ```text
/// KEYS[i]     -> a list, in the order in which they are looked at; behind the lists, the numbers of aged heads
/// ARGV[1]     -> most ids
/// ARGV[1 + i] -> which of KEYS is the number that limits what is taken of list i; 0 for none
/// Output      -> list, ids, and 1 if they were taken out of turn; nil if there is nothing
/// ```
pub(super) const POP_AGED_FIRST: &str = r"
for i = 1, #ARGV - 1 do
  local most = tonumber(ARGV[1])
  local aged = KEYS[tonumber(ARGV[1 + i])]
  if aged then
    most = math.min(most, tonumber(redis.call('GET', aged) or 0) or 0)
  end
  if most > 0 then
    local ids = redis.call('LPOP', KEYS[i], most)
    if ids then
      if not aged then return {KEYS[i], ids} end
      redis.call('DECRBY', aged, #ids)
      return {KEYS[i], ids, 1}
    elseif aged then
      redis.call('DEL', aged)
    end
  end
end
return false";

/// A list, and the place among the [`Order::aged`] of the number that limits what is taken of it.
type Turn = (String, Option<usize>);

/// The order in which lists are popped from when aged heads go first.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The lists; one whose aged heads are raised stands there twice.
    turns: Vec<Turn>,
    /// The keys of the numbers of aged heads.
    aged: Vec<String>,
}

impl Order {
    /// The order for a worker that serves `queues`: aged heads of a class come right before the class above it, if that is
    /// served too, and earlier.
    pub(super) fn new(keys: &Keys, queues: &[QueueName]) -> Self {
        let mut order = Self::default();
        for (place, queue) in queues.iter().enumerate() {
            let later = queues.iter().skip(place + 1);
            for raised in later.filter(|later| later.class_above().as_ref() == Some(queue)) {
                order.turns.push((keys.list(raised), Some(order.aged.len())));
                order.aged.push(keys.aged_heads(raised));
            }
            order.turns.push((keys.list(queue), None));
        }
        order
    }

    /// The keys of the numbers of aged heads: none where nothing can be raised.
    pub(super) fn aged(&self) -> &[String] {
        &self.aged
    }

    /// Adds the pop of up to `count` ids.
    pub(super) fn pop(&self, commands: &mut Pipeline, count: usize) {
        let pop = commands.cmd("EVAL").arg(POP_AGED_FIRST);
        pop.arg(self.turns.len() + self.aged.len());
        for (list, _) in &self.turns {
            pop.arg(list);
        }
        pop.arg(&self.aged).arg(count);
        for (_, aged) in &self.turns {
            pop.arg(aged.map_or(0, |place| self.turns.len() + place + 1));
        }
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

    /// The order in short: a star where only aged heads are taken.
    fn order(queues: &[&str]) -> Vec<String> {
        let names: Vec<QueueName> = queues
            .iter()
            .map(|name| QueueName::parse(name).expect("a name"))
            .collect();
        let order = Order::new(&Keys::new(""), &names);
        let star = |aged: Option<usize>| if aged.is_some() { "*" } else { "" };
        order
            .turns
            .iter()
            .map(|(list, aged)| format!("{list}{}", star(*aged)))
            .collect()
    }

    #[test]
    fn aged_heads_come_right_before_the_class_above() {
        let all = order(&["high", "default", "low"]);
        assert_eq!(
            all,
            ["default*", "high_priority", "low_priority*", "default", "low_priority"]
        );
        assert_eq!(
            order(&["default", "team", "low"]),
            ["low_priority*", "default", "team", "low_priority"]
        );
    }

    #[test]
    fn nothing_is_raised_where_the_class_above_is_not_served_or_not_served_first() {
        assert_eq!(order(&["high", "low"]), ["high_priority", "low_priority"]);
        assert_eq!(order(&["low", "default"]), ["low_priority", "default"]);
        assert_eq!(order(&["default", "team"]), ["default", "team"]);
    }
}
