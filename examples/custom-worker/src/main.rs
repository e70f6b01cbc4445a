//! A worker with two task types: replace them with yours.
//!
//! - `send_newsletter` waits for another service: an async handler that shares a client with all its runs,
//!   reports progress, stops when it is cancelled, and separates final failures from those that are retried.
//! - `count_primes` computes: a blocking handler, on its own thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType, Worker, WorkerBuilder, WorkerConfig};

#[tokio::main]
async fn main() {
    let code = match WorkerConfig::load(std::env::args_os()) {
        Ok(config) => worker().run_with(config).await,
        // Answers `--help` and `--healthcheck`, too.
        Err(error) => error.report(),
    };
    // Not by returning: that would wait for blocking handlers that do not stop.
    std::process::exit(code)
}

/// The worker with its task types.
fn worker() -> WorkerBuilder {
    let mailer = Arc::new(Mailer {
        time_per_letter: Duration::from_millis(100),
    });
    Worker::builder().register(newsletters(mailer)).register(primes())
}

/// The task type `send_newsletter`. The closure keeps what all runs share, and gives each run its handle.
fn newsletters(mailer: Arc<Mailer>) -> TaskType<Newsletter, Sent> {
    TaskType::new("send_newsletter", move |context, letter| {
        send_newsletter(Arc::clone(&mailer), context, letter)
    })
    .description("Sends a text to many recipients")
    .timeout(Duration::from_mins(10))
    .max_retries(5)
    .backoff(Duration::from_secs(2), Duration::from_mins(5))
}

/// The task type `count_primes`.
fn primes() -> TaskType<Primes, usize> {
    TaskType::blocking("count_primes", count_primes).description("Counts the primes up to a number")
}

/// The parameters of `send_newsletter`. The server validates every submit against the JSON Schema of this
/// type, in which the comments of the fields are their descriptions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Newsletter {
    /// The subject line.
    subject: String,
    /// The addresses that it is sent to.
    #[schemars(length(min = 1))]
    recipients: Vec<String>,
}

/// The progress of a newsletter while its task runs, and the result when it has completed. Its JSON Schema is
/// published, too.
#[derive(Debug, Serialize, JsonSchema)]
struct Sent {
    /// The number of letters that were sent.
    sent: usize,
    /// The number of recipients.
    of: usize,
}

async fn send_newsletter(
    mailer: Arc<Mailer>,
    context: Context,
    letter: Newsletter,
) -> Result<Sent, TaskError> {
    // Another attempt would fail too: the task becomes a dead letter at once, with this text.
    if let Some(wrong) = letter.recipients.iter().find(|address| !address.contains('@')) {
        return Err(TaskError::fail(format!("`{wrong}` is not an address")));
    }
    let of = letter.recipients.len();
    for (sent, recipient) in letter.recipients.iter().enumerate() {
        if context.is_cancelled() {
            // The task ends as cancelled, whatever is returned here.
            return Err(TaskError::fail("cancelled"));
        }
        // A task can run more than once. Its id stays the same, so with this key the mail service can drop
        // duplicates.
        let key = format!("{}/{sent}", context.task_id());
        // `?` turns an error into a retry: the task runs again after a growing delay, while attempts are
        // left. `TaskError::retry_after` sets the delay.
        mailer
            .deliver(&key, &letter.subject, recipient, context.attempt())
            .await?;
        context.progress(Sent { sent: sent + 1, of })?;
    }
    Ok(Sent { sent: of, of })
}

/// Simulates the client of a mail service, with its connections and settings.
struct Mailer {
    time_per_letter: Duration,
}

impl Mailer {
    /// Sends one letter. The service rejects addresses at `busy.example` at the first attempt.
    async fn deliver(&self, _key: &str, _subject: &str, recipient: &str, attempt: i32) -> io::Result<()> {
        tokio::time::sleep(self.time_per_letter).await;
        if attempt == 1 && recipient.ends_with("@busy.example") {
            return Err(io::Error::other("the mail service is busy"));
        }
        Ok(())
    }
}

/// The parameters of `count_primes`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Primes {
    /// The largest number to check.
    #[schemars(range(max = 10_000_000))]
    up_to: u32,
}

fn count_primes(context: Context, parameters: Primes) -> Result<usize, TaskError> {
    let mut count = 0;
    for number in 2..=parameters.up_to {
        // A thread cannot be stopped from outside, so the handler checks for cancellation itself.
        if number % 10_000 == 0 && context.is_cancelled() {
            return Err(TaskError::fail("cancelled"));
        }
        count += usize::from(is_prime(number));
    }
    Ok(count)
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasker_worker::testing::{self, TestRun};

    use super::*;

    /// Returns a run of `send_newsletter` to these recipients.
    fn newsletter_to(recipients: &[&str]) -> TestRun {
        let mailer = Arc::new(Mailer {
            time_per_letter: Duration::ZERO,
        });
        let letter = json!({"subject": "News", "recipients": recipients});
        testing::run(newsletters(mailer), letter)
    }

    #[test]
    fn a_newsletter_without_recipients_field_or_with_an_unknown_one_is_invalid() {
        let read = serde_json::from_str::<Newsletter>;
        assert!(read(r#"{"subject":"News","recipients":["a@b.example"]}"#).is_ok());
        assert!(read(r#"{"subject":"News"}"#).is_err());
        assert!(read(r#"{"subject":"News","recipients":[],"cc":[]}"#).is_err());
    }

    #[tokio::test]
    async fn a_newsletter_reports_each_letter_and_returns_their_number() {
        let outcome = newsletter_to(&["a@b.example", "c@d.example"]).await;
        assert_eq!(outcome.result.expect("a result"), json!({"sent": 2, "of": 2}));
        let progress = [json!({"sent": 1, "of": 2}), json!({"sent": 2, "of": 2})];
        assert_eq!(outcome.progress, progress);
    }

    #[tokio::test]
    async fn a_busy_mail_service_takes_the_letter_at_the_second_attempt() {
        let first = newsletter_to(&["a@busy.example"]).await;
        assert!(matches!(first.result, Err(TaskError::Retry(_))));
        let second = newsletter_to(&["a@busy.example"]).attempt(2).await;
        assert!(second.result.is_ok());
    }

    #[tokio::test]
    async fn what_is_not_an_address_is_not_tried_again() {
        let outcome = newsletter_to(&["a@b.example", "nowhere"]).await;
        let error = outcome.result.expect_err("a failure");
        assert!(matches!(error, TaskError::Fail(_)));
        assert_eq!(error.text(), "`nowhere` is not an address");
    }

    #[tokio::test]
    async fn a_cancelled_newsletter_stops_before_its_last_letter() {
        let mut run = newsletter_to(&["a@b.example"; 100_000]).start();
        assert!(run.progress().await.is_some());
        run.cancel();
        let outcome = run.outcome().await;
        assert!(outcome.result.is_err() && outcome.progress.len() < 100_000);
    }

    #[tokio::test]
    async fn primes_are_counted_up_to_the_number_itself() {
        let outcome = testing::run(primes(), json!({"up_to": 29})).await;
        assert_eq!(outcome.result.expect("a result"), json!(10));
    }
}
