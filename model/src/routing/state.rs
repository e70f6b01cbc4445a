//! The state of one queue: its rows, its Redis keys, its workers, its leaders, and what is in flight between them.

/// Tasks at most.
pub const TASKS: usize = 3;
/// Workers at most.
pub const WORKERS: usize = 3;
/// Leaders at most.
pub const LEADERS: usize = 2;

/// A task, by its position in [`System::tasks`].
pub type TaskNo = usize;
/// A worker, by its position in [`System::workers`].
pub type WorkerNo = usize;
/// A set of task types, or of tasks: a bit each.
pub type Bits = u8;
/// A Redis list: how often it holds the id of each task.
pub type List = [u8; TASKS];

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// Not submitted yet.
    Absent,
    /// Waits for a claim.
    Pending,
    /// Was claimed; its run is the other model's subject.
    Running,
    /// Was cancelled while it was pending.
    Cancelled,
}

/// What a server has yet to do in Redis for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Push {
    /// No command is due.
    Done,
    /// `PUSH`.
    Due,
    /// A cancelled task's id is to be removed.
    Remove,
}

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    /// Its row.
    pub row: Row,
    /// The server's commands that are still due.
    pub push: Push,
}

/// The state of the queue, in the key `rq:queue:split:{q}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// The queue is plain.
    Absent,
    /// Pushes fill both kinds of list, and type lists lack older ids: the main list is popped.
    Opening,
    /// The queue is split: type lists are popped.
    Split,
    /// The queue becomes plain: pushes fill both kinds of list, the main list is popped.
    Closing,
}

impl Flag {
    /// Returns whether type lists are popped.
    pub fn is_split(self) -> bool {
        self == Self::Split
    }

    /// Returns whether pushes fill type lists.
    pub fn is_set(self) -> bool {
        self != Self::Absent
    }
}

/// A worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Whether the process runs.
    pub up: bool,
    /// Whether its row says that it is alive.
    pub registered: bool,
    /// Whether its last pop said that the queue is split.
    pub sees_split: bool,
    /// Free slots.
    pub slots: u8,
    /// What it is doing.
    pub at: At,
    /// Misrouted ids that it put back since a leader ended a duty.
    pub paused: Bits,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// It blocks on its keys.
    Idle,
    /// It took an id from a list and has not claimed it yet.
    Popped {
        /// The id.
        task: TaskNo,
        /// Whether it knows the type: the id came from a type list.
        typed: bool,
    },
    /// It took an id from a type list by a blocking pop; the `balance` behind it in the pipeline is due.
    Owes(TaskNo),
    /// Its claim returned an id of a type that it does not register, and whether another live worker does.
    Misrouted {
        /// The id.
        task: TaskNo,
        /// Whether a live worker registers its type.
        routable: bool,
    },
    /// It claimed a task by a fallback poll and has yet to remove its id.
    Polled(TaskNo),
}

/// What a leader has decided or read, and not yet written. Between the two anything can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Duty {
    /// No duty is in progress.
    None,
    /// `OPEN`, then type lists are made: by the router, or by a comparison that found a split queue.
    Open(By),
    /// Rows are to be read for type lists.
    Fill(By),
    /// Rows are to be read for a main list.
    List,
    /// New lists are made. That of parked hints is to replace the present one, and so is the main list unless type
    /// lists were made.
    Make {
        /// Pending rows for the lists that are popped.
        rows: Bits,
        /// Pending rows of types that no live worker registers.
        parked: Bits,
        /// Who makes type lists, if they are such.
        types: Option<By>,
    },
    /// `ADOPT` of new type lists.
    Adopt {
        /// Their rows.
        rows: Bits,
        /// All rows that were read.
        read: Bits,
        /// Who made them.
        by: By,
    },
    /// What was pushed while the lists were made is to be pushed again.
    CatchUp {
        /// Rows that were read.
        read: Bits,
        /// The type lists that were made, or the main list.
        types: Option<Bits>,
    },
    /// `MERGE`, decided when the state was this.
    Close(Flag),
    /// `PARK` of the hints of this type.
    Park {
        /// The type.
        task_type: u8,
    },
    /// Copies of a parked id were compared with its row; where it belongs elsewhere it is to be pushed there.
    Sort {
        /// The id.
        task: TaskNo,
        /// Where it belongs.
        to: Place,
        /// The copies that were read.
        copies: u8,
    },
    /// Copies of a parked id are to be removed.
    Unpark {
        /// The id.
        task: TaskNo,
        /// How many.
        copies: u8,
        /// Whether it is only repeated.
        repeated: bool,
    },
    /// The lists that are popped are to be read.
    Sweep(Why),
    /// Stale and repeated ids of them are to be removed.
    Remove {
        /// Whether from the type lists.
        typed: bool,
        /// How many copies of each.
        gone: List,
        /// Those that are pending, and only repeated.
        pending: Bits,
    },
}

/// The loop of the leader that makes type lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// The one that splits queues, and sweeps their lists afterwards.
    Router,
    /// The one that compares lists with rows.
    Rebuilder,
}

/// The reason for a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The queue was split a second ago.
    Split,
    /// Removals did not find what they looked for.
    Unremoved,
    /// There are more hints than rows. Where a sweep finds nothing, the lists are rebuilt.
    Exceeds,
}

/// Where a parked id belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Among the parked ones, once.
    Parked,
    /// In the main list.
    Main,
    /// Nowhere: its row is not pending.
    Nowhere,
}

/// Everything at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct System {
    /// The tasks.
    pub tasks: [Task; TASKS],
    /// M: the main list.
    pub main: List,
    /// T: the type lists. The type of a task says in which one its id is.
    pub typed: List,
    /// U: the parked hints.
    pub parked: List,
    /// The state of the queue.
    pub flag: Flag,
    /// Whether a removal did not find what it looked for, so that the leader is to sweep.
    pub unremoved: bool,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// The leaders, in no order.
    pub leaders: [Duty; LEADERS],
    /// Faults that may still be injected.
    pub faults_left: u8,
}

/// Returns the length of a list.
pub fn len(list: &List) -> u8 {
    list.iter().sum()
}

/// Returns the ids that a list holds.
pub fn ids(list: &List) -> impl Iterator<Item = TaskNo> + '_ {
    (0..TASKS).filter(|task| list[*task] > 0)
}

/// Takes one copy of an id from a list; returns whether there was one.
pub fn take(list: &mut List, task: TaskNo) -> bool {
    let held = list[task] > 0;
    list[task] -= u8::from(held);
    held
}

impl System {
    /// Returns the number of pending rows.
    pub fn pending(&self) -> u8 {
        let pending = self.tasks.iter().filter(|task| task.row == Row::Pending);
        pending.fold(0, |sum, _| sum + 1)
    }

    /// Returns whether the row of a task is pending.
    pub fn is_pending(&self, task: TaskNo) -> bool {
        self.tasks[task].row == Row::Pending
    }
}
