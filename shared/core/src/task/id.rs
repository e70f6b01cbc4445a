use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a task: a UUIDv7 (RFC 9562), so that ids sort by the time of their generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

impl TaskId {
    /// Less than every id.
    pub const MIN: Self = Self(Uuid::nil());
    /// Greater than every id.
    pub const MAX: Self = Self(Uuid::max());

    /// Returns the lowest id that can be generated at a time, in milliseconds since 1970.
    pub fn first_at(unix_millis: i64) -> Self {
        // a UUIDv7 has 48 bits for the time
        const LATEST: u64 = (1 << 48) - 1;
        let millis = u64::try_from(unix_millis).unwrap_or(0).min(LATEST);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// Generates an id. The ids of one process are strictly increasing, also within a millisecond.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where ids are made"
    )]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the time at which the id was generated, in milliseconds since 1970, by the clock of the
    /// generating process; 0 for an id that is not a UUIDv7.
    pub fn unix_millis(self) -> i64 {
        let Some(timestamp) = self.0.get_timestamp().filter(|_| self.0.get_version_num() == 7) else {
            return 0;
        };
        let (seconds, nanos) = timestamp.to_unix();
        i64::try_from(seconds).unwrap_or(0) * 1000 + i64::from(nanos / 1_000_000)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_one_after_the_other_rise() {
        let ids: Vec<TaskId> = (0..10_000).map(|_| TaskId::generate()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_id_contains_its_time_and_a_foreign_one_yields_the_epoch() {
        let known: TaskId = "018f0000-0000-7000-8000-000000000000".parse().expect("a UUID");
        assert_eq!(known.unix_millis(), 0x018f_0000_0000);
        assert_eq!(TaskId(Uuid::nil()).unix_millis(), 0);
    }

    #[test]
    fn the_first_id_of_a_time_is_below_every_id_made_then() {
        let id = TaskId::generate();
        assert!(TaskId::first_at(id.unix_millis()) <= id);
        assert!(TaskId::first_at(id.unix_millis() + 1) > id);
        assert_eq!(TaskId::first_at(-5).unix_millis(), 0);
    }
}
