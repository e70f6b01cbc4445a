//! A private Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;
use tasker_testkit::{Process, Running, System, eventually, free_port, http_client};

use super::files::{Query, path};
use crate::harness::SOON;

/// Scrape configuration with an interval of one second.
pub(super) struct Target {
    job: &'static str,
    address: String,
}

impl Target {
    pub(super) fn new(job: &'static str, running: &Running) -> Self {
        Self {
            job,
            address: running.url.trim_start_matches("http://").to_owned(),
        }
    }
}

/// A Prometheus with the rules of `deploy/`, killed when dropped.
pub(super) struct Prometheus {
    _process: Process,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts Prometheus and waits until it has scraped every target.
    pub(super) async fn start(system: &System, targets: &[Target]) -> Self {
        let folder = system.folder();
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, configuration(targets)).expect("the folder takes a file");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let this = Self {
            _process: Process::start("prometheus", command, folder),
            url: format!("http://{address}"),
            http: http_client().build().expect("a client without options"),
        };
        let scraped = format!("count(up == 1) == {}", targets.len());
        eventually("every target is scraped", SOON, async || {
            this.query(&scraped).await.is_ok_and(|result| !result.is_empty())
        })
        .await;
        this
    }

    /// Returns the queries without a result, or without a number in it.
    ///
    /// # Panics
    /// If Prometheus rejects a query.
    pub(super) async fn unanswered(&self, queries: Vec<Query>) -> Vec<Query> {
        let mut left = Vec::new();
        for query in queries {
            let result = self.query(&query.expr).await;
            let result = result.unwrap_or_else(|error| panic!("{}: {error}: {}", query.place, query.expr));
            let number = |sample: &Value| sample["value"][1].as_str().is_some_and(|text| text != "NaN");
            if !result.iter().any(number) {
                left.push(query);
            }
        }
        left
    }

    /// Returns the names of all scraped and recorded metrics.
    pub(super) async fn metric_names(&self) -> BTreeSet<String> {
        let names = self.get("label/__name__/values", &[]).await.expect("the names");
        let names = names.as_array().expect("a list").iter();
        names
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    }

    /// Returns the state of each alert: `inactive`, `pending` or `firing`.
    ///
    /// # Panics
    /// If the query of one fails.
    pub(super) async fn alert_states(&self) -> BTreeMap<String, String> {
        let data = self.get("rules", &[]).await.expect("the rules");
        let groups = data["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
        rules
            .map(|rule| {
                assert_eq!(rule["health"], "ok", "{rule}");
                let text = |name: &str| rule[name].as_str().expect("text").to_owned();
                (text("name"), text("state"))
            })
            .collect()
    }

    /// Waits until an alert is `inactive`, `pending` or `firing`.
    pub(super) async fn sees(&self, alert: &str, state: &str) {
        let what = format!("{alert} is {state}");
        eventually(&what, SOON, async || self.alert_states().await[alert] == state).await;
    }

    async fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let data = self.get("query", &[("query", expr)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.url)).expect("a URL");
        url.query_pairs_mut().extend_pairs(query);
        let answer = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let mut answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        Ok(answer["data"].take())
    }
}

fn configuration(targets: &[Target]) -> String {
    let rules = path("deploy/prometheus/rules/*.yml");
    let mut config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n",
        rules.display()
    );
    for Target { job, address } in targets {
        writeln!(
            config,
            "  - {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}"
        )
        .expect("memory");
    }
    config
}
