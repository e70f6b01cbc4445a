//! The plan of faults and their times from a seed. Pure, so that the seed of a failed run reproduces its
//! faults.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Number of servers.
pub(super) const SERVERS: usize = 2;
/// Number of servers and workers; the servers come first.
pub(super) const MEMBERS: usize = SERVERS + 5;

/// Time between the starts of two faults, so that about two are active at a time.
const GAP_MS: std::ops::Range<u64> = 600..2_600;
/// Duration of a fault: up to longer than `WORKER_TIMEOUT`, so that some workers are declared dead.
const LASTS_MS: std::ops::Range<u64> = 500..6_000;
/// Time without a fault on the same target after it was healed, for its recovery.
const REST: Duration = Duration::from_secs(1);
/// Delay of each chunk on a slow link.
const SLOW_MS: std::ops::Range<u64> = 20..300;
/// Number of attempts to draw a target without an active fault.
const TRIES: usize = 10;

/// A fault and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Time since the start of the run.
    pub(super) at: Duration,
    /// Duration until it is healed.
    pub(super) lasts: Duration,
    /// The fault.
    pub(super) fault: Fault,
}

/// An injected fault. Members are counted from 0, servers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL; restarted when the fault is healed.
    Kill(usize),
    /// SIGTERM; restarted as soon as it has ended.
    Terminate(usize),
    /// SIGSTOP.
    Pause(usize),
    /// The links of one member, or of all, to a store.
    Link(Option<usize>, Store, LinkFault),
    /// `FLUSHALL`.
    FlushRedis,
    /// Redis is killed and restarts empty.
    RestartRedis,
    /// SIGSTOP of Redis: it accepts connections and never responds.
    PauseRedis,
    /// All Postgres processes are killed; the next start runs crash recovery.
    CrashPostgres,
    /// Postgres is shut down and restarted.
    RestartPostgres,
    /// SIGKILL of the backend of one session: Postgres ends all others and runs crash recovery.
    KillBackend,
    /// `pg_terminate_backend` of every session.
    TerminateBackends,
    /// SIGSTOP of the postmaster: open sessions continue, new ones wait.
    PausePostgres,
}

/// The store that a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// Source of truth.
    Postgres,
    /// Wake-up hints.
    Redis,
}

/// A fault of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkFault {
    /// Connections are closed and rejected.
    Cut,
    /// Connections are closed once.
    Close,
    /// No bytes are forwarded, and connections stay open.
    Hang,
    /// Requests arrive, responses are lost.
    SwallowReplies,
    /// Each chunk is delayed.
    Slow(Duration),
}

/// A part of the system that has at most one fault at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Member(usize),
    Link(usize, Store),
    Redis,
    Postgres,
}

/// Returns the faults of `seed` within `length` in order of time, at most one per target at a time.
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
            // a shuffled deck, so that each kind occurs once before any repeats and short runs have them all
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

/// A kind of fault without its target.
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
    fn draw(self, rng: &mut StdRng) -> LinkFault {
        match self {
            Self::Cut => LinkFault::Cut,
            Self::Close => LinkFault::Close,
            Self::Hang => LinkFault::Hang,
            Self::SwallowReplies => LinkFault::SwallowReplies,
            Self::Slow => LinkFault::Slow(Duration::from_millis(rng.random_range(SLOW_MS))),
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

    /// Returns the kind of fault without its target, for counts.
    pub(super) fn kind(&self) -> String {
        let of = |member: usize| if member < SERVERS { "a server" } else { "a worker" };
        match self {
            Self::Kill(member) => format!("kill -9 of {}", of(*member)),
            Self::Terminate(member) => format!("SIGTERM to {}", of(*member)),
            Self::Pause(member) => format!("SIGSTOP of {}", of(*member)),
            Self::Link(member, store, fault) => {
                let links = if member.is_some() { "a link" } else { "all links" };
                let word = match fault {
                    LinkFault::Cut => "cut",
                    LinkFault::Close => "closed once",
                    LinkFault::Hang => "hung",
                    LinkFault::SwallowReplies => "without replies",
                    LinkFault::Slow(_) => "slow",
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

/// Returns the name of a member in the log of the run.
pub(super) fn name(member: usize) -> String {
    match member.checked_sub(SERVERS) {
        None => format!("server-{}", member + 1),
        Some(worker) => format!("worker-{}", worker + 1),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
