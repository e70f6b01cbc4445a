//! What goes wrong, and when: from a seed. Pure, so that a seed of a failed run makes the same faults again.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Servers that run.
pub(super) const SERVERS: usize = 2;
/// Servers and workers that run; the servers come first.
pub(super) const MEMBERS: usize = SERVERS + 5;

/// Between the beginnings of two faults, so that about two are in force at a time.
const GAP_MS: std::ops::Range<u64> = 600..2_600;
/// How long a fault lasts: up to longer than the time after which a silent worker counts as dead.
const LASTS_MS: std::ops::Range<u64> = 500..6_000;
/// Nothing else is done to a target for so long after a fault: it has come back, or is about to.
const REST: Duration = Duration::from_secs(1);
/// How long each chunk of a slow link waits.
const SLOW_MS: std::ops::Range<u64> = 20..300;
/// How often another member is looked for when the first is busy with a fault.
const TRIES: usize = 10;

/// A fault and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Since the beginning.
    pub(super) at: Duration,
    /// Until it is healed.
    pub(super) lasts: Duration,
    /// What.
    pub(super) fault: Fault,
}

/// Something that goes wrong. Members are counted from 0, servers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL; started again when the fault is over.
    Kill(usize),
    /// SIGTERM; started again as soon as it has ended.
    Terminate(usize),
    /// SIGSTOP.
    Pause(usize),
    /// The links of one member, or of all, to a store.
    Link(Option<usize>, Store, Trouble),
    /// `FLUSHALL`.
    FlushRedis,
    /// Redis is killed and comes back empty.
    RestartRedis,
    /// SIGSTOP of Redis: it accepts and never answers.
    PauseRedis,
    /// All of Postgres ends at once and recovers at its next start.
    CrashPostgres,
    /// Postgres is shut down in order.
    RestartPostgres,
    /// SIGKILL of the process behind one session: Postgres ends all others and recovers.
    KillBackend,
    /// `pg_terminate_backend` of every session.
    TerminateBackends,
    /// SIGSTOP of the process that lets sessions in: old sessions go on, new ones wait.
    PausePostgres,
}

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// The truth.
    Postgres,
    /// The hints.
    Redis,
}

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Connections are closed and refused.
    Cut,
    /// Connections are closed once.
    Close,
    /// Nothing passes, nothing is closed.
    Hang,
    /// What is asked arrives, what is answered is lost.
    SwallowReplies,
    /// Each chunk waits so long.
    Slow(Duration),
}

/// One place that suffers one fault at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Member(usize),
    Link(usize, Store),
    Redis,
    Postgres,
}

/// The faults of `seed` within `length`, in order of time. No target suffers two at once.
pub(super) fn plan(seed: u64, length: Duration) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    let mut busy: Vec<(Target, Duration)> = Vec::new();
    let mut deck = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(rng.random_range(GAP_MS));
        let lasts = Duration::from_millis(rng.random_range(LASTS_MS));
        if at + lasts > length {
            return events;
        }
        if deck.is_empty() {
            // each kind comes once before any comes twice
            deck = CARDS.to_vec();
            deck.shuffle(&mut rng);
        }
        busy.retain(|(_, until)| *until > at);
        let free = |fault: &Fault| {
            fault
                .targets()
                .iter()
                .all(|target| busy.iter().all(|(taken, _)| taken != target))
        };
        let card = deck.pop().expect("it was just filled");
        if let Some(fault) = (0..TRIES).map(|_| card.draw(&mut rng)).find(free) {
            busy.extend(
                fault
                    .targets()
                    .into_iter()
                    .map(|target| (target, at + lasts + REST)),
            );
            events.push(Event { at, lasts, fault });
        } else {
            deck.insert(0, card);
        }
    }
}

/// A kind of fault, before it is known whom it hits.
#[derive(Debug, Clone, Copy)]
enum Card {
    Server(fn(usize) -> Fault),
    Worker(fn(usize) -> Fault),
    One(Store, Kind),
    All(Store, Kind),
    Fixed(Fault),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Cut,
    Close,
    Hang,
    SwallowReplies,
    Slow,
}

const CARDS: [Card; 33] = [
    Card::Server(Fault::Kill),
    Card::Server(Fault::Terminate),
    Card::Server(Fault::Pause),
    Card::Worker(Fault::Kill),
    Card::Worker(Fault::Kill),
    Card::Worker(Fault::Terminate),
    Card::Worker(Fault::Pause),
    Card::Worker(Fault::Pause),
    Card::One(Store::Postgres, Kind::Cut),
    Card::One(Store::Postgres, Kind::Close),
    Card::One(Store::Postgres, Kind::Hang),
    Card::One(Store::Postgres, Kind::SwallowReplies),
    Card::One(Store::Postgres, Kind::Slow),
    Card::One(Store::Redis, Kind::Cut),
    Card::One(Store::Redis, Kind::Close),
    Card::One(Store::Redis, Kind::Hang),
    Card::One(Store::Redis, Kind::SwallowReplies),
    Card::One(Store::Redis, Kind::Slow),
    Card::All(Store::Postgres, Kind::Cut),
    Card::All(Store::Postgres, Kind::Hang),
    Card::All(Store::Postgres, Kind::SwallowReplies),
    Card::All(Store::Redis, Kind::Cut),
    Card::All(Store::Redis, Kind::Hang),
    Card::All(Store::Redis, Kind::SwallowReplies),
    Card::Fixed(Fault::FlushRedis),
    Card::Fixed(Fault::FlushRedis),
    Card::Fixed(Fault::RestartRedis),
    Card::Fixed(Fault::PauseRedis),
    Card::Fixed(Fault::CrashPostgres),
    Card::Fixed(Fault::RestartPostgres),
    Card::Fixed(Fault::KillBackend),
    Card::Fixed(Fault::TerminateBackends),
    Card::Fixed(Fault::PausePostgres),
];

impl Card {
    fn draw(self, rng: &mut StdRng) -> Fault {
        match self {
            Self::Server(fault) => fault(rng.random_range(0..SERVERS)),
            Self::Worker(fault) => fault(rng.random_range(SERVERS..MEMBERS)),
            Self::One(store, kind) => Fault::Link(Some(rng.random_range(0..MEMBERS)), store, kind.draw(rng)),
            Self::All(store, kind) => Fault::Link(None, store, kind.draw(rng)),
            Self::Fixed(fault) => fault,
        }
    }
}

impl Kind {
    fn draw(self, rng: &mut StdRng) -> Trouble {
        match self {
            Self::Cut => Trouble::Cut,
            Self::Close => Trouble::Close,
            Self::Hang => Trouble::Hang,
            Self::SwallowReplies => Trouble::SwallowReplies,
            Self::Slow => Trouble::Slow(Duration::from_millis(rng.random_range(SLOW_MS))),
        }
    }
}

impl Fault {
    fn targets(&self) -> Vec<Target> {
        match *self {
            Self::Kill(member) | Self::Terminate(member) | Self::Pause(member) => {
                vec![Target::Member(member)]
            }
            Self::Link(Some(member), store, _) => vec![Target::Link(member, store)],
            Self::Link(None, store, _) => (0..MEMBERS).map(|member| Target::Link(member, store)).collect(),
            Self::FlushRedis | Self::RestartRedis | Self::PauseRedis => vec![Target::Redis],
            Self::CrashPostgres
            | Self::RestartPostgres
            | Self::KillBackend
            | Self::TerminateBackends
            | Self::PausePostgres => vec![Target::Postgres],
        }
    }

    /// What it is, whomever it hits: for counts.
    pub(super) fn kind(&self) -> String {
        let of = |member: usize| if member < SERVERS { "a server" } else { "a worker" };
        match self {
            Self::Kill(member) => format!("kill -9 of {}", of(*member)),
            Self::Terminate(member) => format!("SIGTERM to {}", of(*member)),
            Self::Pause(member) => format!("SIGSTOP of {}", of(*member)),
            Self::Link(member, store, trouble) => {
                let links = if member.is_some() { "a link" } else { "all links" };
                let word = match trouble {
                    Trouble::Cut => "cut",
                    Trouble::Close => "closed once",
                    Trouble::Hang => "hung",
                    Trouble::SwallowReplies => "without replies",
                    Trouble::Slow(_) => "slow",
                };
                format!("{links} to {store:?} {word}")
            }
            Self::FlushRedis => "FLUSHALL".to_owned(),
            Self::RestartRedis => "restart of Redis, empty".to_owned(),
            Self::PauseRedis => "SIGSTOP of Redis".to_owned(),
            Self::CrashPostgres => "crash of Postgres".to_owned(),
            Self::RestartPostgres => "restart of Postgres".to_owned(),
            Self::KillBackend => "kill -9 of a Postgres session".to_owned(),
            Self::TerminateBackends => "end of all Postgres sessions".to_owned(),
            Self::PausePostgres => "SIGSTOP of the postmaster".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind())?;
        match self {
            Self::Kill(member) | Self::Terminate(member) | Self::Pause(member) => {
                write!(f, " ({})", name(*member))
            }
            Self::Link(Some(member), _, _) => write!(f, " ({})", name(*member)),
            _ => Ok(()),
        }
    }
}

/// What a member is called in the journal.
pub(super) fn name(member: usize) -> String {
    match member.checked_sub(SERVERS) {
        None => format!("server-{}", member + 1),
        Some(worker) => format!("worker-{}", worker + 1),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
