//! What a search is about: how many there are of each, which faults strike, and which protections are in place.

use crate::faults::Fault;

/// One search.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tasks that clients submit.
    pub tasks: usize,
    /// Worker processes. Each has one worker id at a time and never the same twice.
    pub processes: usize,
    /// Servers that believe they lead.
    pub leaders: usize,
    /// Kinds of fault that may strike.
    pub faults: Vec<Fault>,
    /// How many faults strike at most, of those kinds in any mixture, at any moment.
    pub fault_count: u8,
    /// Whether killed processes start again and stopped ones go on, some time. Otherwise those that are left must do.
    pub processes_return: bool,
    /// Runs lost with their worker at which a task is quarantined.
    pub crashes_max: u8,
    /// Attempts in all.
    pub max_attempts: u8,
    /// What keeps the faults from doing harm.
    pub protections: Protections,
}

impl Config {
    /// A search with every protection in place, one leader and two worker processes.
    pub fn new(tasks: usize, faults: &[Fault], fault_count: u8) -> Self {
        Self {
            tasks,
            processes: 2,
            leaders: 1,
            faults: faults.to_vec(),
            fault_count,
            processes_return: true,
            crashes_max: 3,
            max_attempts: 2,
            protections: Protections::ALL,
        }
    }

    /// The same with other protections.
    #[must_use]
    pub fn with(mut self, protections: Protections) -> Self {
        self.protections = protections;
        self
    }

    /// The same with so many leaders.
    #[must_use]
    pub fn leaders(mut self, leaders: usize) -> Self {
        self.leaders = leaders;
        self
    }

    /// The same with so many worker processes.
    #[must_use]
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }

    /// The same with processes that never come back.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.processes_return = false;
        self
    }

    /// The same with a quarantine after so many crashes.
    #[must_use]
    pub fn crashes_max(mut self, crashes: u8) -> Self {
        self.crashes_max = crashes;
        self
    }
}

/// What keeps faults from doing harm. Each can be taken away, and the tests show what happens then.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one clause of one statement, there or not there"
)]
pub struct Protections {
    /// What a worker's write about a run says of that run.
    pub fence: Fence,
    /// `claim`: `status = 'pending'`.
    pub claim_is_conditional: bool,
    /// `claim`: `EXISTS (… id = $1 AND status = 'alive')`.
    pub claim_asks_if_alive: bool,
    /// `claim_oldest`: rows are found without a hint (Hybrid). Without it the deployment is `EventDrivenOnly`.
    pub net: bool,
    /// The leader makes a list anew that lacks hints.
    pub rebuild: bool,
    /// A heartbeat returns what its worker runs in the table and does not hold.
    pub reclaim_lost_claims: bool,
    /// `reclaim_lost_claims`: `started_at < last_heartbeat`, so that a claim whose answer is on its way is left alone.
    pub take_back_spares_the_young: bool,
    /// `recover` decides in the statement that writes. Without it a leader reads, decides and then writes.
    pub recover_is_conditional: bool,
    /// `recover` looks at states in every pass. Without it only at what a worker ran when it was declared dead.
    pub recover_looks_at_states: bool,
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
        claim_asks_if_alive: true,
        net: true,
        rebuild: true,
        reclaim_lost_claims: true,
        take_back_spares_the_young: true,
        recover_is_conditional: true,
        recover_looks_at_states: true,
        insert_is_durable: true,
        complete_is_durable: true,
    };
}

/// What a worker's write about a run says of that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The row's task id, its run number and its worker id, as in Tasker.
    Full,
    /// Task id and run number: enough, were it not that a crash of Postgres makes a number come twice.
    WithoutWorker,
    /// The task id of a running row.
    TaskOnly,
    /// Nothing: the result is stored whatever the table says.
    Absent,
}
