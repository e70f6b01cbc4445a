//! A worker with two task types: replace them with yours.
//!
//! - `send_newsletter` waits for another service: an async handler that reports progress, stops when it is
//!   cancelled, and separates final failures from those that are retried.
//! - `count_primes` computes: a blocking handler, on its own thread.

use std::io;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType, Worker};

#[tokio::main]
async fn main() {
    let code = Worker::builder()
        .register(
            TaskType::new("send_newsletter", send_newsletter)
                .description("Sends a text to many recipients")
                .timeout(Duration::from_mins(10))
                .max_retries(5)
                .backoff(Duration::from_secs(2), Duration::from_mins(5)),
        )
        .register(
            TaskType::blocking("count_primes", count_primes).description("Counts the primes up to a number"),
        )
        .run()
        .await;
    // Not by returning: that would wait for blocking handlers that do not stop.
    std::process::exit(code)
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

async fn send_newsletter(context: Context, letter: Newsletter) -> Result<Sent, TaskError> {
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
        deliver(&key, &letter.subject, recipient, context.attempt()).await?;
        context.progress(Sent { sent: sent + 1, of })?;
    }
    Ok(Sent { sent: of, of })
}

/// Simulates a mail service that rejects addresses at `busy.example` at the first attempt.
async fn deliver(_key: &str, _subject: &str, recipient: &str, attempt: i32) -> io::Result<()> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    if attempt == 1 && recipient.ends_with("@busy.example") {
        return Err(io::Error::other("the mail service is busy"));
    }
    Ok(())
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
    use super::*;

    #[test]
    fn a_newsletter_without_recipients_field_or_with_an_unknown_one_is_invalid() {
        let read = serde_json::from_str::<Newsletter>;
        assert!(read(r#"{"subject":"News","recipients":["a@b.example"]}"#).is_ok());
        assert!(read(r#"{"subject":"News"}"#).is_err());
        assert!(read(r#"{"subject":"News","recipients":[],"cc":[]}"#).is_err());
    }

    #[tokio::test]
    async fn a_busy_mail_service_takes_the_letter_at_the_second_attempt() {
        assert!(deliver("key", "News", "a@busy.example", 1).await.is_err());
        assert!(deliver("key", "News", "a@busy.example", 2).await.is_ok());
        assert!(deliver("key", "News", "a@b.example", 1).await.is_ok());
    }

    #[test]
    fn a_prime_has_no_divisor_but_one_and_itself() {
        let primes: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    }
}
