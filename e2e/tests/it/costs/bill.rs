//! What a path cost.

use std::collections::BTreeMap;
use std::time::Duration;

/// The statements of the hot paths: a name, and a phrase that is in no other statement, with single spaces. One that is not
/// here goes by its text.
const STATEMENTS: [(&str, &str); 12] = [
    ("submit", "WITH durable AS MATERIALIZED"),
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
/// What no duty ever asks: on the bill however few they are.
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
/// How often the duties of the background repeat one statement or command in a second: twice what they do.
const DUTY_PER_SECOND: f64 = 2.0;
/// How often they may ask one in any time, however short: the start of a worker, and what each connection asks when it is new.
const DUTY_ONCE: f64 = 20.0;
/// Those that go over connections that are kept for them: one round trip each.
const OVER_KEPT: [&str; 5] = ["submit", "holders of keys", "claim", "complete", "end runs"];
/// Round trips to Postgres for any other statement: itself, and two pings before its connection is back in the pool. One is
/// the store's and bounded in time, the other sqlx's and not.
const TRIPS_OVER_POOL: u64 = 3;
/// Round trips that carry no statement: connections are made, and pinged when they have been idle. Batches, whose statements go
/// over the pool, ping as well.
const TRIPS_WITHOUT: u64 = 200;
/// Commands that scripts carry out: they take no round trip of their own.
const IN_SCRIPTS: [&str; 10] = [
    "exists", "get", "lindex", "llen", "lpop", "lpos", "lpush", "lrange", "lrem", "rpush",
];

/// How much of a statement without a name is shown.
const TEXT_SHOWN: usize = 200;

/// Calls by name.
pub(super) type Calls = BTreeMap<String, u64>;

/// What was counted while some work was done, duties of the background included.
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
    /// How long it took.
    pub(super) elapsed: Duration,
}

/// The cost of some work.
pub(super) struct Bill {
    /// Statements that Postgres carried out, without those of duties.
    pub(super) statements: Calls,
    /// Commands that Redis carried out, without those of duties.
    pub(super) commands: Calls,
    /// Everything that was counted.
    pub(super) all: Counts,
}

impl Bill {
    /// The bill for what was counted.
    ///
    /// # Panics
    /// If it took more round trips than its statements and commands are worth.
    pub(super) fn new(all: Counts) -> Self {
        let mut statements = Calls::new();
        for (text, calls) in &all.statements {
            *statements.entry(name_of(text)).or_default() += calls;
        }
        let bill = Self {
            statements: without_duties(statements, all.elapsed),
            commands: without_duties(all.commands.clone(), all.elapsed),
            all,
        };
        bill.assert_round_trips();
        bill
    }

    /// How often a statement was carried out.
    pub(super) fn statement(&self, name: &str) -> u64 {
        self.statements.get(name).copied().unwrap_or_default()
    }

    /// The same, with those that are few enough to be a duty's.
    pub(super) fn statement_in_all(&self, name: &str) -> u64 {
        let of_that_name = self
            .all
            .statements
            .iter()
            .filter(|(text, _)| name_of(text) == name);
        of_that_name.map(|(_, calls)| calls).sum()
    }

    /// How often a command was carried out.
    pub(super) fn command(&self, name: &str) -> u64 {
        self.commands.get(name).copied().unwrap_or_default()
    }

    /// How often statements were carried out, duties' among them.
    pub(super) fn statements_in_all(&self) -> u64 {
        self.all.statements.iter().map(|(_, calls)| calls).sum()
    }

    /// Asserts that nothing but these is on the bill.
    pub(super) fn assert_only(&self, statements: &[&str], commands: &[&str]) {
        for (calls, expected) in [(&self.statements, statements), (&self.commands, commands)] {
            let mut others = calls.keys().filter(|name| !expected.contains(&name.as_str()));
            assert_eq!(others.next(), None, "{self:#?}");
        }
    }

    /// Asserts that this many pushes are on the bill, and nothing else of Redis: a push is one script, which asks whether the queue
    /// is split and pushes.
    pub(super) fn assert_pushes(&self, pushes: u64) {
        self.assert_commands(&["eval", "exists", "rpush"]);
        assert_eq!(self.command("rpush"), pushes, "{self:#?}");
        // duties run scripts too
        assert!(self.command("eval") <= pushes + self.of_duties(), "{self:#?}");
    }

    /// The number of calls of one statement or command that duties may have made.
    pub(super) fn of_duties(&self) -> u64 {
        20 + 2 * self.all.elapsed.as_secs()
    }

    /// Asserts that no commands but these are on the bill.
    pub(super) fn assert_commands(&self, expected: &[&str]) {
        let mut others = self
            .commands
            .keys()
            .filter(|name| !expected.contains(&name.as_str()));
        assert_eq!(others.next(), None, "{self:#?}");
    }

    fn assert_round_trips(&self) {
        let over_kept: u64 = OVER_KEPT.iter().map(|name| self.statement(name)).sum();
        let over_pool = self.statements_in_all() - over_kept;
        let most = over_kept + over_pool * TRIPS_OVER_POOL + TRIPS_WITHOUT;
        assert!(self.all.postgres_trips <= most, "to Postgres: {self:#?}");
        // the states of queues ride along with a pop
        let commands = self
            .all
            .commands
            .iter()
            .filter(|(name, _)| name.as_str() != "mget" && !IN_SCRIPTS.contains(&name.as_str()));
        let most = commands.map(|(_, calls)| calls).sum::<u64>() + TRIPS_WITHOUT;
        assert!(self.all.redis_trips <= most, "to Redis: {self:#?}");
    }
}

impl std::fmt::Debug for Bill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bill")
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

/// The beginnings of texts that are long.
fn shortened(calls: &Calls) -> Vec<(String, u64)> {
    let short = |(text, calls): (&String, &u64)| (text.chars().take(TEXT_SHOWN).collect(), *calls);
    calls.iter().map(short).collect()
}

/// Calls as a test expects them.
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

/// What comes too often for a duty, or is none. So what is done for each task is on the bill, whether its name is known or not.
fn without_duties(mut calls: Calls, elapsed: Duration) -> Calls {
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    calls.retain(|name, calls| {
        let of_a_path = NEVER_A_DUTY.contains(&name.as_str()) && *calls > 0;
        of_a_path || *calls as f64 > DUTY_ONCE + DUTY_PER_SECOND * elapsed.as_secs_f64()
    });
    calls
}
