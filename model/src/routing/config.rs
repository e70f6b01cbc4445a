//! The subject of one search: tasks, workers, faults, and the safeguards that are in place.

use super::state::{
    At, Bits, Duty, Flag, LEADERS, List, Push, Row, System, TASKS, Task, TaskNo, WORKERS, Worker, WorkerNo,
};

/// A task type, as a bit.
pub const A: Bits = 1;
/// Another task type.
pub const B: Bits = 2;

/// A worker as a search begins with it.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// The types that it registers.
    pub types: Bits,
    /// Whether it runs at the start.
    pub up: bool,
    /// Its slots. Runs do not end here, so it claims as many tasks at most.
    pub slots: u8,
}

/// The kinds of fault, among them the ordinary events that a search limits in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A worker starts.
    Start,
    /// A worker that holds no hint stops and removes its row.
    Stop,
    /// A worker is killed, with the hint that it holds.
    Crash,
    /// A server dies before one of its round trips.
    LosePush,
    /// The answer to a claim is lost, and with it the misrouted id.
    LoseReply,
    /// The removal of a polled id is lost.
    LoseRemoval,
    /// `FLUSHALL`.
    Flush,
    /// A leader dies between two steps of a duty.
    LeaderDies,
    /// A run is released: its row is pending again.
    Release,
    /// A pending task is cancelled.
    Cancel,
    /// A comparison or a catch-up that does not wait for what is in flight.
    Haste,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Start,
        Self::Stop,
        Self::Crash,
        Self::LosePush,
        Self::LoseReply,
        Self::LoseRemoval,
        Self::Flush,
        Self::LeaderDies,
        Self::Release,
        Self::Cancel,
        Self::Haste,
    ];
}

/// The lists at the start of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No task is submitted yet.
    Empty,
    /// All tasks are pending, and their ids are in the main list.
    Plain,
    /// All tasks are pending, and their ids are in the lists of a split queue.
    Split,
}

/// One search.
#[derive(Debug, Clone)]
pub struct Config {
    /// The type of each task.
    pub tasks: Vec<Bits>,
    /// The workers.
    pub workers: Vec<Fleet>,
    /// The number of servers that act as leader.
    pub leaders: usize,
    /// Kinds of fault that are injected.
    pub faults: Vec<Fault>,
    /// The number of faults at most, in any mixture and at any moment.
    pub fault_count: u8,
    /// The safeguards in place.
    pub safeguards: Safeguards,
    /// The lists at the start.
    pub start: Start,
    /// Whether misroutes are counted, which makes a search larger.
    pub counts_misroutes: bool,
}

/// What keeps a queue right. Tests remove them one by one and show what happens then.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one clause or one duty, present or absent"
)]
pub struct Safeguards {
    /// Workers poll the table (Hybrid). Without it the deployment is `EventDrivenOnly`.
    pub polls: bool,
    /// The leader compares lengths with rows, and trims or rebuilds.
    pub comparisons: bool,
    /// A misroute and the leader set the flag to `opening`, which orders a fill. Without it they set it to `split`,
    /// and only the leader that set it fills.
    pub opening: bool,
    /// A push whose answer says split is followed by a second one to the type list.
    pub second_push: bool,
    /// A misroute sets the flag. Without it the id goes back to the main list alone.
    pub misroute_splits: bool,
    /// A misroute in a closing queue opens it again.
    pub misroute_reopens: bool,
    /// A misroute puts the id back into its type list too.
    pub misroute_fills_type: bool,
    /// The pop script reads the flag itself, and so does what follows a blocking pop.
    pub pop_reads_flag: bool,
    /// A worker that took an id from a type list by a blocking pop takes one from the main list.
    pub pays_main: bool,
    /// The flag and the type lists are deleted only where the flag is still `closing`.
    pub drop_is_conditional: bool,
    /// A rebuild pushes again what was pushed while it read.
    pub catch_up: bool,
    /// Hints of types that lost their last worker are moved from the type list to the parked ones.
    pub parks: bool,
    /// The script that parks reads the flag itself.
    pub park_reads_flag: bool,
    /// Parked ids are compared with rows and live workers in each pass. Without it only when a worker starts.
    pub sorts_by_state: bool,
    /// A rebuild keeps parked rows out of the main list.
    pub rebuild_parks: bool,
}

impl Safeguards {
    /// Tasker as it is.
    pub const ALL: Self = Self {
        polls: true,
        comparisons: true,
        opening: true,
        second_push: true,
        misroute_splits: true,
        misroute_reopens: true,
        misroute_fills_type: true,
        pop_reads_flag: true,
        pays_main: true,
        drop_is_conditional: true,
        catch_up: true,
        parks: true,
        park_reads_flag: true,
        sorts_by_state: true,
        rebuild_parks: true,
    };

    /// `EventDrivenOnly`.
    pub const NO_POLLS: Self = Self {
        polls: false,
        ..Self::ALL
    };

    /// Without anything that looks for lost hints: what is lost stays lost.
    pub const NO_REPAIR: Self = Self {
        polls: false,
        comparisons: false,
        ..Self::ALL
    };
}

impl Config {
    /// Returns a search with one leader, every safeguard and no faults.
    ///
    /// # Panics
    ///
    /// If there are more tasks than [`TASKS`] or more workers than [`WORKERS`].
    pub fn new(tasks: &[Bits], workers: &[Fleet]) -> Self {
        assert!(tasks.len() <= TASKS && workers.len() <= WORKERS);
        Self {
            tasks: tasks.to_vec(),
            workers: workers.to_vec(),
            leaders: 1,
            faults: Vec::new(),
            fault_count: 0,
            safeguards: Safeguards::ALL,
            start: Start::Empty,
            counts_misroutes: false,
        }
    }

    /// Returns the same search with faults.
    #[must_use]
    pub fn faults(mut self, faults: &[Fault], fault_count: u8) -> Self {
        self.faults = faults.to_vec();
        self.fault_count = fault_count;
        self
    }

    /// Returns the same search with other safeguards.
    #[must_use]
    pub fn with(mut self, safeguards: Safeguards) -> Self {
        self.safeguards = safeguards;
        self
    }

    /// Returns the same search with this number of leaders.
    ///
    /// # Panics
    ///
    /// If there are more than [`LEADERS`].
    #[must_use]
    pub fn leaders(mut self, leaders: usize) -> Self {
        assert!(leaders <= LEADERS);
        self.leaders = leaders;
        self
    }

    /// Returns the same search that begins with these lists.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Returns the same search with misroutes counted.
    #[must_use]
    pub fn counting_misroutes(mut self) -> Self {
        self.counts_misroutes = true;
        self
    }

    /// Returns the first state.
    pub fn initial(&self) -> System {
        let submitted = |list: bool| std::array::from_fn(|task| u8::from(list && task < self.tasks.len()));
        let listed = submitted(self.start != Start::Empty);
        let split = self.start == Start::Split;
        System {
            tasks: listed.map(|pending| Task {
                row: if pending > 0 { Row::Pending } else { Row::Absent },
                push: Push::Done,
            }),
            main: listed,
            typed: submitted(split),
            parked: List::default(),
            flag: if split { Flag::Split } else { Flag::Absent },
            workers: std::array::from_fn(|number| self.worker(number)),
            leaders: [Duty::None; LEADERS],
            faults_left: self.fault_count,
        }
    }

    fn worker(&self, number: WorkerNo) -> Worker {
        let fleet = self.workers.get(number);
        let up = fleet.is_some_and(|worker| worker.up);
        Worker {
            up,
            registered: up,
            sees_split: up && self.start == Start::Split,
            slots: fleet.map_or(0, |worker| worker.slots),
            at: At::Idle,
            misrouted: List::default(),
        }
    }

    /// Returns whether a worker registers the type of a task.
    pub fn knows(&self, worker: WorkerNo, task: TaskNo) -> bool {
        self.workers[worker].types & self.tasks[task] != 0
    }

    /// Returns the workers whose rows say that they are alive.
    pub fn live<'a>(&'a self, system: &'a System) -> impl Iterator<Item = WorkerNo> + 'a {
        (0..self.workers.len()).filter(|worker| system.workers[*worker].registered)
    }

    /// Returns the types that live workers register.
    pub fn types(&self, system: &System) -> Bits {
        self.live(system)
            .fold(0, |types, worker| types | self.workers[worker].types)
    }

    /// Returns whether live workers register different types.
    pub fn is_mixed(&self, system: &System) -> bool {
        let types = self.types(system);
        self.live(system)
            .any(|worker| self.workers[worker].types != types)
    }

    /// Returns whether the queue has live workers and none of them registers the type of this task.
    pub fn is_unroutable(&self, system: &System, task: TaskNo) -> bool {
        let types = self.types(system);
        types != 0 && types & self.tasks[task] == 0
    }
}
