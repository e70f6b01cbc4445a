//! The state of one queue: its rows, its Redis keys, its workers, its leaders, and what is in flight between
//! them.

/// Maximum number of tasks.
pub const TASKS: usize = 3;
/// Maximum number of workers.
pub const WORKERS: usize = 3;
/// Maximum number of leaders.
pub const LEADERS: usize = 2;

/// A task, by its position in [`System::tasks`].
pub type TaskNo = usize;
/// A worker, by its position in [`System::workers`].
pub type WorkerNo = usize;
/// A set of task types, or of tasks: a bit each.
pub type Bits = u8;
/// A Redis list: the number of copies of each task's id.
pub type List = [u8; TASKS];

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// Not submitted yet.
    Absent,
    /// Waits for a claim.
    Pending,
    /// Was claimed; the other model covers its run.
    Running,
    /// Was cancelled while it was pending.
    Cancelled,
}

/// The Redis command that a server still has to send for a task.
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
    /// Returns true if type lists are popped.
    pub fn is_split(self) -> bool {
        self == Self::Split
    }

    /// Returns true if pushes fill type lists.
    pub fn is_set(self) -> bool {
        self != Self::Absent
    }
}

/// A worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Worker {
    /// True while the process runs.
    pub up: bool,
    /// True while its row is alive.
    pub registered: bool,
    /// True if the reply to its last pop said that the queue is split.
    pub sees_split: bool,
    /// Free slots.
    pub slots: u8,
    /// Its current activity.
    pub at: At,
    /// Misrouted ids that it returned since a leader last finished a duty.
    pub paused: Bits,
}

/// The current activity of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// It blocks on its keys.
    Idle,
    /// It took an id from a list and has not claimed it yet.
    Popped {
        /// The id.
        task: TaskNo,
        /// True if the id came from a type list.
        typed: bool,
    },
    /// It took an id from a type list by a blocking pop; the `balance` behind it in the pipeline is due.
    Owes(TaskNo),
    /// Its claim returned an id of a type that it does not register, and whether another live worker does.
    Misrouted {
        /// The id.
        task: TaskNo,
        /// True if a live worker registers its type.
        routable: bool,
    },
    /// It claimed a task by a fallback poll and has yet to remove its id.
    Polled(TaskNo),
}

/// A duty in progress: what a leader has read or decided and not yet written. Other events can happen in
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Duty {
    /// No duty is in progress.
    None,
    /// `OPEN`, then type lists are made: by the router, or by a comparison that found a split queue.
    Open(By),
    /// Rows are to be read for type lists.
    Fill(Filling),
    /// Rows are to be read for a main list.
    List,
    /// New lists exist. Those of parked hints and, unless type lists were made, the main list will replace
    /// the current ones.
    Make {
        /// Pending rows for the lists that are popped.
        rows: Bits,
        /// Pending rows of types that no live worker registers.
        parked: Bits,
        /// The fill that makes type lists; `None` for a main list.
        types: Option<Filling>,
    },
    /// `ADOPT` of new type lists.
    Adopt {
        /// Their rows.
        rows: Bits,
        /// All rows that were read.
        read: Bits,
        /// The fill that made them.
        filling: Filling,
    },
    /// Pushes that happened while the lists were made are to be repeated.
    CatchUp {
        /// Rows that were read.
        read: Bits,
        /// The type lists that were made, or the main list.
        types: Option<Bits>,
    },
    /// `MERGE`, decided in this state of the queue.
    Close(Flag),
    /// `PARK` of the hints of this type.
    Park {
        /// The type.
        task_type: u8,
    },
    /// Copies of a parked id were compared with its row; it is pushed to the list where it belongs.
    Sort {
        /// The id.
        task: TaskNo,
        /// The list where it belongs.
        to: Place,
        /// The number of copies that were read.
        copies: u8,
    },
    /// Copies of a parked id are to be removed.
    Unpark {
        /// The id.
        task: TaskNo,
        /// Their number.
        copies: u8,
        /// True if the id belongs there, but only once.
        repeated: bool,
    },
    /// The lists that are popped are to be read.
    Sweep(Why),
    /// Stale and repeated ids of them are to be removed.
    Remove {
        /// True for the type lists, false for the main list.
        typed: bool,
        /// The number of copies of each.
        gone: List,
        /// Pending ids, of which one copy must stay.
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

/// A fill after its `OPEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filling {
    /// The loop that makes the type lists.
    pub by: By,
    /// True until the queue is opened again after it was closed: until then the generation that `OPEN`
    /// returned is the current one.
    pub is_current: bool,
}

/// The reason for a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The queue was split a second ago.
    Split,
    /// Removals did not find their ids.
    Unremoved,
    /// There are more hints than rows. If a sweep finds no stale id, the lists are rebuilt.
    Exceeds,
}

/// The list where a parked id belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The parked hints, once.
    Parked,
    /// The main list.
    Main,
    /// No list: its row is not pending.
    Nowhere,
}

/// The complete state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct System {
    /// The tasks.
    pub tasks: [Task; TASKS],
    /// M: the main list.
    pub main: List,
    /// T: the type lists. The type of a task determines the list of its id.
    pub typed: List,
    /// U: the parked hints.
    pub parked: List,
    /// The state of the queue.
    pub flag: Flag,
    /// True after a removal did not find its id, so that the leader must sweep.
    pub unremoved: bool,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// The leaders, sorted: they are interchangeable, so their order must not distinguish states.
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

/// Takes one copy of an id from a list; returns false if there is none.
pub fn take(list: &mut List, task: TaskNo) -> bool {
    let found = list[task] > 0;
    list[task] -= u8::from(found);
    found
}

impl System {
    /// Returns the number of pending rows.
    pub fn pending(&self) -> u8 {
        let pending = self.tasks.iter().filter(|task| task.row == Row::Pending);
        pending.fold(0, |sum, _| sum + 1)
    }

    /// Returns true if the row of a task is pending.
    pub fn is_pending(&self, task: TaskNo) -> bool {
        self.tasks[task].row == Row::Pending
    }
}
