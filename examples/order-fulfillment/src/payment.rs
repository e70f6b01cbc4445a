//! The step that takes the money.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType};

/// The parameters of `process_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Payment {
    order_id: String,
    amount_cents: u64,
    currency: String,
}

/// The result of `process_payment`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Paid {
    payment: String,
    amount_cents: u64,
    currency: String,
}

/// The task type `process_payment`.
pub(crate) fn process() -> TaskType<Payment, Paid> {
    TaskType::new("process_payment", async |context: Context, payment: Payment| {
        // `?` turns this error into a retry, with the waits that the definition sets.
        charge(&payment, context.attempt())?;
        Ok(Paid {
            payment: format!("payment-{}", context.task_id()),
            amount_cents: payment.amount_cents,
            currency: payment.currency,
        })
    })
    .description("Charges the customer")
}

/// Simulates a payment gateway, which rejects orders above 1,000.00 and is busy at the first attempt.
fn charge(payment: &Payment, attempt: i32) -> Result<(), TaskError> {
    if payment.amount_cents > 100_000 {
        let refused = format!("the bank refused the payment of {}", payment.order_id);
        return Err(TaskError::fail(refused));
    }
    if attempt == 1 {
        return Err(io::Error::other("the payment gateway is busy").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasker_worker::testing;

    use super::*;

    #[tokio::test]
    async fn a_busy_gateway_is_tried_again_and_a_refusal_is_not() {
        let order = |amount_cents| json!({"order_id": "o", "amount_cents": amount_cents, "currency": "EUR"});
        let busy = testing::run(process(), order(100)).await;
        assert!(matches!(busy.result, Err(TaskError::Retry(_))));
        let second = testing::run(process(), order(100)).attempt(2).await;
        assert_eq!(second.result.expect("a result")["amount_cents"], json!(100));
        let refused = testing::run(process(), order(200_000)).await;
        assert!(matches!(refused.result, Err(TaskError::Fail(_))));
    }
}
