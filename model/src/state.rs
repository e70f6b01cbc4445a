//! The state of the model: both tables, the list, every process, and the messages in flight between them.

/// A task, by its position in [`System::tasks`].
pub type TaskNo = usize;

/// A worker id. A process gets a new, never used one when it restarts or was declared dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    /// Its process, by its position in [`System::processes`].
    pub process: usize,
    /// The number of ids that the process had before.
    pub life: u8,
}

/// A run as a worker identifies it. With the worker id it is the fence of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// The task.
    pub task: TaskNo,
    /// The value of `runs` that the claim returned.
    pub number: u8,
}

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for a claim.
    Pending,
    /// Claimed by a worker.
    Running,
    /// Failed, and due for another attempt.
    RetryScheduled,
    /// Failed finally, or quarantined.
    DeadLetter,
    /// Completed: only in `finished_tasks`.
    Completed,
}

/// A row of `tasks`, with one count from `task_events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its state.
    pub status: Status,
    /// Number of claims.
    pub runs: u8,
    /// Number of runs that the handler completed or failed.
    pub attempts: u8,
    /// Number of runs lost with their worker.
    pub crash_count: u8,
    /// Number of released and reclaimed runs, from the history.
    pub returned: u8,
    /// The worker that runs it.
    pub worker: Option<WorkerId>,
}

impl Row {
    /// The row that `insert` writes.
    pub const NEW: Self = Self {
        status: Status::Pending,
        runs: 0,
        attempts: 0,
        crash_count: 0,
        returned: 0,
        worker: None,
    };

    /// Termination its run: clears the worker, which only running rows have.
    pub fn leave(&mut self, status: Status) {
        self.status = status;
        self.worker = None;
    }
}

/// A task in both tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// True after the client received the acceptance.
    pub acknowledged: bool,
    /// Its row in `tasks`.
    pub row: Option<Row>,
    /// Its rows in `finished_tasks`; more than one violates an invariant.
    pub finished: Vec<Row>,
    /// Number of completions that were visible, including those that a crash of Postgres undid.
    pub completions: u8,
}

impl Task {
    /// Returns true in a final state.
    pub fn is_over(&self) -> bool {
        match self.row {
            Some(row) => row.status == Status::DeadLetter,
            None => !self.finished.is_empty(),
        }
    }

    /// Returns true while it waits for a claim.
    pub fn is_pending(&self) -> bool {
        self.row.is_some_and(|row| row.status == Status::Pending)
    }
}

/// A worker's process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// The state of the process.
    pub state: ProcessState,
    /// The number of its current id.
    pub life: u8,
    /// A bit for each of its ids that is `dead` in `workers`; the others are `alive`.
    pub dead: u8,
    /// Running handlers, and completions that are being written.
    pub handlers: Vec<Handler>,
}

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// Running.
    Up,
    /// Stopped (SIGSTOP); it may resume with its old memory.
    Frozen,
    /// Killed.
    Down,
}

/// A run in a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handler {
    /// The run.
    pub run: Run,
    /// True if `InFlight` contains this run; it contains at most one run of a task.
    pub in_flight: bool,
    /// Its phase.
    pub phase: Phase,
}

/// The phase of a run in a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The handler runs.
    Runs,
    /// It did not start, since an earlier run of the task is in flight; it must be released.
    Refused,
    /// It was released; `InFlight` has not removed it yet.
    Released,
}

/// A claim in flight, to Postgres or back. A worker has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// The claiming worker.
    pub worker: WorkerId,
    /// The task.
    pub task: TaskNo,
    /// Its position.
    pub at: ClaimAt,
}

/// The position of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClaimAt {
    /// Sent to Postgres.
    Sent,
    /// Response in flight: the worker has the task, with this run number.
    Took(u8),
    /// Response in flight: the worker is not alive.
    NotAlive,
}

/// Data that a leader has read and not yet written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leader {
    /// The rebuilt list that will replace the current one.
    pub list: Option<Vec<u8>>,
    /// The tasks to recover, one flag each. Used only by a leader that reads first and writes later.
    pub seen: Vec<bool>,
}

/// An asynchronous commit: a crash of Postgres may undo it together with all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unflushed {
    /// A claim.
    Claim(TaskNo),
    /// A submit without the protection of a durable commit.
    Insert(TaskNo),
    /// A completion without a durable commit, and the worker that wrote it.
    Complete(TaskNo, Option<WorkerId>),
}

/// Violations that are not visible in a single state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Violations {
    /// A write about one run ended another.
    pub another_run_ended: bool,
    /// A run was taken from a live worker that has it in flight or is about to receive it.
    pub taken_from_live_worker: bool,
}

/// The complete state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct System {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Number of hints in the list by task; without order, since a pop takes any of them.
    pub list: Vec<u8>,
    /// Number of pushes in flight by task.
    pub pushes: Vec<u8>,
    /// The worker processes.
    pub processes: Vec<Process>,
    /// Claims in flight, ordered by worker.
    pub claims: Vec<Claim>,
    /// The leaders, sorted: they are interchangeable, so their order must not distinguish states.
    pub leaders: Vec<Leader>,
    /// Commits not yet on disk, in order.
    pub unflushed: Vec<Unflushed>,
    /// Number of faults that may still be injected.
    pub faults_left: u8,
    /// The violations so far.
    pub violations: Violations,
}

impl System {
    /// Returns the initial state: no task submitted, all workers registered.
    pub fn new(tasks: usize, processes: usize, leaders: usize, faults: u8) -> Self {
        let process = Process {
            state: ProcessState::Up,
            life: 0,
            dead: 0,
            handlers: Vec::new(),
        };
        let leader = Leader {
            list: None,
            seen: vec![false; tasks],
        };
        Self {
            tasks: vec![Task::default(); tasks],
            list: vec![0; tasks],
            pushes: vec![0; tasks],
            processes: vec![process; processes],
            claims: Vec::new(),
            leaders: vec![leader; leaders],
            unflushed: Vec::new(),
            faults_left: faults,
            violations: Violations::default(),
        }
    }

    /// Returns the current id of a process.
    pub fn id(&self, process: usize) -> WorkerId {
        WorkerId {
            process,
            life: self.processes[process].life,
        }
    }

    /// Returns true if the id is `dead` in `workers`.
    pub fn is_dead(&self, worker: WorkerId) -> bool {
        self.processes[worker.process].dead & (1 << worker.life) != 0
    }

    /// Returns the process of an id; `None` if it was killed or has a newer id.
    pub fn process_of(&self, worker: WorkerId) -> Option<&Process> {
        let process = &self.processes[worker.process];
        (process.life == worker.life && process.state != ProcessState::Down).then_some(process)
    }

    /// Returns true if a process has a run of this task in flight.
    pub fn has_in_flight(&self, process: usize, task: TaskNo) -> bool {
        let handlers = &self.processes[process].handlers;
        handlers
            .iter()
            .any(|handler| handler.in_flight && handler.run.task == task)
    }

    /// Returns the claim of a worker that is in flight.
    pub fn claim_of(&self, worker: WorkerId) -> Option<Claim> {
        self.claims.iter().find(|claim| claim.worker == worker).copied()
    }

    /// Returns true if a response in flight gives this run to this worker.
    pub fn has_claim_response(&self, worker: WorkerId, run: Run) -> bool {
        let answer = ClaimAt::Took(run.number);
        self.claim_of(worker)
            .is_some_and(|claim| claim.task == run.task && claim.at == answer)
    }

    /// Returns the runs and workers of the running rows.
    pub fn running(&self) -> impl Iterator<Item = (Run, WorkerId)> + '_ {
        self.tasks.iter().enumerate().filter_map(|(task, found)| {
            let row = found.row?;
            let number = row.runs;
            row.worker.map(|worker| (Run { task, number }, worker))
        })
    }
}
