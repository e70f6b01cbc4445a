//! The parameters of a search: numbers of tasks, workers and leaders, injected faults, and protections in
//! place.

use crate::fault::Fault;

/// The parameters of one search.
#[derive(Debug, Clone)]
pub struct Config {
    /// Number of tasks that clients submit.
    pub tasks: usize,
    /// Number of worker processes. Each has one worker id at a time, and never the same twice.
    pub processes: usize,
    /// Number of servers that act as leader.
    pub leaders: usize,
    /// Kinds of faults to inject.
    pub faults: Vec<Fault>,
    /// Maximum number of injected faults, in any mixture and at any moment.
    pub fault_count: u8,
    /// True if killed processes restart and stopped ones resume eventually. Otherwise the remaining ones must
    /// suffice.
    pub processes_restart: bool,
    /// Number of crashes at which a task is quarantined.
    pub crashes_max: u8,
    /// Maximum number of attempts of a task.
    pub max_attempts: u8,
    /// The protections in place.
    pub protections: Protections,
}

impl Config {
    /// Returns a search with every protection, one leader and two worker processes.
    pub fn new(tasks: usize, faults: &[Fault], fault_count: u8) -> Self {
        Self {
            tasks,
            processes: 2,
            leaders: 1,
            faults: faults.to_vec(),
            fault_count,
            processes_restart: true,
            crashes_max: 3,
            max_attempts: 2,
            protections: Protections::ALL,
        }
    }

    /// Returns the same search with other protections.
    #[must_use]
    pub fn with(mut self, protections: Protections) -> Self {
        self.protections = protections;
        self
    }

    /// Returns the same search with this number of leaders.
    #[must_use]
    pub fn leaders(mut self, leaders: usize) -> Self {
        self.leaders = leaders;
        self
    }

    /// Returns the same search with this number of worker processes.
    #[must_use]
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }

    /// Returns the same search with processes that neither restart nor resume.
    #[must_use]
    pub fn without_restarts(mut self) -> Self {
        self.processes_restart = false;
        self
    }

    /// Returns the same search with a quarantine after this number of crashes.
    #[must_use]
    pub fn crashes_max(mut self, crashes: u8) -> Self {
        self.crashes_max = crashes;
        self
    }
}

/// The protections against faults. Tests remove each of them and show the resulting counterexample.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one clause of one statement, present or absent"
)]
pub struct Protections {
    /// The condition of a worker's writes about a run.
    pub fence: Fence,
    /// `claim`: `status = 'pending'`.
    pub claim_is_conditional: bool,
    /// `claim`: `EXISTS (… id = $1 AND status = 'alive')`.
    pub claim_checks_liveness: bool,
    /// `claim_oldest`: fallback polls find rows without a hint (Hybrid). Without it the deployment is
    /// `EventDrivenOnly`.
    pub polling_fallback: bool,
    /// The leader rebuilds a list that lacks hints.
    pub rebuild: bool,
    /// A heartbeat requeues runs that the table gives to its worker and that are not in flight there.
    pub reclaim_lost_claims: bool,
    /// `reclaim_lost_claims`: `started_at < last_heartbeat`, which excludes claims whose response is still in
    /// flight.
    pub reclaim_spares_recent_claims: bool,
    /// `recover` decides in the statement that writes. Without it a leader reads first and writes later.
    pub recover_is_conditional: bool,
    /// Each run of `recover` checks all running rows. Without it only those of the worker just declared dead.
    pub recover_checks_states: bool,
    /// `insert` commits synchronously.
    pub insert_is_durable: bool,
    /// `complete` commits synchronously.
    pub complete_is_durable: bool,
}

impl Protections {
    /// Tasker as it is.
    pub const ALL: Self = Self {
        fence: Fence::Full,
        claim_is_conditional: true,
        claim_checks_liveness: true,
        polling_fallback: true,
        rebuild: true,
        reclaim_lost_claims: true,
        reclaim_spares_recent_claims: true,
        recover_is_conditional: true,
        recover_checks_states: true,
        insert_is_durable: true,
        complete_is_durable: true,
    };
}

/// The condition that a worker's write about a run must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The row's task id, its run number and its worker id, as in Tasker.
    Full,
    /// Task id and run number; insufficient, since a crash of Postgres can repeat a run number.
    WithoutWorker,
    /// The task id of a running row.
    TaskOnly,
    /// No condition: the result is stored in any case.
    Absent,
}
