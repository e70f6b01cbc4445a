//! The cost report of a code path: statements, commands and round trips.

use std::collections::BTreeMap;
use std::time::Duration;

/// Names of the statements of the hot paths, each with a phrase that no other statement contains, with single
/// spaces. Other statements are reported by their text.
const STATEMENTS: [(&str, &str); 12] = [
    ("submit", "INSERT INTO tasks (id, task_name, queue, priority"),
    ("claim", "WHERE t.id = ANY ($4::uuid[]) AND t.status::text ="),
    ("full claim", "WHERE id = ANY ($6::uuid[]) AND status::text ="),
    ("fallback poll", "HAVING count(*) = $10 AND NOT bool_and(known)"),
    ("complete", "AS i(id, result, report)"),
    ("end runs", "AS i(id, run, next, retry_seconds"),
    ("promote", "), promoted AS ( UPDATE tasks"),
    ("next due", "GREATEST(extract("),
    (
        "cancel",
        "SELECT status AS \"status: TaskStatus\", task_name, queue",
    ),
    ("holders of keys", "AS wanted(task_name, idempotency_key)"),
    (
        "record",
        "SELECT id AS \"id!: TaskId\", task_name AS \"task_name!\"",
    ),
    (
        "status",
        "SELECT status AS \"status!: TaskStatus\" FROM task_records",
    ),
];
/// Statements and commands that no duty sends, reported even if there are few.
const NEVER_A_DUTY: [&str; 10] = [
    "submit",
    "claim",
    "complete",
    "end runs",
    "cancel",
    "holders of keys",
    "record",
    "status",
    "rpush",
    "publish",
];
/// Maximum rate at which background duties repeat a statement or command: twice the actual one.
const DUTY_PER_SECOND: f64 = 2.0;
/// Maximum number of repetitions in any short time: the start of a worker, and the setup of new connections.
const DUTY_ONCE: f64 = 20.0;
/// Statements over the connection cache: one round trip each.
const OVER_CACHE: [&str; 5] = ["submit", "holders of keys", "claim", "complete", "end runs"];
/// Round trips to Postgres of any other statement: itself, and two pings before its connection returns to the
/// pool, one by the store with a timeout and one by sqlx without.
const TRIPS_OVER_POOL: u64 = 3;
/// Round trips without a statement: opening connections, and pings of idle ones. Batches use the pool, which
/// pings as well.
const TRIPS_WITHOUT: u64 = 200;
/// Commands that scripts run, without a round trip of their own.
const IN_SCRIPTS: [&str; 10] = [
    "exists", "get", "lindex", "llen", "lpop", "lpos", "lpush", "lrange", "lrem", "rpush",
];

/// Maximum number of characters shown of a statement without a name.
const TEXT_SHOWN: usize = 200;

/// Number of calls by name.
pub(super) type Calls = BTreeMap<String, u64>;

/// The raw counts during some work, including those of background duties.
pub(super) struct Counts {
    /// Statements by their text.
    pub(super) statements: Vec<(String, u64)>,
    /// Commands by their name.
    pub(super) commands: Calls,
    /// Round trips to Postgres.
    pub(super) postgres_trips: u64,
    /// Round trips to Redis.
    pub(super) redis_trips: u64,
    /// Bytes of WAL.
    pub(super) wal: u64,
    /// Elapsed time.
    pub(super) elapsed: Duration,
}

/// The cost of some work, without background duties.
pub(super) struct CostReport {
    /// Statements, without those of duties.
    pub(super) statements: Calls,
    /// Redis commands, without those of duties.
    pub(super) commands: Calls,
    /// The raw counts.
    pub(super) all: Counts,
}

impl CostReport {
    /// Computes the cost report of raw counts.
    ///
    /// # Panics
    /// If there were more round trips than the statements and commands explain.
    pub(super) fn new(all: Counts) -> Self {
        let mut statements = Calls::new();
        for (text, calls) in &all.statements {
            *statements.entry(name_of(text)).or_default() += calls;
        }
        let cost = Self {
            statements: without_duties(statements, all.elapsed),
            commands: without_duties(all.commands.clone(), all.elapsed),
            all,
        };
        cost.assert_round_trips();
        cost
    }

    /// Returns the number of calls of a statement.
    pub(super) fn statement(&self, name: &str) -> u64 {
        self.statements.get(name).copied().unwrap_or_default()
    }

    /// Returns the number of calls of a statement in the raw counts.
    pub(super) fn statement_in_all(&self, name: &str) -> u64 {
        let of_that_name = self
            .all
            .statements
            .iter()
            .filter(|(text, _)| name_of(text) == name);
        of_that_name.map(|(_, calls)| calls).sum()
    }

    /// Returns the number of calls of a command.
    pub(super) fn command(&self, name: &str) -> u64 {
        self.commands.get(name).copied().unwrap_or_default()
    }

    /// Returns the number of calls of all statements, including those of duties.
    pub(super) fn statements_in_all(&self) -> u64 {
        self.all.statements.iter().map(|(_, calls)| calls).sum()
    }

    /// Asserts that the report contains only these statements and commands.
    pub(super) fn assert_only(&self, statements: &[&str], commands: &[&str]) {
        for (calls, expected) in [(&self.statements, statements), (&self.commands, commands)] {
            let mut others = calls.keys().filter(|name| !expected.contains(&name.as_str()));
            assert_eq!(others.next(), None, "{self:#?}");
        }
    }

    /// Asserts that the report contains this number of pushes and no other commands. A push is one script,
    /// which checks whether the queue is split and pushes.
    pub(super) fn assert_pushes(&self, pushes: u64) {
        self.assert_commands(&["eval", "exists", "rpush"]);
        assert_eq!(self.command("rpush"), pushes, "{self:#?}");
        // duties run scripts too
        assert!(self.command("eval") <= pushes + self.of_duties(), "{self:#?}");
    }

    /// Returns the maximum number of calls of one statement or command by duties.
    pub(super) fn of_duties(&self) -> u64 {
        20 + 2 * self.all.elapsed.as_secs()
    }

    /// Asserts that the report contains only these commands.
    pub(super) fn assert_commands(&self, expected: &[&str]) {
        let mut others = self
            .commands
            .keys()
            .filter(|name| !expected.contains(&name.as_str()));
        assert_eq!(others.next(), None, "{self:#?}");
    }

    fn assert_round_trips(&self) {
        let over_cache: u64 = OVER_CACHE.iter().map(|name| self.statement(name)).sum();
        let over_pool = self.statements_in_all() - over_cache;
        let max = over_cache + over_pool * TRIPS_OVER_POOL + TRIPS_WITHOUT;
        assert!(self.all.postgres_trips <= max, "to Postgres: {self:#?}");
        // `mget` of queue states shares the round trip of a pop
        let commands = self
            .all
            .commands
            .iter()
            .filter(|(name, _)| name.as_str() != "mget" && !IN_SCRIPTS.contains(&name.as_str()));
        let max = commands.map(|(_, calls)| calls).sum::<u64>() + TRIPS_WITHOUT;
        assert!(self.all.redis_trips <= max, "to Redis: {self:#?}");
    }
}

impl std::fmt::Debug for CostReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CostReport")
            .field("statements", &shortened(&self.statements))
            .field("commands", &self.commands)
            .field("statements_in_all", &self.statements_in_all())
            .field("commands_in_all", &self.all.commands)
            .field("postgres_trips", &self.all.postgres_trips)
            .field("redis_trips", &self.all.redis_trips)
            .field("wal", &self.all.wal)
            .field("elapsed", &self.all.elapsed)
            .finish()
    }
}

/// Truncates long texts.
fn shortened(calls: &Calls) -> Vec<(String, u64)> {
    let short = |(text, calls): (&String, &u64)| (text.chars().take(TEXT_SHOWN).collect(), *calls);
    calls.iter().map(short).collect()
}

/// Builds the calls that a test expects.
pub(super) fn calls<const N: usize>(expected: [(&str, u64); N]) -> Calls {
    expected
        .into_iter()
        .map(|(name, calls)| (name.to_owned(), calls))
        .collect()
}

fn name_of(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    let known = STATEMENTS.iter().find(|(_, phrase)| text.contains(phrase));
    known.map_or(text, |(name, _)| (*name).to_owned())
}

/// Removes calls that are rare enough for background duties. Everything done for each task stays, even under
/// an unknown name.
fn without_duties(mut calls: Calls, elapsed: Duration) -> Calls {
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    calls.retain(|name, calls| {
        let of_a_path = NEVER_A_DUTY.contains(&name.as_str()) && *calls > 0;
        of_a_path || *calls as f64 > DUTY_ONCE + DUTY_PER_SECOND * elapsed.as_secs_f64()
    });
    calls
}
