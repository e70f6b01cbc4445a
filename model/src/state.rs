//! What there is at one moment: both tables, the list, every process, and what is on its way between them.

/// A task, by its place in [`System::tasks`].
pub type TaskNo = usize;

/// A worker id. A process that starts again, or that was declared dead, has a new one: never used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    /// Its process, by its place in [`System::processes`].
    pub process: usize,
    /// Which of the ids that the process has had.
    pub life: u8,
}

/// A run, as a worker names it. Together with the worker's id it is what fences a write.
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
    /// Is run by a worker.
    Running,
    /// Failed and is due for another try.
    RetryScheduled,
    /// Ended without success.
    DeadLetter,
    /// Ended well: only in `finished_tasks`.
    Completed,
}

/// A row of `tasks`, and what `task_events` says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its state.
    pub status: Status,
    /// Claims so far.
    pub runs: u8,
    /// Runs that the handler ended.
    pub attempts: u8,
    /// Runs lost with their worker.
    pub crash_count: u8,
    /// Runs that were given or taken back, from the history.
    pub returned: u8,
    /// Who runs it.
    pub worker: Option<WorkerId>,
}

impl Row {
    /// A row as `insert` writes it.
    pub const NEW: Self = Self {
        status: Status::Pending,
        runs: 0,
        attempts: 0,
        crash_count: 0,
        returned: 0,
        worker: None,
    };

    /// Ends its run: a state other than `running` has no worker.
    pub fn leave(&mut self, status: Status) {
        self.status = status;
        self.worker = None;
    }
}

/// A task in both tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// Whether its client was told that it is accepted.
    pub acknowledged: bool,
    /// Its row in `tasks`.
    pub row: Option<Row>,
    /// Its rows in `finished_tasks`; the rules allow one.
    pub finished: Vec<Row>,
    /// How often somebody could see it become completed, also if that was lost again.
    pub completions: u8,
}

impl Task {
    /// Whether nothing more is to happen to it.
    pub fn is_over(&self) -> bool {
        match self.row {
            Some(row) => row.status == Status::DeadLetter,
            None => !self.finished.is_empty(),
        }
    }

    /// Whether it waits for a claim.
    pub fn is_pending(&self) -> bool {
        self.row.is_some_and(|row| row.status == Status::Pending)
    }
}

/// A worker's process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it runs.
    pub state: ProcessState,
    /// Which id it has.
    pub life: u8,
    /// Which of its ids are `dead` in `workers`, a bit each. All others are `alive`.
    pub dead: u8,
    /// The handlers that run, and the ends that are being written.
    pub handlers: Vec<Handler>,
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// It runs.
    Up,
    /// It was stopped (SIGSTOP) and will go on some time as if nothing had been.
    Frozen,
    /// It was killed.
    Down,
}

/// A run in a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handler {
    /// Which run.
    pub run: Run,
    /// Whether `Held` names it. It need not: `Held` knows a task once.
    pub held: bool,
    /// How far it is.
    pub phase: Phase,
}

/// How far a run in a worker's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The handler runs.
    Runs,
    /// It never began, since an earlier run of the same task is held: it is to be given back.
    Refused,
    /// It was given back; `Held` has not let go of it yet.
    GivenBack,
}

/// A claim on its way: to Postgres, or back. A worker has one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// Who claims.
    pub worker: WorkerId,
    /// What.
    pub task: TaskNo,
    /// Where it is.
    pub at: ClaimAt,
}

/// Where a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClaimAt {
    /// On its way to Postgres.
    Sent,
    /// On its way back: the task is the worker's, with this run number.
    Took(u8),
    /// On its way back: the worker is not alive.
    NotAlive,
}

/// What a leader has read and not yet written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leader {
    /// The list that it makes, to take the place of the present one.
    pub list: Option<Vec<u8>>,
    /// What it means to recover, one a task. Used only by a leader that reads, decides and then writes.
    pub seen: Vec<bool>,
}

/// A commit that did not wait for the disk: a crash of Postgres may undo it, and every later one with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unflushed {
    /// A claim.
    Claim(TaskNo),
    /// A submit, if it did not demand to be durable.
    Insert(TaskNo),
    /// A completion, if it did not demand to be durable, and the worker that wrote it.
    Complete(TaskNo, Option<WorkerId>),
}

/// What must not happen and cannot be seen from a state alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Wrongs {
    /// A write about one run ended another.
    pub another_run_ended: bool,
    /// A run was taken from a worker that lives, holds it or is about to.
    pub taken_from_the_living: bool,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct System {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Hints in the list, by task. How many, not in which order: a pop takes any of them.
    pub list: Vec<u8>,
    /// Hints on their way to the list, by task.
    pub pushes: Vec<u8>,
    /// The worker processes.
    pub processes: Vec<Process>,
    /// Claims on their way, in order of their worker.
    pub claims: Vec<Claim>,
    /// The leaders, in no order: nothing names one.
    pub leaders: Vec<Leader>,
    /// Commits that are not on the disk yet, in their order.
    pub unflushed: Vec<Unflushed>,
    /// Faults that may still strike.
    pub faults_left: u8,
    /// What must not happen.
    pub wrongs: Wrongs,
}

impl System {
    /// The beginning: nothing is submitted, all workers are registered.
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
            wrongs: Wrongs::default(),
        }
    }

    /// The id that a process has now.
    pub fn id(&self, process: usize) -> WorkerId {
        WorkerId {
            process,
            life: self.processes[process].life,
        }
    }

    /// What `workers` says of an id.
    pub fn is_dead(&self, worker: WorkerId) -> bool {
        self.processes[worker.process].dead & (1 << worker.life) != 0
    }

    /// The process of an id, unless it has another by now or was killed.
    pub fn process_of(&self, worker: WorkerId) -> Option<&Process> {
        let process = &self.processes[worker.process];
        (process.life == worker.life && process.state != ProcessState::Down).then_some(process)
    }

    /// Whether a process holds a run of this task.
    pub fn holds(&self, process: usize, task: TaskNo) -> bool {
        let handlers = &self.processes[process].handlers;
        handlers
            .iter()
            .any(|handler| handler.held && handler.run.task == task)
    }

    /// The claim of a worker that is on its way.
    pub fn claim_of(&self, worker: WorkerId) -> Option<Claim> {
        self.claims.iter().find(|claim| claim.worker == worker).copied()
    }

    /// Whether an answer on its way gives this run to this worker.
    pub fn is_told(&self, worker: WorkerId, run: Run) -> bool {
        let answer = ClaimAt::Took(run.number);
        self.claim_of(worker)
            .is_some_and(|claim| claim.task == run.task && claim.at == answer)
    }

    /// The running rows, with their runs and workers.
    pub fn running(&self) -> impl Iterator<Item = (Run, WorkerId)> + '_ {
        self.tasks.iter().enumerate().filter_map(|(task, found)| {
            let row = found.row?;
            let number = row.runs;
            row.worker.map(|worker| (Run { task, number }, worker))
        })
    }
}
