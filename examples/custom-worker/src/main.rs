//! A worker with two tasks of its own. Copy this folder to begin.
//!
//! - `send_newsletter` waits for others: an async handler that reports progress, heeds cancellation, and tells failures
//!   that may pass from failures that will not.
//! - `count_primes` computes: a blocking handler, on a thread of its own.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, Task, TaskError, Worker};

#[tokio::main]
async fn main() -> ExitCode {
    Worker::builder()
        .register(
            Task::new("send_newsletter", send_newsletter)
                .description("Sends a text to many recipients")
                .timeout(Duration::from_mins(10))
                .max_retries(5)
                .backoff(Duration::from_secs(2), Duration::from_mins(5)),
        )
        .register(
            Task::blocking("count_primes", count_primes).description("Counts the primes up to a number"),
        )
        .run()
        .await
}

/// The parameters of `send_newsletter`. The server holds every submit against the JSON Schema that is made from this
/// type; what a field's comment says stands in it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Newsletter {
    /// What it is about.
    subject: String,
    /// Who gets it.
    #[schemars(length(min = 1))]
    recipients: Vec<String>,
}

/// Shown by `GET /tasks/{id}` as `progress` while the task runs, and as its `result` in the end.
#[derive(Debug, Serialize)]
struct Sent {
    sent: usize,
    of: usize,
}

async fn send_newsletter(context: Context, letter: Newsletter) -> Result<Sent, TaskError> {
    // No other try will make these right: the task becomes a dead letter with this text, for somebody to look at.
    if let Some(wrong) = letter.recipients.iter().find(|address| !address.contains('@')) {
        return Err(TaskError::fail(format!("`{wrong}` is no address")));
    }
    let of = letter.recipients.len();
    for (sent, recipient) in letter.recipients.iter().enumerate() {
        if context.is_cancelled() {
            // The task ends cancelled whatever is returned here, so that only the time it takes counts.
            return Err(TaskError::fail("cancelled"));
        }
        // A task can run more than once. Its id stays the same, so this key lets the far side see what it has already.
        let key = format!("{}/{sent}", context.task_id());
        // `?` makes any error a `TaskError::Retry`: the task is tried again after the backoff, while attempts are left.
        // `TaskError::retry_after` says when, for a far side that does.
        deliver(&key, &letter.subject, recipient, context.attempt()).await?;
        context.progress(Sent { sent: sent + 1, of })?;
    }
    Ok(Sent { sent: of, of })
}

/// Stands for a call to a mail service. Addresses at `busy.example` are refused at the first attempt.
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
    /// The largest number to look at.
    #[schemars(range(max = 10_000_000))]
    up_to: u32,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "handlers own their context and parameters"
)]
fn count_primes(context: Context, parameters: Primes) -> Result<usize, TaskError> {
    let mut count = 0;
    for number in 2..=parameters.up_to {
        // Nobody can stop a thread from outside, so it looks for itself now and then.
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
    fn a_prime_has_no_divisor_but_one_and_itself() {
        let primes: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    }
}
