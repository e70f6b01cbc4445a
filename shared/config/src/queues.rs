//! The declared queues, and the queues that a worker claims from.

use std::time::Duration;

use tasker_core::task::limits::QUEUES;
use tasker_core::task::priority::QueueName;

use super::reader::Reader;

/// Maximum age limit: a month, beyond which priority aging is as good as off.
const AGE_LIMIT_MAX: Duration = Duration::from_hours(30 * 24);

/// The queues of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuesConfig {
    /// The queues that this configuration declares: the three classes, then the extra queues in their order.
    pub known: Vec<QueueName>,
    /// Time that a task waits before it is claimed as if one class higher; `None` is never.
    pub age_limit: Option<Duration>,
}

impl QueuesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut known = QueueName::classes().to_vec();
        let extra = reader.parse("EXTRA_QUEUES", |text| {
            let names = list(text).map(queue_name).collect::<Result<Vec<_>, _>>()?;
            if names.len() > QUEUES {
                return Err(format!("has {} queues; {QUEUES} are allowed", names.len()));
            }
            Ok(names)
        });
        for name in extra.unwrap_or_default() {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        let limit = reader.duration("PRIORITY_AGE_LIMIT", Duration::ZERO..=AGE_LIMIT_MAX);
        Self {
            known,
            age_limit: Some(limit).filter(|limit| !limit.is_zero()),
        }
    }
}

/// A queue that a worker claims from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSlots {
    /// The queue.
    pub queue: QueueName,
    /// Slots that only this queue may use.
    pub reserved: u32,
}

/// Reads `TASK_QUEUES`: names in order of priority, each with optional reserved slots. The worker checks that
/// the queues are declared once it has reached Postgres, which holds the declarations.
pub(super) fn read_task_queues(reader: &mut Reader<'_>) -> Vec<QueueSlots> {
    reader.parse("TASK_QUEUES", task_queues).unwrap_or_default()
}

fn task_queues(text: &str) -> Result<Vec<QueueSlots>, String> {
    let mut queues: Vec<QueueSlots> = Vec::new();
    for item in list(text) {
        let slots = queue_slots(item)?;
        if queues.iter().any(|other| other.queue == slots.queue) {
            return Err(format!("names queue `{}` twice", slots.queue.as_str()));
        }
        queues.push(slots);
    }
    if queues.is_empty() {
        Err("must name at least one queue".to_owned())
    } else {
        Ok(queues)
    }
}

fn queue_slots(item: &str) -> Result<QueueSlots, String> {
    let Some((name, slots)) = item.split_once(':') else {
        return Ok(QueueSlots {
            queue: queue_name(item)?,
            reserved: 0,
        });
    };
    match slots.trim().parse() {
        Ok(reserved) if reserved > 0 => Ok(QueueSlots {
            queue: queue_name(name.trim())?,
            reserved,
        }),
        _ => Err(format!("`{item}` must reserve at least one slot, as in {name}:2")),
    }
}

fn queue_name(name: &str) -> Result<QueueName, String> {
    QueueName::parse(name).map_err(|error| error.to_string())
}

/// Returns the items of a comma list, without empty ones.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, u32)>, String> {
        let queues = task_queues(text)?;
        Ok(queues
            .into_iter()
            .map(|slots| (slots.queue.as_str().to_owned(), slots.reserved))
            .collect())
    }

    #[test]
    fn order_aliases_and_reserved_slots_are_kept() {
        let queues = read("low, high:2,default").expect("valid");
        assert_eq!(
            queues,
            [
                ("low_priority".into(), 0),
                ("high_priority".into(), 2),
                ("default".into(), 0)
            ]
        );
    }

    #[test]
    fn a_queue_that_postgres_may_declare_is_taken_and_one_that_it_cannot_is_not() {
        assert!(read("default,urgent").is_ok());
        let error = read("default,Urgent").expect_err("no name");
        assert!(error.contains("`Urgent`"), "{error}");
    }

    #[test]
    fn a_queue_named_twice_is_rejected_also_by_its_alias() {
        assert!(read("high,high_priority").is_err());
    }

    #[test]
    fn slots_must_be_a_positive_number() {
        for text in ["default:0", "default:", "default:x", "default:-1", "", ","] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
