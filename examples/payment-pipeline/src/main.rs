//! A worker with the steps of the workflow `card_payment`, whose definition is in `templates/`.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType, Worker, WorkerBuilder, WorkerConfig};

/// The card number that the simulated bank refuses.
const REFUSED_CARD: &str = "0000";
/// The amount from which a payment is a high risk.
const HIGH_RISK_CENTS: u64 = 1_000_000;

#[tokio::main]
async fn main() {
    let code = match WorkerConfig::load(std::env::args_os()) {
        Ok(config) => worker().run_with(config).await,
        Err(error) => error.report(),
    };
    std::process::exit(code)
}

/// The worker with its task types.
fn worker() -> WorkerBuilder {
    Worker::builder()
        .register(authorize())
        .register(screen())
        .register(capture())
        .register(book())
        .register(notify_refusal())
}

/// The parameters of `authorize_payment` and `screen_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Charge {
    card: String,
    amount_cents: u64,
}

/// The result of `authorize_payment`.
#[derive(Debug, Serialize, JsonSchema)]
struct Authorized {
    authorization: String,
}

/// The task type `authorize_payment`.
fn authorize() -> TaskType<Charge, Authorized> {
    TaskType::new("authorize_payment", async |_: Context, charge: Charge| {
        Ok(Authorized {
            authorization: format!("{}/{}", charge.card, charge.amount_cents),
        })
    })
    .description("Asks the bank to hold an amount")
}

/// The risk of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Risk {
    Low,
    High,
}

/// The result of `screen_payment`.
#[derive(Debug, Serialize, JsonSchema)]
struct Screened {
    risk: Risk,
}

/// The task type `screen_payment`.
fn screen() -> TaskType<Charge, Screened> {
    TaskType::new("screen_payment", async |_: Context, charge: Charge| {
        let risk = if charge.amount_cents < HIGH_RISK_CENTS {
            Risk::Low
        } else {
            Risk::High
        };
        Ok(Screened { risk })
    })
    .description("Estimates the risk of fraud")
}

/// The parameters of `capture_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Capture {
    authorization: String,
    amount_cents: u64,
    risk: Risk,
}

/// The result of `capture_payment`.
#[derive(Debug, Serialize, JsonSchema)]
struct Captured {
    captured_cents: u64,
}

/// The task type `capture_payment`. The simulated bank is busy at the first attempt.
fn capture() -> TaskType<Capture, Captured> {
    TaskType::new("capture_payment", async |context: Context, capture: Capture| {
        if capture.risk == Risk::High {
            return Err(TaskError::fail("the risk is too high"));
        }
        if capture.authorization.starts_with(REFUSED_CARD) {
            return Err(TaskError::fail("the bank refused the card"));
        }
        if context.attempt() == 1 {
            return Err(io::Error::other("the bank is busy").into());
        }
        Ok(Captured {
            captured_cents: capture.amount_cents,
        })
    })
    .description("Takes the amount that was authorized")
}

/// The parameters of `book_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Booking {
    payment_id: String,
    captured_cents: u64,
}

/// The task type `book_payment`.
fn book() -> TaskType<Booking, String> {
    TaskType::new("book_payment", async |_: Context, booking: Booking| {
        Ok(format!(
            "{}: {} cents",
            booking.payment_id, booking.captured_cents
        ))
    })
    .description("Books a payment in the ledger")
}

/// The parameters of `notify_refusal`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Refusal {
    payment_id: String,
    reason: String,
}

/// The task type `notify_refusal`.
fn notify_refusal() -> TaskType<Refusal, String> {
    TaskType::new("notify_refusal", async |_: Context, refusal: Refusal| {
        Ok(format!("{}: {}", refusal.payment_id, refusal.reason))
    })
    .description("Informs the customer of a refusal")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasker_worker::testing;

    use super::*;

    #[tokio::test]
    async fn a_refused_card_is_not_tried_again_and_a_busy_bank_is() {
        let card = |number: &str| json!({"authorization": format!("{number}/100"), "amount_cents": 100, "risk": "low"});
        let refused = testing::run(capture(), card(REFUSED_CARD)).await;
        assert!(matches!(refused.result, Err(TaskError::Fail(_))));
        let busy = testing::run(capture(), card("4242")).await;
        assert!(matches!(busy.result, Err(TaskError::Retry(_))));
        let second = testing::run(capture(), card("4242")).attempt(2).await;
        assert_eq!(second.result.expect("a result"), json!({"captured_cents": 100}));
    }
}
