//! The built-in tasks of `tasker-worker`.

mod backup;
mod child;
mod echo;
mod example_data_processing;
mod example_failing;
mod example_long_running;
mod http_request;
mod noop;
mod service;

use tasker_shared::config::WorkerConfig;

use crate::task::Task;

/// All built-in task types; those that `config` has to allow only where it does.
pub fn all(config: &WorkerConfig) -> Vec<Task> {
    let mut tasks = vec![
        noop::task(),
        echo::task(),
        example_long_running::task(),
        example_data_processing::task(),
        example_failing::task(),
        http_request::task(config.http_request_allow.clone()),
    ];
    tasks.extend(config.backup.clone().map(backup::task));
    if !config.service_commands.is_empty() {
        tasks.push(service::task(config.service_commands.clone()));
    }
    tasks
}
