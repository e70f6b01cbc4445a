//! The metrics catalogue: name, kind, labels, process and description of every metric. The descriptions at
//! `/metrics` and the tables of `docs/metrics.md` are generated from it, and a test checks a running system
//! against it.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::Component;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, from 0 at the start of its process.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts of values by size.
    Histogram,
}

/// The processes that expose a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Every server, about itself.
    Server,
    /// The server that leads, about the whole system; the others expose 0, or no series if it has labels.
    Leader,
    /// Every worker, about itself.
    Worker,
    /// Every server and every worker, about itself.
    All,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, which contains its unit: base units, `_total` for counters.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels. Their values come from small sets: queues, task types, route templates, words
    /// of the code.
    pub labels: &'static [&'static str],
    /// The processes that expose it.
    pub shown: Shown,
    /// Its help text at `/metrics`.
    pub help: &'static str,
}

impl Kind {
    /// Returns its name in the Prometheus text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Shown {
    /// Returns whether a process of this kind exposes it.
    pub fn by(self, component: Component) -> bool {
        match self {
            Self::All => true,
            Self::Server | Self::Leader => component == Component::Orchestration,
            Self::Worker => component == Component::Worker,
        }
    }
}

impl Metric {
    /// Returns its unit, derived from its name.
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

    /// Sets it to 0 at start: a rate over a counter that appears with its first count misses that count, and
    /// an alert on a missing gauge never fires.
    fn begin(&self) {
        match self.kind {
            Kind::Counter => counter!(self.name).absolute(0),
            Kind::Gauge => gauge!(self.name).set(0.0),
            Kind::Histogram => {}
        }
    }
}

/// Counters with few, fixed values of their label, which exist from the start with 0 as well: an alert on any
/// increase needs a series to compare with.
const FIXED: [(&str, &str, &[&str]); 2] = [
    (
        "finalization_claim_contention_by_reason_total",
        "reason",
        &[
            "already_claimed",
            "already_complete",
            "not_ready",
            "race_condition",
            "other",
        ],
    ),
    (
        "tasker_workflow_repairs_total",
        "kind",
        &[
            "join_count",
            "lost_step",
            "no_steps",
            "no_dead_letters",
            "failed_count",
            "orphan_joins",
            "orphan_steps",
        ],
    ),
];

/// Describes the metrics of `component`, and sets those without labels or with fixed ones to 0.
pub(super) fn describe(component: Component) {
    for metric in METRICS.iter().filter(|metric| metric.shown.by(component)) {
        metric.describe();
        // not those of the process, which are read from the system on each scrape
        if metric.labels.is_empty() && !metric.name.starts_with("process_") {
            metric.begin();
        }
        for (name, label, values) in FIXED.iter().filter(|(name, ..)| *name == metric.name) {
            for value in *values {
                counter!(*name, *label => *value).absolute(0);
            }
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
    Counter tasks_enqueued_total [type] Server "Tasks accepted and stored."
    Counter tasks_completed_total [type status] Worker "Attempts that ended: `success`, `failed`, `cancelled`."
    Counter task_retries_total [type attempt] Worker "Retries scheduled after failed attempts; `attempt` is the attempt that failed."
    Counter tasks_dead_letter_total [type] All "Tasks that became dead letters; on a server, those that its leader duties ended."
    Gauge tasks_pending [type] Leader "Tasks waiting for a worker; counted up to one million."
    Gauge tasks_running [type] Leader "Tasks that workers are running."
    Gauge tasker_dead_letters [] Leader "Dead letters waiting for an operator; counted up to 10,000."
    Histogram task_duration_seconds [type] Worker "Duration of an attempt, from its start in the worker to its end."
    Histogram tasker_task_wait_seconds [queue] Worker "Time from the creation of a task, or from its due time, to the start of its run, by Postgres's clock."
    Histogram tasker_run_seconds [queue] Worker "The same as `task_duration_seconds`, by queue."
    Counter tasker_failed_runs_total [reason] Worker "Failed attempts by reason: `failed`, `timeout`, `panicked`, `dropped` (ignored its cancellation)."

    // queues
    Gauge tasker_queue_depth [queue] Leader "Length of the Redis list: pending tasks minus unroutable ones; NaN while Redis is unavailable."
    Gauge tasker_queue_unroutable [queue] Leader "Parked hints: pending tasks whose type no live worker of the queue registers."
    Gauge tasker_queue_split [queue] Leader "1 while the hints of the queue are kept by task type because its workers register different types, else 0."
    Gauge tasker_queue_type_pending [queue type] Leader "Pending tasks by queue and type, unroutable ones included; the 1,000 largest groups, counted up to one million tasks."
    Gauge tasker_queue_oldest_age_seconds [queue] Leader "Age of the oldest pending task; 0 when there is none."
    Gauge tasker_queue_paused [queue] Leader "1 while an operator has paused the queue, else 0."
    Gauge tasker_queue_workers [queue] Leader "Live workers that serve the queue."
    Gauge tasker_queue_arrival_rate [queue] Leader "Tasks per second added to the queue over the last minute; NaN before the second measurement."
    Gauge tasker_queue_drain_rate [queue] Leader "Tasks per second whose runs ended over the last minute; NaN before the second measurement."
    Gauge tasker_queue_time_to_drain_seconds [queue] Leader "Estimated time until the queue is empty at the current rates: 0 when it is empty, +Inf if it grows."
    Gauge tasker_queue_suggested_workers [queue] Leader "Workers needed so that no task of the queue waits longer than 30 s."
    Gauge tasker_queues_without_workers [] Leader "Queues with pending tasks that no live worker serves."
    Gauge tasker_queue_starved_tasks [queue] Leader "Tasks that have waited longer than PRIORITY_AGE_LIMIT; counted up to 10,000."
    Gauge tasker_promotion_lag_seconds [] Leader "Time by which the oldest due task is overdue for promotion to `pending`."

    // submits
    Histogram tasker_submit_flush_tasks [] Server "Tasks in one flush of the group commit."
    Histogram tasker_submit_flush_seconds [] Server "Duration of a flush: the statement and the pushes."
    Histogram tasker_submit_batch_tasks [] Server "Tasks in one batch request that was written."
    Histogram tasker_submit_batch_seconds [] Server "Time to write a batch request, without the wait for its turn."
    Gauge tasker_submit_waiting [] Server "Tasks waiting for a flush; above 10,000 a submit is rejected as `overloaded`."
    Gauge tasker_submit_memory_bytes [lane] Server "Memory reserved for the bodies of submits: `single` (64 MiB, or twice `MAX_BODY_BYTES`) or `batch` (96 MiB)."
    Counter tasker_submit_rejected_total [reason] Server "Rejected submit requests, by the code of the problem document."
    Counter tasker_submit_deduplicated_total [] Server "Submitted tasks that matched an existing idempotency key and the same request."
    Counter tasker_pushed_hints_total [] Server "Hints pushed to Redis lists."
    Counter tasker_pushes_skipped_total [] All "Hints not pushed because Redis was unavailable or slow; fallback polls find their tasks."
    Counter tasker_push_failures_total [] All "Hints whose push failed; fallback polls find their tasks."

    // HTTP
    Counter tasker_http_requests_total [route method status] Server "Requests by route template, method and class of the status (`2xx`)."
    Histogram tasker_http_request_duration_seconds [route] Server "Time until the response began."
    Counter tasker_http_problems_total [code] Server "Responses with a problem document, by its code."
    Gauge tasker_http_requests_in_progress [] Server "Requests in progress, without health and metrics; limited to 16,384."
    Counter tasker_http_connections_refused_total [] All "Connections closed at once because the connection limit, in all or of their address, was reached."
    Counter tasker_http_handshakes_failed_total [] Server "TLS handshakes that failed or timed out."

    // operators
    Counter tasker_operator_actions_total [action] Server "Tasks changed by operators: `cancel`, `retry`, `purge`; queues: `create`, `pause`, `resume`."

    // the leader and its duties
    Gauge leader_status [worker_id] Server "1 while this server is the leader, else 0; `worker_id` is its host."
    Gauge tasker_leader_term [] Server "Fencing term of this server's lease; 0 while it is not the leader."
    Counter tasker_leader_changes_total [] Server "Number of times this server became the leader."
    Histogram tasker_duty_seconds [duty] Server "Duration of one run of a maintenance duty."
    Counter tasker_duty_failures_total [duty] Server "Failed runs of a maintenance duty; the next run does what it left."
    Counter tasker_promoted_total [] Server "Tasks promoted to `pending` because they were due."
    Counter tasker_rebuilt_lists_total [] Server "Lists rebuilt because they lacked hints."
    Counter tasker_rebuilt_hints_total [] Server "Hints pushed by rebuilds."
    Counter tasker_swept_hints_total [] Server "Hints of tasks that are no longer pending, removed from lists by the leader."
    Counter tasker_recovered_runs_total [] Server "Runs recovered from dead workers."
    Counter tasker_overdue_runs_total [] Server "Runs ended because they exceeded their timeout by WORKER_TIMEOUT."
    Counter tasker_partitions_created_total [] Server "Daily partitions created."
    Counter tasker_partitions_dropped_total [table] Server "Daily partitions dropped because they were older than RETENTION_DAYS."
    Gauge tasker_partition_days_ahead [] Leader "Days from today on for which all partitions exist; 14 is usual, at 0 inserts fail."
    Counter tasker_dead_letters_expired_total [] Server "Dead letters deleted after DEAD_LETTER_RETENTION_DAYS."
    Counter tasker_idempotency_keys_deleted_total [] Server "Expired idempotency keys deleted."
    Gauge tasker_oldest_snapshot_seconds [] Leader "Age of the oldest snapshot that keeps Postgres from removing dead rows."

    // workflows
    Counter finalization_claim_attempts_total [] All "Ends of workflows that a statement reached by ending a step; the lock of the join before the end is the claim."
    Counter finalization_claim_success_total [] All "Workflows that ended with the statement that ended their last step."
    Counter finalization_claim_contention_total [] All "Reached ends that did not end their workflow."
    Counter finalization_claim_contention_by_reason_total [reason] All "The same by reason: `not_ready` (other last steps are alive), `already_complete`; `already_claimed`, `race_condition` and `other` cannot happen and stay 0."
    Histogram finalization_claim_duration_seconds [] All "Duration of statements that reached the end of a workflow."
    Counter finalization_claim_release_attempts_total [] All "Stays 0: a claim ends with its statement and is never released."
    Counter finalization_claim_release_success_total [] All "Stays 0, as `finalization_claim_release_attempts_total`."
    Counter finalization_claim_release_not_owned_total [] All "Stays 0, as `finalization_claim_release_attempts_total`."
    Histogram finalization_claim_release_duration_seconds [] All "Has no values: claims are never released."
    Counter finalization_claim_extend_attempts_total [] All "Stays 0: a claim ends with its statement and is never extended."
    Counter finalization_claim_extend_success_total [] All "Stays 0, as `finalization_claim_extend_attempts_total`."
    Counter finalization_claim_extend_failed_total [] All "Stays 0, as `finalization_claim_extend_attempts_total`."
    Histogram finalization_claim_extend_duration_seconds [] All "Has no values: claims are never extended."
    Counter tasker_workflow_late_edges_total [] All "Ended steps that arrived at a join after all its edges had; each is a fault of Tasker."
    Counter tasker_workflow_repairs_total [kind] Server "Repairs of workflows by the leader, each after a fault: `join_count`, `lost_step`, `no_steps`, `no_dead_letters`, `failed_count`, `orphan_joins`, `orphan_steps`."
    Counter tasker_workflow_definitions_deleted_total [] Server "Definitions of workflows deleted because no workflow refers to them any more."
    Counter tasker_step_indexes_built_total [] Server "Indexes of finished steps built on partitions from before workflows."

    // the fleet
    Gauge workers_total [] Leader "Live workers."
    Gauge tasker_workers [status] Leader "Recorded workers by status: `alive`, `draining`, `dead` (kept for an hour)."
    Gauge tasker_workers_watched [] Leader "Workers whose death would be detected within seconds."
    Gauge tasker_fleet_unhealthy [] Leader "1 while the leader blames no task for a crash because too many workers are dying at once, else 0."
    Counter tasker_workers_joined_total [] Server "Workers that joined, as observed by the leader."
    Counter tasker_workers_left_total [] Server "Workers that left after an orderly stop, as observed by the leader."
    Counter tasker_worker_deaths_total [cause] Server "Workers declared dead by the leader: `vanished` or `unresponsive`."
    Counter tasker_workers_removed_total [] Server "Records of dead workers removed after an hour."

    // a worker: its slots
    Gauge worker_pool_active [] Worker "Slots in use."
    Gauge worker_pool_capacity [] Worker "Total slots."
    Gauge tasker_in_flight_runs [] Worker "Runs in flight: from the response to the claim until the write of the completion is acknowledged."
    Gauge tasker_worker_ready [] Worker "1 while `/health/ready` reports ready, else 0."
    Gauge tasker_worker_queues_paused [] Worker "Queues of this worker that it does not claim from because they are paused."

    // a worker: taking work
    Counter tasker_pops_total [outcome] Worker "Pops of lists by outcome: `hints`, `empty` or `failed`."
    Counter tasker_popped_hints_total [] Worker "Hints popped."
    Counter tasker_priority_aging_hints_total [] Worker "Hints of starved tasks popped ahead of the queue order (priority aging)."
    Histogram task_claim_duration_seconds [] Worker "Duration of a claim, including the wait for a connection."
    Histogram tasker_claim_batch_tasks [] Worker "Tasks claimed by one statement; empty claims are not counted."
    Counter tasker_claim_failures_total [outcome] Worker "Failed claims: `refused` (nothing was claimed) or `unknown`."
    Counter tasker_stale_hints_total [] Worker "Popped hints whose tasks could not be claimed: another worker took them, or they had ended."
    Counter tasker_misrouted_hints_total [] Worker "Popped hints of types that this worker does not register; their tasks stayed pending."
    Counter tasker_fallback_polls_total [] Worker "Fallback polls: claims straight from the table, for tasks without a hint."
    Counter tasker_fallback_claims_total [] Worker "Tasks claimed by fallback polls."

    // a worker: ending work
    Histogram tasker_completion_batch_tasks [] Worker "Completions written by one statement."
    Histogram tasker_completion_seconds [] Worker "Time to write a batch of completions, including failed tries."
    Counter tasker_fenced_writes_total [] Worker "Completions of runs that no longer belonged to this worker; they changed nothing."
    Counter tasker_released_runs_total [] Worker "Runs released back to their queue, as on a stop; they count neither as an attempt nor as a crash."
    Counter tasker_lost_claim_runs_total [] Worker "Runs requeued because the response to their claim was lost."
    Counter tasker_progress_reports_total [] Worker "Progress reports written."
    Counter tasker_cancellation_notices_total [by] Worker "Cancellation notices received, by source: `redis`, or `poll` of Postgres."

    // a worker: being alive
    Counter tasker_heartbeats_total [outcome] Worker "Heartbeats: `written` or `failed`."
    Histogram tasker_heartbeat_seconds [] Worker "Duration of a heartbeat, including opening its session."
    Counter tasker_liveness_losses_total [session] Worker "Liveness sessions closed by the other side: `main` or `spare`."
    Counter tasker_declared_dead_total [] Worker "Number of times this process found itself declared dead and rejoined under a new id."
    Counter tasker_availability_changes_total [service to] Worker "Number of times `postgres` or `redis` became `available` or `unavailable` to this worker."

    // Postgres and Redis
    Gauge tasker_db_pool_max_connections [] All "Maximum number of connections in the pool (DB_POOL_SIZE)."
    Gauge tasker_db_pool_connections [state] All "Connections of the pool: `idle` or `used`; those in the connection caches of hot paths count as used."
    Histogram tasker_db_acquire_seconds [] All "Time that a hot path waited for a connection that was not in its cache."
    Counter tasker_redis_connections_total [] All "Connections opened to Redis."
    Histogram tasker_redis_command_seconds [] All "Duration of Redis round trips, without blocking pops."
    Counter tasker_redis_command_failures_total [] All "Failed Redis round trips, without blocking pops."
    Gauge tasker_circuit_breaker_state [service] All "State of the circuit breaker: 0 closed, 1 half open, 2 open."
    Counter tasker_circuit_breaker_calls_total [service outcome] All "Calls guarded by the circuit breaker: `success`, `failure`, `refused` (not made)."
    Counter tasker_circuit_breaker_transitions_total [service to] All "State changes of the circuit breaker, by the new state."
    Histogram tasker_circuit_breaker_recovery_seconds [service] All "Time from opening to closing."

    // the process
    Gauge tasker_build_info [component version] All "Always 1; the labels name the component and its version."
    Gauge tasker_runtime_tasks [] All "Live tasks of the async runtime."
    Gauge tasker_runtime_threads [] All "Worker threads of the async runtime."
    Counter tasker_log_lines_dropped_total [] All "Log lines dropped because standard output was not read fast enough."
    Counter tasker_spans_total [stage] All "Trace spans by stage: `ended`, `exported`, `failed`; the difference is waiting or was dropped."
    Counter process_cpu_seconds_total [] All "User and system CPU time, in whole seconds."
    Gauge process_resident_memory_bytes [] All "Resident memory."
    Gauge process_virtual_memory_bytes [] All "Virtual memory."
    Gauge process_open_fds [] All "Open file descriptors."
    Gauge process_max_fds [] All "Maximum number of open file descriptors."
    Gauge process_threads [] All "Operating system threads."
    Gauge process_start_time_seconds [] All "Start time of the process, in seconds since the Unix epoch."
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::collections::HashSet;
    use std::fmt::Write as _;

    /// The document that shows the catalogue.
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
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
            "run `UPDATE_DOCS=1 cargo test -p tasker-platform catalogue`"
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
            assert!(metric.help.ends_with('.'), "the help of {name} is not a sentence");
        }
    }

    #[test]
    fn counters_begin_with_0_also_for_each_fixed_value_of_a_label() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || describe(Component::Orchestration));
        let text = recorder.handle().render();
        for line in [
            "finalization_claim_success_total 0",
            "tasker_workflow_late_edges_total 0",
            r#"finalization_claim_contention_by_reason_total{reason="not_ready"} 0"#,
            r#"tasker_workflow_repairs_total{kind="join_count"} 0"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        for (name, label, _) in FIXED {
            let metric = METRICS.iter().find(|metric| metric.name == name);
            assert_eq!(metric.expect(name).labels, [label]);
        }
    }
}
