//! Every metric: its name, what it is, who shows it, and what it means. Descriptions at `/metrics` and the tables of
//! `docs/metrics.md` come from here, and a test holds a working system against it.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::Component;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at the start of its process.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts of values by size.
    Histogram,
}

/// Who shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Every server, about itself.
    Server,
    /// The server that leads, about the whole system; the others show 0, or nothing where there are labels.
    Leader,
    /// Every worker, about itself.
    Worker,
    /// Every server and every worker, about itself.
    All,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, which also says its unit: base units, `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels. Their values come from small sets: queues, task types, route templates, words of the code.
    pub labels: &'static [&'static str],
    /// Who shows it.
    pub shown: Shown,
    /// What it means.
    pub help: &'static str,
}

impl Kind {
    /// The word for it, as Prometheus has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Shown {
    /// Whether a process of this kind shows it.
    pub fn by(self, component: Component) -> bool {
        match self {
            Self::All => true,
            Self::Server | Self::Leader => component == Component::Orchestration,
            Self::Worker => component == Component::Worker,
        }
    }
}

impl Metric {
    /// Its unit, which its name tells.
    pub fn unit(&self) -> Unit {
        let name = self.name.trim_end_matches("_total");
        if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        }
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit(), self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit(), self.help),
            Kind::Histogram => describe_histogram!(self.name, self.unit(), self.help),
        }
    }

    /// Shows 0 from the start on: a rate over a counter that appears with its first count misses that count, and an alert
    /// on a gauge that is not there says nothing.
    fn begin(&self) {
        match self.kind {
            Kind::Counter => counter!(self.name).absolute(0),
            Kind::Gauge => gauge!(self.name).set(0.0),
            Kind::Histogram => {}
        }
    }
}

/// Describes what `component` shows, and shows what has no labels.
pub(super) fn describe(component: Component) {
    for metric in METRICS.iter().filter(|metric| metric.shown.by(component)) {
        metric.describe();
        // the others of that name are not ours to set: they are read from the system
        if metric.labels.is_empty() && !metric.name.starts_with("process_") {
            metric.begin();
        }
    }
}

macro_rules! metrics {
    ($($kind:ident $name:ident [$($label:tt)*] $shown:ident $help:literal)*) => {
        /// Every metric, by what it is about.
        pub static METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            kind: Kind::$kind,
            labels: &[$(stringify!($label)),*],
            shown: Shown::$shown,
            help: $help,
        }),*];
    };
}

metrics! {
    // tasks
    Counter tasks_enqueued_total [type] Server "Tasks that submits stored."
    Counter tasks_completed_total [type status] Worker "Attempts that ended: `success`, `failed`, `cancelled`."
    Counter task_retries_total [type attempt] Worker "Retries that failed attempts led to; `attempt` is the one that failed."
    Counter tasks_dead_letter_total [type] All "Tasks that became dead letters; at the server those that the leader ended."
    Gauge tasks_pending [type] Leader "Tasks that wait for a worker; a million are counted at most."
    Gauge tasks_running [type] Leader "Tasks that workers run."
    Gauge tasker_dead_letters [] Leader "Dead letters that wait for an operator; 10,000 mean that many or more."
    Histogram task_duration_seconds [type] Worker "How long an attempt took, from its start in the worker to its end."
    Histogram tasker_task_wait_seconds [queue] Worker "Time from the creation of a task, or from when it was due, to the start of its run, by Postgres's clock."
    Histogram tasker_run_seconds [queue] Worker "The same as `task_duration_seconds`, by queue."
    Counter tasker_failed_runs_total [reason] Worker "Attempts that failed: `failed`, `timeout`, `panicked`, `dropped` (did not heed its cancellation)."

    // queues
    Gauge tasker_queue_depth [queue] Leader "Entries of the Redis list: pending tasks without unroutable ones; NaN while Redis is unavailable."
    Gauge tasker_queue_unroutable [queue] Leader "Parked hints: pending tasks whose type no live worker of the queue registers."
    Gauge tasker_queue_split [queue] Leader "1 while its hints are kept by task type, because its workers register different types."
    Gauge tasker_queue_type_pending [queue type] Leader "Pending tasks by queue and type, unroutable ones included; the 1,000 largest, and a million tasks are counted at most."
    Gauge tasker_queue_oldest_age_seconds [queue] Leader "How long the oldest pending task has waited; 0 without any."
    Gauge tasker_queue_paused [queue] Leader "1 while an operator has paused it."
    Gauge tasker_queue_workers [queue] Leader "Live workers that serve it."
    Gauge tasker_queue_arrival_rate [queue] Leader "Tasks per second that came to it, over the last minute; NaN before the second measurement."
    Gauge tasker_queue_drain_rate [queue] Leader "Tasks per second whose runs ended, over the last minute; NaN before the second measurement."
    Gauge tasker_queue_time_to_drain_seconds [queue] Leader "When it is empty at these rates: 0 when it is, +Inf if never."
    Gauge tasker_queue_suggested_workers [queue] Leader "Workers that it needs so that no task waits longer than 30 s."
    Gauge tasker_queues_without_workers [] Leader "Queues in which something waits and that no live worker serves."
    Gauge tasker_aged_heads [queue] Leader "Tasks that waited longer than PRIORITY_AGE_LIMIT; 10,000 mean that many or more."
    Gauge tasker_promotion_lag_seconds [] Leader "How long the oldest task whose time has come is due without being pending."

    // submits
    Histogram tasker_submit_flush_tasks [] Server "Tasks of one flush of the group commit."
    Histogram tasker_submit_flush_seconds [] Server "How long a flush took: the statement and the pushes."
    Histogram tasker_submit_batch_tasks [] Server "Tasks of one batch request that was written."
    Histogram tasker_submit_batch_seconds [] Server "How long it took to write a batch request, its turn not counted."
    Gauge tasker_submit_waiting [] Server "Tasks that wait for a flush; 10,000 are the limit, one more is refused as `overloaded`."
    Gauge tasker_submit_room_bytes [lane] Server "Room that the bodies of submits take: `single` (64 MiB, or twice `MAX_BODY_BYTES`) or `batch` (96 MiB)."
    Counter tasker_submit_rejected_total [reason] Server "Requests to submit that were not carried out, by the code of the problem document."
    Counter tasker_submit_deduplicated_total [] Server "Tasks whose idempotency key was known, with the same request."
    Counter tasker_pushed_hints_total [] Server "Ids that were pushed to lists."
    Counter tasker_pushes_skipped_total [] All "Ids that were not pushed because Redis is away or behind; the net finds their tasks."
    Counter tasker_push_failures_total [] All "Ids whose push failed; the net finds their tasks."

    // HTTP
    Counter tasker_http_requests_total [route method status] Server "Requests by route template, method, and class of the status (`2xx`)."
    Histogram tasker_http_request_duration_seconds [route] Server "How long a request took, until its answer began."
    Counter tasker_http_problems_total [code] Server "Answers with a problem document, by its code."
    Gauge tasker_http_requests_in_progress [] Server "Requests in progress, without health and metrics; 16,384 are the limit."
    Counter tasker_http_connections_refused_total [] All "Connections that were closed at once because all places were taken, or those of their address."
    Counter tasker_http_handshakes_failed_total [] Server "Handshakes of TLS that failed or took too long."

    // operators
    Counter tasker_operator_actions_total [action] Server "Tasks that operators acted on: `cancel`, `retry`, `purge`; queues: `create`, `pause`, `resume`."

    // the leader and its duties
    Gauge leader_status [instance] Server "1 while this server leads, else 0; `instance` is its host."
    Gauge tasker_leader_term [] Server "The term by which this server leads; 0 while it does not."
    Counter tasker_leader_changes_total [] Server "How often this server began to lead."
    Histogram tasker_duty_seconds [duty] Server "How long a pass of a maintenance duty took."
    Counter tasker_duty_failures_total [duty] Server "Passes of a duty that failed; the next one makes up for it."
    Counter tasker_promoted_total [] Server "Tasks that became pending because their time had come."
    Counter tasker_rebuilt_lists_total [] Server "Lists that were made anew because they lacked hints."
    Counter tasker_rebuilt_hints_total [] Server "Hints on them."
    Counter tasker_swept_hints_total [] Server "Hints of tasks that no longer waited, removed from lists by the leader."
    Counter tasker_recovered_runs_total [] Server "Runs taken back from workers that died."
    Counter tasker_overdue_runs_total [] Server "Runs ended that had outlived their timeout by WORKER_TIMEOUT."
    Counter tasker_partitions_made_total [] Server "Partitions of days made."
    Counter tasker_partitions_dropped_total [table] Server "Partitions dropped because they were past RETENTION_DAYS."
    Gauge tasker_partition_days_ahead [] Leader "For how many days from today on all partitions are there; 14 is usual, 0 stops the system."
    Counter tasker_dead_letters_expired_total [] Server "Dead letters deleted after DEAD_LETTER_RETENTION_DAYS."
    Counter tasker_keys_deleted_total [] Server "Idempotency keys deleted because their time was over."
    Gauge tasker_oldest_snapshot_seconds [] Leader "Age of the oldest snapshot that keeps Postgres from cleaning up."

    // the fleet
    Gauge workers_total [] Leader "Workers that live."
    Gauge tasker_workers [status] Leader "Workers on record: `alive`, `draining`, `dead` (for an hour)."
    Gauge tasker_workers_watched [] Leader "Workers whose death would be noticed within seconds."
    Gauge tasker_fleet_unhealthy [] Leader "1 while so many workers die that their deaths accuse no task."
    Counter tasker_workers_joined_total [] Server "Workers that the leader saw come."
    Counter tasker_workers_left_total [] Server "Workers that the leader saw leave in order."
    Counter tasker_worker_deaths_total [cause] Server "Workers that the leader declared dead: `vanished` or `silent`."
    Counter tasker_workers_forgotten_total [] Server "Dead workers taken off the record after an hour."

    // a worker: its slots
    Gauge worker_pool_active [] Worker "Slots in use."
    Gauge worker_pool_capacity [] Worker "Slots in all."
    Gauge tasker_held_runs [] Worker "Runs held: from the claim's answer until the write of the end is answered."
    Gauge tasker_worker_ready [] Worker "1 while `/health/ready` says so."
    Gauge tasker_worker_queues_left_alone [] Worker "Queues of this worker that it takes nothing from because they are paused."

    // a worker: taking work
    Counter tasker_pops_total [outcome] Worker "Pops of lists: `hints`, `empty` or `failed`."
    Counter tasker_popped_hints_total [] Worker "Hints popped."
    Counter tasker_aged_pops_total [] Worker "Hints popped out of turn because of their age."
    Histogram task_claim_duration_seconds [] Worker "How long a claim took, its connection included."
    Histogram tasker_claim_batch_tasks [] Worker "Tasks that one claim brought, empty ones not counted."
    Counter tasker_claim_failures_total [outcome] Worker "Claims that failed: `refused` (nothing happened) or `unknown`."
    Counter tasker_stale_hints_total [] Worker "Hints whose tasks were not to be had: others took them, or they ended before."
    Counter tasker_misrouted_hints_total [] Worker "Hints popped whose types this worker does not register; their tasks stayed pending."
    Counter tasker_net_looks_total [] Worker "Looks into the table for tasks without a hint."
    Counter tasker_net_claims_total [] Worker "Tasks claimed by such looks."

    // a worker: ending work
    Histogram tasker_completion_batch_tasks [] Worker "Ends of runs written together."
    Histogram tasker_completion_seconds [] Worker "How long it took to write them, tries that failed included."
    Counter tasker_fenced_writes_total [] Worker "Ends of runs that were no longer this worker's; they changed nothing."
    Counter tasker_given_back_runs_total [] Worker "Runs given back, as on a stop; they count as nothing."
    Counter tasker_unheld_runs_total [] Worker "Runs given back because the answer to their claim was lost."
    Counter tasker_progress_reports_total [] Worker "Progress reports written."
    Counter tasker_cancellations_heard_total [by] Worker "Words that a task was cancelled: `redis`, or `look` into Postgres."

    // a worker: being alive
    Counter tasker_heartbeats_total [outcome] Worker "Heartbeats: `written` or `failed`."
    Histogram tasker_heartbeat_seconds [] Worker "How long a heartbeat took, opening its session included."
    Counter tasker_liveness_losses_total [session] Worker "Sessions of liveness that were closed from outside: `main` or `spare`."
    Counter tasker_declared_dead_total [] Worker "How often this process found itself declared dead and came back under a new id."
    Counter tasker_gate_changes_total [service to] Worker "How often the gate of `postgres` or `redis` went `open` or `closed`."

    // Postgres and Redis
    Gauge tasker_db_pool_max_connections [] All "Most connections of the pool (DB_POOL_SIZE)."
    Gauge tasker_db_pool_connections [state] All "Connections of the pool: `idle` or `used`; those that hot paths keep count as used."
    Histogram tasker_db_acquire_seconds [] All "How long a hot path waited for a connection that it had not kept."
    Counter tasker_redis_connections_total [] All "Connections to Redis that were opened."
    Histogram tasker_redis_command_seconds [] All "Round trips to Redis, blocking pops not counted."
    Counter tasker_redis_command_failures_total [] All "Round trips to Redis that failed, blocking pops not counted."
    Gauge tasker_circuit_breaker_state [service] All "0 closed, 1 half open, 2 open."
    Counter tasker_circuit_breaker_calls_total [service outcome] All "Calls around which a breaker stands: `success`, `failure`, `refused` (not made)."
    Counter tasker_circuit_breaker_transitions_total [service to] All "Changes of state, by the new one."
    Histogram tasker_circuit_breaker_recovery_seconds [service] All "From opening to closing."

    // the process
    Gauge tasker_build_info [component version] All "1; the labels tell what runs."
    Gauge tasker_runtime_tasks [] All "Tasks of the asynchronous runtime that are alive."
    Gauge tasker_runtime_threads [] All "Its worker threads."
    Counter tasker_log_lines_dropped_total [] All "Log lines that were dropped because nothing read standard output fast enough."
    Counter tasker_spans_total [stage] All "Spans for the collector: `ended`, `exported`, `failed`; what is missing waits or was dropped."
    Counter process_cpu_seconds_total [] All "Processor time of user and system, in whole seconds."
    Gauge process_resident_memory_bytes [] All "Resident memory."
    Gauge process_virtual_memory_bytes [] All "Virtual memory."
    Gauge process_open_fds [] All "Open file descriptors."
    Gauge process_max_fds [] All "Most file descriptors that the system allows."
    Gauge process_threads [] All "Threads of the operating system."
    Gauge process_start_time_seconds [] All "When the process started, in seconds since 1970."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fmt::Write as _;

    /// The document that shows the catalogue.
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    const BEGIN: &str = "<!-- catalogue: begin -->\n";
    const END: &str = "<!-- catalogue: end -->\n";

    fn tables() -> String {
        let mut text = String::new();
        for (shown, title) in [
            (
                Shown::Leader,
                "Of the whole system, shown by the server that leads",
            ),
            (Shown::Server, "Of each server"),
            (Shown::Worker, "Of each worker"),
            (Shown::All, "Of each server and each worker"),
        ] {
            let _ = write!(
                text,
                "\n### {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n"
            );
            for metric in METRICS.iter().filter(|metric| metric.shown == shown) {
                let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
                let (name, kind) = (metric.name, metric.kind.as_str());
                let _ = writeln!(
                    text,
                    "| `{name}` | {kind} | {} | {} |",
                    labels.join(", "),
                    metric.help
                );
            }
        }
        text
    }

    #[test]
    fn the_document_shows_the_catalogue() {
        let document = std::fs::read_to_string(DOCUMENT).expect("the document");
        let (before, rest) = document.split_once(BEGIN).expect("where the tables begin");
        let (shown, after) = rest.split_once(END).expect("where they end");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let updated = format!("{before}{BEGIN}{}\n{END}{after}", tables());
            return std::fs::write(DOCUMENT, updated).expect("the document can be written");
        }
        assert_eq!(
            shown.trim(),
            tables().trim(),
            "run `UPDATE_DOCS=1 cargo test -p tasker-shared catalogue`"
        );
    }

    #[test]
    fn names_are_unique_and_tell_kind_and_unit() {
        let mut seen = HashSet::new();
        // named by others: rows of gauges that users know
        let given = ["workers_total"];
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is listed twice");
            if !given.contains(&name) {
                let counts = metric.kind == Kind::Counter;
                assert_eq!(name.ends_with("_total"), counts, "{name}");
            }
            assert!(metric.help.ends_with('.'), "the help of {name} is no sentence");
        }
    }
}
