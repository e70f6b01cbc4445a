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
    /// The first round trip: `MULTI` with the main list, the flag and perhaps the type list.
    First,
    /// The second round trip: the flag says split, and the type list lacks the id.
    Second,
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

/// The key `rq:queue:split:{q}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// The queue is plain.
    Absent,
    /// The queue is split, and its type lists lack older ids.
    Opening,
    /// The queue is split.
    Split,
    /// The queue becomes plain: pushers fill both kinds of list, workers pop the main list.
    Closing,
}

impl Flag {
    /// Returns whether workers pop type lists.
    pub fn is_split(self) -> bool {
        matches!(self, Self::Opening | Self::Split)
    }

    /// Returns whether pushers fill type lists.
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
    /// How often each id was claimed here although another worker must run it, counted up to 3.
    pub misrouted: List,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// It blocks on its keys.
    Idle,
    /// It took an id from a list and has not claimed it yet.
    Popped(TaskNo),
    /// It took an id from a type list by a blocking pop, and has yet to take one from the main list.
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
    /// It removed a polled id from its type list and has yet to take one from the main list.
    Removed,
}

/// What a leader has decided or read, and not yet written. Between the two anything can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Duty {
    /// No duty is in progress.
    None,
    /// The fleet is mixed: the flag is to be set.
    Open,
    /// The flag is set: the rows are to be read.
    Fill,
    /// The fleet is uniform: the rows are to be read for a new main list.
    Close,
    /// The queue is closing: the flag and the type lists are to be deleted.
    Drop,
    /// New lists are made and are to replace the present ones.
    Make {
        /// Pending rows for the main list.
        rows: Bits,
        /// Pending rows of types that no live worker registers.
        parked: Bits,
        /// What becomes of the flag; `None` keeps a plain queue plain.
        to: Option<Flag>,
    },
    /// Hints pushed while the lists were made are to be pushed again.
    CatchUp {
        /// Rows that were read.
        read: Bits,
    },
    /// The hints of this type are to be parked.
    Park {
        /// The type.
        task_type: u8,
    },
    /// A parked id was compared with its row.
    Sort {
        /// The id.
        task: TaskNo,
        /// Where it belongs.
        to: Place,
    },
    /// Ids of the main list that are not pending, or are repeated, are to be removed.
    Trim {
        /// Those that are not pending.
        stale: Bits,
    },
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
    /// Whether the queue is split.
    pub flag: Flag,
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
