//! The effect of each event.

use super::actions::Action;
use super::config::Config;
use super::state::{At, Duty, Flag, Push, Row, System};

/// One event that takes place.
pub(crate) struct Step<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: &'a mut System,
}

impl Config {
    /// Returns the state after an event.
    pub fn after(&self, system: &System, action: Action) -> System {
        let mut next = *system;
        let mut step = Step {
            config: self,
            now: &mut next,
        };
        step.take(action);
        next.leaders[..self.leaders].sort_unstable();
        next
    }
}

impl Step<'_> {
    fn take(&mut self, action: Action) {
        match action {
            Action::Submit { task } => self.become_pending(task),
            Action::Push { task, assumed } => self.push(task, assumed),
            Action::PushType { task } => {
                self.now.typed[task] += 1;
                self.now.tasks[task].push = Push::Done;
            }
            Action::RemoveCancelled { task, main } => self.remove_cancelled(task, main),
            Action::PopMain { worker, task } => self.pop_main(worker, task),
            Action::PopType { worker, task, main } => self.pop_type(worker, task, main),
            Action::PopBlocked { worker, task } => self.pop_blocked(worker, task),
            Action::PayMain { worker, main } => self.pay_main(worker, main),
            Action::See { worker } => self.see(worker),
            Action::Claim { worker } => self.claim(worker),
            Action::Return { worker } => self.hand_back(worker),
            Action::Poll { worker, task } => self.poll(worker, task),
            Action::Remove { worker } => self.remove(worker),
            Action::DeclareDead { worker } => self.now.workers[worker].registered = false,
            Action::Begin { leader, duty } => self.now.leaders[leader] = duty,
            Action::Rebuild { leader } => self.rebuild(leader),
            Action::Go { leader, main } => self.go(leader, main),
            fault => self.inject(fault),
        }
    }

    fn inject(&mut self, fault: Action) {
        self.now.faults_left -= 1;
        match fault {
            Action::Start { worker } => self.start(worker),
            Action::Stop { worker } => {
                self.crash(worker);
                self.now.workers[worker].registered = false;
            }
            Action::Crash { worker } => self.crash(worker),
            Action::LosePush { task } => self.now.tasks[task].push = Push::Done,
            Action::LoseReply { worker } | Action::LoseRemoval { worker } => {
                self.now.workers[worker].at = At::Idle;
            }
            Action::Flush => self.flush(),
            Action::LeaderDies { leader } => self.now.leaders[leader] = Duty::None,
            Action::Release { task } => self.become_pending(task),
            Action::Cancel { task } => {
                let cancelled = &mut self.now.tasks[task];
                cancelled.row = Row::Cancelled;
                if cancelled.push == Push::Done {
                    cancelled.push = Push::Remove;
                }
            }
            Action::HastyRebuild { leader } => self.rebuild(leader),
            Action::HastyCatchUp { leader } => self.go(leader, None),
            _ => {}
        }
    }

    fn become_pending(&mut self, task: usize) {
        self.now.tasks[task].row = Row::Pending;
        self.now.tasks[task].push = Push::First;
    }

    fn rebuild(&mut self, leader: usize) {
        let to = self.now.flag.is_split().then_some(Flag::Split);
        self.now.leaders[leader] = self.read(to);
    }
}
