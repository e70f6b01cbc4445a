//! The metrics seen in scrapes over time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tasker_testkit::{Running, http_client};
use tokio_util::task::AbortOnDropHandle;

/// Interval of scrapes, short enough to see brief values of gauges.
const INTERVAL: Duration = Duration::from_millis(50);

/// Everything seen so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Observed {
    /// The kind of each metric.
    pub(crate) kinds: BTreeMap<String, String>,
    /// The labels of each metric and their values.
    pub(crate) labels: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Names of metrics with a value other than 0.
    pub(crate) moved: BTreeSet<String>,
}

impl Observed {
    fn take(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').expect("a name and a kind");
                self.kinds.insert(name.to_owned(), kind.to_owned());
            }
        }
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        for sample in samples {
            self.sample(sample);
        }
    }

    fn sample(&mut self, sample: &str) {
        let (series, value) = sample.rsplit_once(' ').expect("a series and a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|name| self.kinds.get(*name).is_some_and(|kind| kind == "histogram"));
        let name = histogram.unwrap_or(name).to_owned();
        let known = self.labels.entry(name.clone()).or_default();
        // label values contain neither commas nor quotes here
        for label in labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty())
        {
            let (key, value) = label.split_once('=').expect("a label and its value");
            let value = value.trim_matches('"').to_owned();
            if key != "le" {
                known.entry(key.to_owned()).or_default().insert(value);
            }
        }
        let value: f64 = value.parse().expect("a number");
        if value != 0.0 && !value.is_nan() {
            self.moved.insert(name);
        }
    }
}

/// A scraper of processes, until it is dropped.
#[derive(Clone)]
pub(crate) struct Scraper {
    urls: Arc<Mutex<Vec<String>>>,
    observed: Arc<Mutex<Observed>>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Scraper {
    pub(crate) fn start() -> Self {
        let (urls, observed) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Observed>>::default(),
        );
        let (sources, sink) = (Arc::clone(&urls), Arc::clone(&observed));
        let client = http_client().timeout(Duration::from_secs(2));
        // one of the servers has a test certificate
        let client = client.tls_danger_accept_invalid_certs(true);
        let http = client.build().expect("a client");
        let task = tokio::spawn(async move {
            loop {
                let urls = sources.lock().expect("no panic holds it").clone();
                for url in urls {
                    // processes that have ended no longer respond
                    let Ok(answer) = http.get(format!("{url}/metrics")).send().await else {
                        continue;
                    };
                    let Ok(text) = answer.text().await else { continue };
                    sink.lock().expect("no panic holds it").take(&text);
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Self {
            urls,
            observed,
            _task: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    pub(crate) fn watch(&self, process: &Running) {
        self.watch_at(process.url.clone());
    }

    /// Adds `url` to the scraped targets.
    pub(crate) fn watch_at(&self, url: String) {
        self.urls.lock().expect("no panic holds it").push(url);
    }

    pub(crate) fn observed(&self) -> Observed {
        self.observed.lock().expect("no panic holds it").clone()
    }

    pub(crate) fn moved(&self, name: &str) -> bool {
        self.observed
            .lock()
            .expect("no panic holds it")
            .moved
            .contains(name)
    }
}
