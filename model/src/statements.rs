//! The SQL statements of `shared/store/src/`: each function is one statement and one atomic step.

use crate::config::{Config, Fence};
use crate::fault::Fault;
use crate::state::{ClaimAt, Row, Run, Status, System, TaskNo, Unflushed, WorkerId};

/// The outcome of a run without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The attempt failed.
    Failed,
    /// Back to the queue, without counting as an attempt or a crash.
    Released,
}

/// One step in progress: the search parameters and the state that it changes.
pub(crate) struct Step<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: &'a mut System,
}

impl Step<'_> {
    /// `insert`. The client gets its response even if the push is lost.
    pub(crate) fn insert(&mut self, task: TaskNo) {
        let submitted = &mut self.now.tasks[task];
        submitted.row = Some(Row::NEW);
        submitted.acknowledged = true;
        self.now.pushes[task] += 1;
        self.commit(self.config.protections.insert_is_durable, Unflushed::Insert(task));
    }

    /// `promote` of a due row.
    pub(crate) fn promote(&mut self, task: TaskNo) {
        if let Some(row) = &mut self.now.tasks[task].row {
            row.leave(Status::Pending);
        }
        self.now.pushes[task] += 1;
        self.commit_durably();
    }

    /// `claim_ready`, `claim` and `claim_oldest` of one row; `None` if it cannot be claimed.
    /// `saw_itself_alive` means that the statement's snapshot is older than the worker's death.
    pub(crate) fn claim_row(
        &mut self,
        worker: WorkerId,
        task: TaskNo,
        saw_itself_alive: bool,
    ) -> Option<ClaimAt> {
        let protections = self.config.protections;
        if protections.claim_checks_liveness && self.now.is_dead(worker) && !saw_itself_alive {
            return Some(ClaimAt::NotAlive);
        }
        let row = self.now.tasks[task].row?;
        if protections.claim_is_conditional && row.status != Status::Pending {
            return None;
        }
        self.note_taken_from(row.worker);
        let claimed = Row {
            status: Status::Running,
            runs: row.runs + 1,
            worker: Some(worker),
            ..row
        };
        self.now.tasks[task].row = Some(claimed);
        self.commit(false, Unflushed::Claim(task));
        Some(ClaimAt::Took(claimed.runs))
    }

    /// `complete`: moves the row to `finished_tasks` if the fence matches.
    pub(crate) fn complete(&mut self, worker: WorkerId, run: Run) {
        let unfenced = self.config.protections.fence == Fence::Absent;
        let Some(row) = self.row_of(worker, run).or(unfenced.then_some(Row::NEW)) else {
            return;
        };
        let task = &mut self.now.tasks[run.task];
        task.row = None;
        task.finished.push(Row {
            status: Status::Completed,
            attempts: row.attempts + 1,
            worker: None,
            ..row
        });
        task.completions += 1;
        self.commit(
            self.config.protections.complete_is_durable,
            Unflushed::Complete(run.task, row.worker),
        );
    }

    /// `end_runs` if the fence matches.
    pub(crate) fn end_runs(&mut self, worker: WorkerId, run: Run, verdict: Verdict) {
        let Some(mut row) = self.row_of(worker, run) else {
            return;
        };
        match verdict {
            Verdict::Released => return self.requeue(run.task),
            Verdict::Failed => {
                row.attempts += 1;
                row.leave(if row.attempts < self.config.max_attempts {
                    Status::RetryScheduled
                } else {
                    Status::DeadLetter
                });
            }
        }
        self.now.tasks[run.task].row = Some(row);
        self.commit_durably();
    }

    /// `reclaim_lost_claims` of one row.
    pub(crate) fn reclaim_lost_claims(&mut self, worker: WorkerId, run: Run) {
        if self.now.has_claim_response(worker, run) {
            self.now.violations.taken_from_live_worker = true;
        }
        self.requeue(run.task);
    }

    fn requeue(&mut self, task: TaskNo) {
        if let Some(row) = &mut self.now.tasks[task].row {
            row.returned += 1;
            row.leave(Status::Pending);
        }
        self.now.pushes[task] += 1;
        self.commit_durably();
    }

    /// `declare_dead`.
    pub(crate) fn declare_dead(&mut self, worker: WorkerId) {
        self.now.processes[worker.process].dead |= 1 << worker.life;
        self.commit_durably();
        if !self.config.protections.recover_checks_states {
            for task in 0..self.now.tasks.len() {
                if self.now.tasks[task].row.and_then(|row| row.worker) == Some(worker) {
                    self.recover(task);
                }
            }
        }
    }

    /// `recover` of one row, whose run was lost with its worker.
    pub(crate) fn recover(&mut self, task: TaskNo) {
        let Some(mut row) = self.now.tasks[task].row else {
            return;
        };
        self.note_taken_from(row.worker);
        row.crash_count += 1;
        if row.crash_count < self.config.crashes_max {
            row.leave(Status::Pending);
            self.now.pushes[task] += 1;
        } else {
            row.leave(Status::DeadLetter);
        }
        self.now.tasks[task].row = Some(row);
        self.commit_durably();
    }

    /// Returns the row that a worker's write about a run may change; `None` if the fence does not match.
    fn row_of(&mut self, worker: WorkerId, run: Run) -> Option<Row> {
        let row = self.now.tasks[run.task].row?;
        let same_number = row.runs == run.number;
        let same_worker = row.worker == Some(worker);
        let passes = match self.config.protections.fence {
            Fence::Full => same_number && same_worker,
            Fence::WithoutWorker => same_number && row.status == Status::Running,
            Fence::TaskOnly => row.status == Status::Running,
            Fence::Absent => true,
        };
        if passes && !(same_number && same_worker) {
            self.now.violations.another_run_ended = true;
        }
        passes.then_some(row)
    }

    fn note_taken_from(&mut self, worker: Option<WorkerId>) {
        if worker.is_some_and(|worker| !self.now.is_dead(worker)) {
            self.now.violations.taken_from_live_worker = true;
        }
    }

    fn commit(&mut self, durably: bool, what: Unflushed) {
        if durably {
            self.commit_durably();
        } else if self.config.faults.contains(&Fault::CrashOfPostgres) {
            self.now.unflushed.push(what);
        }
    }

    /// The WAL is sequential, so a synchronous commit also makes all earlier commits durable.
    fn commit_durably(&mut self) {
        self.now.unflushed.clear();
    }
}
