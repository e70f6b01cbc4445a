//! Whether a Redis is one that Tasker can use, by what its INFO says.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::redis::Pipeline;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{RedisQueues, Result};

/// The oldest major version of Redis that Tasker works with: the first with `BLMPOP`.
const VERSION_MIN: u32 = 7;
/// How soon a new connection is noticed.
const TICK: Duration = Duration::from_secs(1);
/// Settings may change while a connection lasts.
const CHECK_AGAIN: Duration = Duration::from_mins(1);

/// What a Redis is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerReport {
    /// Why it cannot be used.
    pub unsupported: Option<String>,
    /// What should be changed about it.
    pub warning: Option<String>,
}

impl ServerReport {
    /// Judges the text of INFO. What the text does not say, as with a managed Redis, is taken to be in order.
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
                "Redis has cluster-enabled yes, which is not supported, since a pop names several keys; use a Redis without \
                 Cluster"
                    .to_owned(),
            )
        } else if value("redis_mode") == Some("sentinel") {
            Some("this is a Sentinel, which holds no lists; name the Redis that it watches".to_owned())
        } else if major.is_some_and(|major| major < VERSION_MIN) {
            Some(format!(
                "Redis is of version {version}, and Tasker needs {VERSION_MIN}.0 or newer"
            ))
        } else {
            None
        };
        let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction");
        let warning = policy.map(|policy| {
            format!(
                "Redis has maxmemory-policy {policy}: short of memory it may evict lists, and their tasks then wait for the \
                 polling fallback; set it to noeviction"
            )
        });
        Self { unsupported, warning }
    }
}

impl RedisQueues {
    /// Asks Redis what it is like. One that does not let this user ask counts as in order.
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

/// What is known of the Redis that a process talks to.
#[derive(Debug, Default)]
pub struct ServerCheck(Mutex<ServerReport>);

impl ServerCheck {
    /// The last report.
    pub fn report(&self) -> ServerReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the last report says that this Redis cannot be used.
    pub fn is_unsupported(&self) -> bool {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.unsupported.is_some()
    }

    /// Takes a report, and logs what is new in it.
    fn note(&self, report: &ServerReport) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, report.clone());
        drop(known);
        if before == *report {
            return;
        }
        match &report.unsupported {
            Some(why) => error!(why, "this Redis is not supported; it is not used"),
            None if before.unsupported.is_some() => info!("this Redis is supported"),
            None => {}
        }
        if let Some(warning) = &report.warning {
            warn!("{warning}");
        }
    }

    /// Asks Redis at each new connection of `queue`, and now and then, until `stop`.
    pub async fn keep(&self, queue: &RedisQueues, stop: &CancellationToken) {
        let mut asked = None;
        while !stop.is_cancelled() {
            let connections = queue.connections_made();
            let is_due = match asked {
                // the first contact is another's
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
