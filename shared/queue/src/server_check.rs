//! A check whether Tasker supports a Redis server, by its INFO.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::Pipeline;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{RedisQueues, Result};

/// The oldest major version of Redis that Tasker works with: the first with `BLMPOP`.
const VERSION_MIN: u32 = 7;
/// The interval at which a new connection is noticed.
const TICK: Duration = Duration::from_secs(1);
/// The interval of checks of the same connection, since settings may change.
const CHECK_AGAIN: Duration = Duration::from_mins(1);

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerReport {
    /// The reason why it is not supported.
    pub unsupported: Option<String>,
    /// A recommended change of its configuration.
    pub warning: Option<String>,
}

impl ServerReport {
    /// Evaluates the text of INFO. Fields that are missing, as with a managed Redis, count as correct.
    pub fn of(info: &str) -> Self {
        let value = |name: &str| {
            info.lines()
                .filter_map(|line| line.trim().split_once(':'))
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.trim())
        };
        let cluster = value("redis_mode") == Some("cluster") || value("cluster_enabled") == Some("1");
        let version = value("redis_version").unwrap_or_default();
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        let unsupported = if cluster {
            Some(
                "Redis Cluster (cluster-enabled yes) is not supported, since a pop names several keys; use a Redis without \
                 Cluster"
                    .to_owned(),
            )
        } else if value("redis_mode") == Some("sentinel") {
            Some("this server is a Redis Sentinel, which stores no lists; use the address of the Redis that it monitors".to_owned())
        } else if major.is_some_and(|major| major < VERSION_MIN) {
            Some(format!(
                "Redis {version} is not supported; Tasker needs {VERSION_MIN}.0 or newer"
            ))
        } else {
            None
        };
        let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction");
        let warning = policy.map(|policy| {
            format!(
                "Redis has maxmemory-policy {policy}: when it runs out of memory it may evict lists, whose tasks then wait for \
                 the polling fallback; set it to noeviction"
            )
        });
        Self { unsupported, warning }
    }
}

impl RedisQueues {
    /// Checks Redis. One that does not let this user run INFO counts as supported.
    pub async fn server_report(&self) -> Result<ServerReport> {
        let mut ask = Pipeline::new();
        ask.cmd("INFO");
        match self.run::<(String,)>(&ask).await {
            Ok((info,)) => Ok(ServerReport::of(&info)),
            Err(error) if error.is_rejected() => Ok(ServerReport::default()),
            Err(error) => Err(error),
        }
    }
}

/// The latest report about the Redis of this process.
#[derive(Debug, Default)]
pub struct ServerCheck(Mutex<ServerReport>);

impl ServerCheck {
    /// Returns the latest report.
    pub fn report(&self) -> ServerReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the latest report says that this Redis is not supported.
    pub fn is_unsupported(&self) -> bool {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.unsupported.is_some()
    }

    /// Stores a report, and logs changes.
    fn note(&self, report: &ServerReport) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // replaced and released before the log call, so that a slow log does not block readers
        let before = std::mem::replace(&mut *known, report.clone());
        drop(known);
        if before == *report {
            return;
        }
        match &report.unsupported {
            Some(why) => error!(why, "Redis server is not supported; not using it"),
            None if before.unsupported.is_some() => info!("Redis server is supported now"),
            None => {}
        }
        if let Some(warning) = &report.warning {
            warn!("{warning}");
        }
    }

    /// Checks Redis at each new connection of `queue`, and once a minute, until `stop`.
    pub async fn keep(&self, queue: &RedisQueues, stop: &CancellationToken) {
        let mut asked = None;
        while !stop.is_cancelled() {
            let connections = queue.connections_made();
            let is_due = match asked {
                // the first connection is left to other parts of the process
                None => connections > 0,
                Some((number, at)) => number != connections || Instant::elapsed(&at) >= CHECK_AGAIN,
            };
            if is_due {
                if let Ok(report) = queue.server_report().await {
                    self.note(&report);
                }
                asked = Some((queue.connections_made(), Instant::now()));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_redis_is_in_order_and_so_is_what_is_not_said() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                    # Cluster\r\ncluster_enabled:0\r\n";
        assert_eq!(ServerReport::of(info), ServerReport::default());
        assert_eq!(ServerReport::of(""), ServerReport::default());
        assert_eq!(
            ServerReport::of("redis_version:unstable"),
            ServerReport::default()
        );
    }

    #[test]
    fn a_cluster_a_sentinel_and_an_old_redis_are_named() {
        for (info, word) in [
            (
                "redis_version:7.0.15\r\nredis_mode:cluster\r\n",
                "cluster-enabled",
            ),
            ("redis_version:7.0.15\r\ncluster_enabled:1\r\n", "cluster-enabled"),
            ("redis_version:7.0.15\r\nredis_mode:sentinel\r\n", "Sentinel"),
            ("redis_version:6.2.14\r\nredis_mode:standalone\r\n", "6.2.14"),
        ] {
            let why = ServerReport::of(info).unsupported.expect("unsupported");
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(ServerReport::of("redis_version:10.1.0").unsupported, None);
    }

    #[test]
    fn a_redis_that_may_evict_lists_is_warned_of() {
        let report = ServerReport::of("redis_version:7.2.4\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert!(report.warning.expect("a warning").contains("allkeys-lru"));
        assert_eq!(report.unsupported, None);
    }
}
