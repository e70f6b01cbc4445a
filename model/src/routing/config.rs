//! The parameters of a search: tasks, workers, injected faults, and safeguards in place.

use super::state::{
    At, Bits, Duty, Flag, LEADERS, List, Push, Row, System, TASKS, Task, TaskNo, WORKERS, Worker, WorkerNo,
};

/// A task type, as a bit.
pub const A: Bits = 1;
/// Another task type.
pub const B: Bits = 2;

/// A worker at the start of a search.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// The types that it registers.
    pub types: Bits,
    /// True if it runs at the start.
    pub up: bool,
    /// Its number of slots, and of tasks that it claims at most, since runs do not end in this model.
    pub slots: u8,
}

/// The kinds of fault, among them the ordinary events that a search limits in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A worker starts.
    Start,
    /// A worker without a hint in memory stops and removes its row.
    Stop,
    /// A worker is killed and loses the hint in its memory.
    Crash,
    /// A server dies before one of its round trips.
    LosePush,
    /// The response to a claim is lost, and with it the misrouted id.
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
    /// A comparison or a catch-up does not wait for messages in flight.
    Haste,
    /// A claim has certainly failed, or the worker stops: popped ids are pushed back, without a type if they
    /// have none.
    Refuse,
    /// A removal does not scan far enough to find its id.
    Miss,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 13] = [
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
        Self::Refuse,
        Self::Miss,
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

/// The parameters of one search.
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
    /// Maximum number of injected faults, in any mixture and at any moment.
    pub fault_count: u8,
    /// The safeguards in place.
    pub safeguards: Safeguards,
    /// The lists at the start.
    pub start: Start,
    /// True if type lists are so long that a fill does not keep concurrent pushes.
    pub long_lists: bool,
}

/// The safeguards of a queue. Tests remove each of them and show the resulting counterexample.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one clause or one duty, present or absent"
)]
pub struct Safeguards {
    /// Workers run fallback polls (Hybrid). Without it the deployment is `EventDrivenOnly`.
    pub polls: bool,
    /// The leader compares lengths with rows, and sweeps or rebuilds.
    pub comparisons: bool,
    /// A push also fills the type list while the queue has a state.
    pub push_fills_types: bool,
    /// A fill directs pushes to type lists before it reads the rows.
    pub opens_first: bool,
    /// A fill keeps concurrent pushes to short type lists.
    pub adopt_keeps: bool,
    /// A fill keeps concurrently parked hints.
    pub adopt_keeps_parked: bool,
    /// `ADOPT` replaces the parked hints too, and has no effect unless the state is still `opening` or
    /// `split`. Without it they are replaced in a step before, and the queue is split in any state.
    pub adopt_reads_state: bool,
    /// `ADOPT` has no effect if the queue was closed and opened again since the `OPEN` of its fill.
    pub adopt_reads_generation: bool,
    /// A worker pauses before it pops a misrouted id again that it returned.
    pub misroute_pauses: bool,
    /// The pop script reads the state itself.
    pub pop_reads_state: bool,
    /// The main list of a split queue is kept at the length of the type lists.
    pub balances: bool,
    /// The `balance` that follows a blocking pop reads the state itself.
    pub balance_reads_state: bool,
    /// `MERGE` reads the state itself, and deletes it only where it is still `closing`.
    pub merge_reads_state: bool,
    /// `MERGE` has no effect in a queue that is plain already.
    pub merge_spares_plain: bool,
    /// `REMOVE` reads the state itself. Without it the worker's last reply decides.
    pub remove_reads_state: bool,
    /// A rebuild repeats pushes that happened while it read.
    pub catch_up: bool,
    /// The lists are swept once pops that began before a split have ended.
    pub sweeps_after_split: bool,
    /// The lists are swept after a removal that did not find its id.
    pub sweeps_unremoved: bool,
    /// A removal of repeated copies always leaves one, even if others were removed concurrently.
    pub sweeps_leave_one: bool,
    /// Lists that are too long are rebuilt if a sweep finds no stale id.
    pub sweep_rebuilds: bool,
    /// Hints of types that lost their last worker are moved from the type list to the parked ones.
    pub parks: bool,
    /// The script that parks reads the state itself.
    pub park_reads_state: bool,
    /// Every run compares parked ids with rows and live workers. Without it only the start of a worker does.
    pub sorts_by_state: bool,
    /// A rebuild keeps parked rows out of the lists that are popped.
    pub rebuild_parks: bool,
    /// A rebuild empties the main list if all pending rows are parked.
    pub rebuild_empties: bool,
}

impl Safeguards {
    /// Tasker as it is.
    pub const ALL: Self = Self {
        polls: true,
        comparisons: true,
        push_fills_types: true,
        opens_first: true,
        adopt_keeps: true,
        adopt_keeps_parked: true,
        adopt_reads_state: true,
        adopt_reads_generation: true,
        misroute_pauses: true,
        pop_reads_state: true,
        balances: true,
        balance_reads_state: true,
        merge_reads_state: true,
        merge_spares_plain: true,
        remove_reads_state: true,
        catch_up: true,
        sweeps_after_split: true,
        sweeps_unremoved: true,
        sweeps_leave_one: true,
        sweep_rebuilds: true,
        parks: true,
        park_reads_state: true,
        sorts_by_state: true,
        rebuild_parks: true,
        rebuild_empties: true,
    };

    /// `EventDrivenOnly`.
    pub const NO_POLLS: Self = Self {
        polls: false,
        ..Self::ALL
    };

    /// Without fallback polls and comparisons: lost hints stay lost.
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
            long_lists: false,
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

    /// Returns the same search with long lists.
    #[must_use]
    pub fn with_long_lists(mut self) -> Self {
        self.long_lists = true;
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
            unremoved: false,
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
            paused: 0,
        }
    }

    /// Returns true if a worker registers the type of a task.
    pub fn knows(&self, worker: WorkerNo, task: TaskNo) -> bool {
        self.workers[worker].types & self.tasks[task] != 0
    }

    /// Returns the workers whose rows are alive.
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
