//! Steps that concern the order itself: validate, ship, confirm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType};

/// One line of an order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Item {
    /// The article.
    pub(crate) sku: String,
    /// The number of pieces.
    pub(crate) quantity: u32,
    /// The price of one piece.
    price_cents: u64,
}

/// The parameters of `validate_order`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Order {
    order_id: String,
    customer: String,
    items: Vec<Item>,
}

/// The result of `validate_order`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Validated {
    order_id: String,
    /// The sum of all items.
    total_cents: u64,
}

/// The task type `validate_order`.
pub(crate) fn validate() -> TaskType<Order, Validated> {
    TaskType::new("validate_order", async |_: Context, order: Order| {
        if !order.customer.contains('@') {
            // no retry makes this order valid, so the step fails for good
            return Err(TaskError::fail(format!(
                "`{}` is not an e-mail address",
                order.customer
            )));
        }
        let lines = order
            .items
            .iter()
            .map(|item| item.price_cents * u64::from(item.quantity));
        Ok(Validated {
            total_cents: lines.sum(),
            order_id: order.order_id,
        })
    })
    .description("Validates an order and adds up its items")
}

/// The parameters of `ship_order`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Shipment {
    /// The id of the reserved stock.
    reservation: String,
    /// The id of the payment.
    payment: String,
}

/// The result of `ship_order`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shipped {
    tracking: String,
    reservation: String,
    payment: String,
}

/// The task type `ship_order`.
pub(crate) fn ship() -> TaskType<Shipment, Shipped> {
    TaskType::new("ship_order", async |context: Context, shipment: Shipment| {
        Ok(Shipped {
            // The step's id is the same in every run: a carrier that gets the request twice sees one parcel.
            tracking: format!("parcel-{}", context.task_id()),
            reservation: shipment.reservation,
            payment: shipment.payment,
        })
    })
    .description("Hands an order to the carrier")
}

/// The parameters of `send_confirmation`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Confirmation {
    to: String,
    tracking: String,
}

/// The task type `send_confirmation`.
pub(crate) fn confirm() -> TaskType<Confirmation, String> {
    TaskType::new("send_confirmation", async |_: Context, mail: Confirmation| {
        Ok(format!("sent {} to {}", mail.tracking, mail.to))
    })
    .description("Sends the tracking number to the customer")
}
