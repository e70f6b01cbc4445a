//! A worker with the steps of the workflow `order_fulfillment`. The definition of the workflow is in
//! `templates/`; the handlers know only their own parameters and results, so each is also a plain task.

mod order;
mod payment;
mod warehouse;

use std::sync::Arc;

use tasker_worker::{Worker, WorkerBuilder, WorkerConfig};

use warehouse::Warehouse;

#[tokio::main]
async fn main() {
    let code = match WorkerConfig::load(std::env::args_os()) {
        Ok(config) => worker().run_with(config).await,
        Err(error) => error.report(),
    };
    std::process::exit(code)
}

/// The worker with its task types. The warehouse is shared by the runs of two of them.
fn worker() -> WorkerBuilder {
    let warehouse = Arc::new(Warehouse::default());
    Worker::builder()
        .register(order::validate())
        .register(warehouse::check(Arc::clone(&warehouse)))
        .register(warehouse::reserve(warehouse))
        .register(payment::process())
        .register(order::ship())
        .register(order::confirm())
}
