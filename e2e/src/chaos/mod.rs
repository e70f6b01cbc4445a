//! Chaos: a real system, faults at random from a seed, tasks of all kinds all the while. In the end everything that was
//! acknowledged has ended, once.
//!
//! - `plan`: which faults, and when. Pure.
//! - `fleet`: the system, supervised; `faults` are done to it.
//! - `load`: what clients do; `ledger`: what they were told.
//! - `verify`, `judge`, `calm`: what must hold in the end.
//!
//! "Completed once" is about rows: a handler may run twice, its result counts once.

mod calm;
mod faults;
mod fleet;
mod http;
mod journal;
mod judge;
mod ledger;
mod load;
mod plan;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use fleet::Fleet;
use ledger::Ledger;

/// The first calm, in which clients submit and nothing goes wrong.
const WARM_UP: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Decides the faults and what clients do.
    pub seed: u64,
    /// How long faults go on.
    pub length: Duration,
    /// Where the logs of a failed run are kept.
    pub logs: PathBuf,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// What was counted: faults by kind, answers, tasks by their end.
    pub counts: Vec<(String, u64)>,
    /// The sentences that do not hold; none in a clean run.
    pub wrongs: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:8}  {what}")?;
        }
        for wrong in &self.wrongs {
            writeln!(f, "WRONG {wrong}")?;
        }
        Ok(())
    }
}

/// Runs it all: start, faults under load, healing, verification.
///
/// # Panics
/// When the system cannot be started, or a fault cannot be carried out.
pub async fn run(settings: &Settings) -> Report {
    let fleet = Fleet::start().await;
    let keeper = Keeper {
        fleet: Arc::clone(&fleet),
        folder: settings.logs.clone(),
        clean: false,
    };
    let supervisors = fleet.supervise();
    for member in &fleet.members {
        if !verify::within(Duration::from_mins(2), async || member.is_ready().await).await {
            fleet.journal.wrong("everything starts", &member.name());
        }
    }
    let ledger = Arc::new(Ledger::default());
    if fleet.journal.wrongs().is_empty() {
        trouble(&fleet, &ledger, settings).await;
        verify::settle(&fleet).await;
        let mut verified = calm::check(&fleet, &ledger).await;
        if verified.is_ok() {
            verified = verify::verify(&fleet, &ledger).await;
        }
        if let Err(error) = verified {
            fleet
                .journal
                .wrong("Postgres answers in the end", &error.to_string());
        }
    }
    drop(supervisors);
    keeper.report()
}

async fn trouble(fleet: &Arc<Fleet>, ledger: &Arc<Ledger>, settings: &Settings) {
    let stop = CancellationToken::new();
    let events = plan::plan(settings.seed, settings.length);
    let faults = async {
        tokio::time::sleep(WARM_UP).await;
        faults::carry_out(fleet, &events).await;
        stop.cancel();
    };
    tokio::join!(load::run(fleet, ledger, settings.seed, &stop), faults);
    let entries = ledger.entries();
    fleet
        .journal
        .add("tasks: acknowledged", entries.acknowledged.len() as u64);
    fleet
        .journal
        .note(&format!("{} tasks are acknowledged", entries.acknowledged.len()));
}

/// Keeps the logs of a run that is not clean, also when it panics.
struct Keeper {
    fleet: Arc<Fleet>,
    folder: PathBuf,
    clean: bool,
}

impl Keeper {
    fn report(mut self) -> Report {
        let journal = &self.fleet.journal;
        let report = Report {
            counts: journal.counts(),
            wrongs: journal.wrongs(),
        };
        self.clean = report.wrongs.is_empty();
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
