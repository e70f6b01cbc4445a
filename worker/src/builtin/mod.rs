//! The built-in tasks of `tasker-worker`.

mod echo;
mod example_data_processing;
mod example_failing;
mod example_long_running;
mod http_request;
mod noop;

use tasker_shared::config::AllowList;

use crate::task::Task;

/// All built-in task types. `private` lists the private addresses that `http_request` may reach.
pub fn all(private: AllowList) -> Vec<Task> {
    vec![
        noop::task(),
        echo::task(),
        example_long_running::task(),
        example_data_processing::task(),
        example_failing::task(),
        http_request::task(private),
    ]
}
