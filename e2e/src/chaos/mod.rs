//! Chaos runs: a real system under load with random faults from a seed. In the end every acknowledged task
//! has finished, exactly once.
//!
//! - `plan`: the faults and their times. Pure.
//! - `fleet`: the supervised system; `faults`: their injection.
//! - `load`: the clients; `ledger`: their requests and the responses.
//! - `final_checks`, `verifier`, `steady_state`: the invariants at the end.
//!
//! "Completed once" is about rows: a handler may run twice, but only one result is stored.

mod faults;
mod final_checks;
mod fleet;
mod http;
mod ledger;
mod load;
mod plan;
mod run_log;
mod steady_state;
mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use fleet::Fleet;
use ledger::Ledger;

/// Time with load and without faults at the start.
const WARM_UP: Duration = Duration::from_secs(2);

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of the faults and of the clients' actions.
    pub seed: u64,
    /// Duration of fault injection.
    pub length: Duration,
    /// Folder for the logs of a failed run.
    pub logs: PathBuf,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// Counts: faults by kind, responses, tasks by final status.
    pub counts: Vec<(String, u64)>,
    /// The violated invariants; empty in a clean run.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:8}  {what}")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION {violation}")?;
        }
        Ok(())
    }
}

/// Runs a chaos test: start, faults under load, healing, verification.
///
/// # Panics
/// If the system cannot be started or a fault cannot be injected.
pub async fn run(settings: &Settings) -> Report {
    let fleet = Fleet::start().await;
    let keeper = Keeper {
        fleet: Arc::clone(&fleet),
        folder: settings.logs.clone(),
        clean: false,
    };
    let supervisors = fleet.supervise();
    for member in &fleet.members {
        if !final_checks::within(Duration::from_mins(2), async || member.is_ready().await).await {
            fleet.log.violation("every process becomes ready", &member.name());
        }
    }
    let ledger = Arc::new(Ledger::default());
    if fleet.log.violations().is_empty() {
        inject_faults(&fleet, &ledger, settings).await;
        final_checks::settle(&fleet).await;
        let mut verified = steady_state::check(&fleet, &ledger).await;
        if verified.is_ok() {
            verified = final_checks::verify(&fleet, &ledger).await;
        }
        if let Err(error) = verified {
            fleet
                .log
                .violation("Postgres responds in the end", &error.to_string());
        }
    }
    drop(supervisors);
    keeper.report()
}

async fn inject_faults(fleet: &Arc<Fleet>, ledger: &Arc<Ledger>, settings: &Settings) {
    let stop = CancellationToken::new();
    let events = plan::plan(settings.seed, settings.length);
    let faults = async {
        tokio::time::sleep(WARM_UP).await;
        faults::inject_all(fleet, &events).await;
        stop.cancel();
    };
    tokio::join!(load::run(fleet, ledger, settings.seed, &stop), faults);
    let entries = ledger.entries();
    fleet
        .log
        .add("tasks: acknowledged", entries.acknowledged.len() as u64);
    fleet
        .log
        .note(&format!("{} tasks acknowledged", entries.acknowledged.len()));
}

/// Copies the logs of a run that is not clean on drop, so also after a panic.
struct Keeper {
    fleet: Arc<Fleet>,
    folder: PathBuf,
    clean: bool,
}

impl Keeper {
    fn report(mut self) -> Report {
        let log = &self.fleet.log;
        let report = Report {
            counts: log.counts(),
            violations: log.violations(),
        };
        self.clean = report.violations.is_empty();
        report
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.clean {
            let _ = keep(self.fleet.system.folder(), &self.folder);
            if let (Ok(mut postgres), Ok(mut redis)) =
                (self.fleet.postgres.try_lock(), self.fleet.redis.try_lock())
            {
                let _ = std::fs::write(self.folder.join("postgres.log"), postgres.process().log());
                let _ = std::fs::write(self.folder.join("redis.log"), redis.process().log());
            }
        }
    }
}

fn keep(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if let (Some("log"), Some(name)) = (path.extension().and_then(|kind| kind.to_str()), path.file_name())
        {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
