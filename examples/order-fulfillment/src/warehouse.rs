//! Steps that concern the stock: check and reserve.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_worker::{Context, TaskError, TaskType};

use crate::order::Item;

/// Simulates the service of a warehouse.
#[derive(Debug)]
pub(crate) struct Warehouse(Mutex<Stock>);

#[derive(Debug)]
struct Stock {
    pieces: BTreeMap<String, u32>,
    /// Reservations that were made, so that a second request with the same key takes no more pieces.
    reservations: BTreeSet<String>,
}

impl Default for Warehouse {
    fn default() -> Self {
        let articles = ["lamp", "chair", "table"];
        Self(Mutex::new(Stock {
            pieces: articles.map(|sku| (sku.to_owned(), 1_000)).into(),
            reservations: BTreeSet::new(),
        }))
    }
}

impl Warehouse {
    /// Returns the first article of which there are too few pieces.
    fn missing(&self, items: &[Item]) -> Option<String> {
        let stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = items.iter().find(|item| {
            stock
                .pieces
                .get(&item.sku)
                .is_none_or(|pieces| *pieces < item.quantity)
        });
        missing.map(|item| item.sku.clone())
    }

    /// Reserves pieces once per `key`.
    fn reserve(&self, key: &str, items: &[Item]) {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !stock.reservations.insert(key.to_owned()) {
            return;
        }
        for item in items {
            if let Some(pieces) = stock.pieces.get_mut(&item.sku) {
                *pieces = pieces.saturating_sub(item.quantity);
            }
        }
    }
}

/// The parameters of `check_inventory`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Check {
    items: Vec<Item>,
}

/// The result of `check_inventory`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Available {
    /// The warehouse that has all items.
    warehouse: String,
}

/// The task type `check_inventory`.
pub(crate) fn check(warehouse: Arc<Warehouse>) -> TaskType<Check, Available> {
    TaskType::new("check_inventory", move |_: Context, check: Check| {
        let missing = warehouse.missing(&check.items);
        async move {
            match missing {
                Some(sku) => Err(TaskError::fail(format!("`{sku}` is sold out"))),
                None => Ok(Available {
                    warehouse: "main".to_owned(),
                }),
            }
        }
    })
    .description("Finds a warehouse that has all items")
}

/// The parameters of `reserve_stock`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Reserve {
    warehouse: String,
    items: Vec<Item>,
}

/// The result of `reserve_stock`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Reserved {
    reservation: String,
}

/// The task type `reserve_stock`.
pub(crate) fn reserve(warehouse: Arc<Warehouse>) -> TaskType<Reserve, Reserved> {
    TaskType::new("reserve_stock", move |context: Context, request: Reserve| {
        let key = context.task_id().to_string();
        warehouse.reserve(&key, &request.items);
        async move {
            Ok(Reserved {
                reservation: format!("{}-{key}", request.warehouse),
            })
        }
    })
    .description("Reserves the items of an order")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasker_worker::testing;

    use super::*;

    #[tokio::test]
    async fn an_article_that_is_not_there_fails_the_step_for_good() {
        let order = json!({"items": [{"sku": "boat", "quantity": 1, "price_cents": 1}]});
        let outcome = testing::run(check(Arc::default()), order).await;
        let error = outcome.result.expect_err("a failure");
        assert!(matches!(error, TaskError::Fail(_)));
        assert_eq!(error.text(), "`boat` is sold out");
    }

    #[test]
    fn a_reservation_that_is_made_twice_takes_its_pieces_once() {
        let warehouse = Warehouse::default();
        let items: Vec<Item> =
            serde_json::from_value(json!([{"sku": "lamp", "quantity": 600, "price_cents": 1}]))
                .expect("items");
        warehouse.reserve("one", &items);
        warehouse.reserve("one", &items);
        assert_eq!(warehouse.0.lock().expect("the stock").pieces["lamp"], 400);
        assert_eq!(warehouse.missing(&items), Some("lamp".to_owned()));
    }
}
