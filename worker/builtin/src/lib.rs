//! The built-in task types of the program `tasker-worker`, which is this crate's binary. They are written on
//! the library `tasker-worker`, as any other worker's types are.

mod any_json;
mod backup;
mod child;
mod echo;
mod example_data_processing;
mod example_failing;
mod example_long_running;
mod example_workflow;
mod http_request;
mod noop;
mod service;

use tasker_config::WorkerConfig;
use tasker_core::task::retry::Backoff;
use tasker_worker::{AnyTaskType, TaskType};

/// Retries of most built-in types.
const RETRIES: u32 = 3;

/// Sets retries that are over within seconds, so that examples and calls of unreachable hosts fail quickly.
fn retried_quickly<P, R>(task: TaskType<P, R>, retries: u32) -> TaskType<P, R> {
    let Backoff { base, cap } = Backoff::QUICK;
    task.max_retries(retries).backoff(base, cap)
}

/// Adds the example workflow to the templates that a worker with this configuration publishes.
pub fn add_example_workflow(config: &mut WorkerConfig) {
    example_workflow::add(config);
}

/// Returns the built-in task types that `config` chooses (`BUILTIN_TASKS`). `task:backup` and the types of
/// services are included only if `config` configures them.
pub fn all(config: &WorkerConfig) -> Vec<AnyTaskType> {
    let mut tasks = vec![
        noop::task(),
        echo::task(),
        example_long_running::task(),
        example_data_processing::task(),
        example_failing::task(),
        http_request::task(config.http_request_allow.clone()),
    ];
    tasks.extend(config.backup.clone().map(backup::task));
    tasks.extend(service::tasks(config.service_commands.clone()));
    tasks.retain(|task| config.builtin_tasks.includes(task.name()));
    tasks
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tasker_worker::Role;

    use super::*;

    const QUICK: (Duration, Duration) = (Backoff::QUICK.base, Backoff::QUICK.cap);

    #[test]
    fn built_in_types_keep_their_few_quick_retries() {
        for task in [
            noop::task(),
            echo::task(),
            example_long_running::task(),
            example_data_processing::task(),
            http_request::task(tasker_config::AllowList::default()),
        ] {
            assert_eq!((task.retries(), task.delays()), (3, QUICK), "{task:?}");
        }
        let failing = example_failing::task();
        assert_eq!((failing.retries(), failing.delays()), (2, QUICK));
    }

    #[test]
    fn types_that_act_on_the_deployment_require_an_operator_and_no_others_do() {
        let backup = tasker_config::BackupConfig {
            dir: "/backups".into(),
            keep: None,
            max_age: None,
            database_url: "postgres://localhost/tasker".into(),
            program: "pg_dump".to_owned(),
        };
        let backup = backup::task(backup);
        assert_eq!(backup.required_role(), Some(Role::Operator));
        for task in [
            noop::task(),
            echo::task(),
            example_long_running::task(),
            example_data_processing::task(),
            example_failing::task(),
            http_request::task(tasker_config::AllowList::default()),
        ] {
            assert_eq!(task.required_role(), None, "{task:?}");
        }
    }

    /// The names of the types of a worker with these settings beside a backup folder and a service.
    fn names(settings: &[&str]) -> Vec<String> {
        let fixed = [
            "tasker-worker",
            "--database-url=postgres://t@127.0.0.1/t",
            "--backup-dir=/backups",
            r#"--service-commands={"web": {"command": ["true"]}}"#,
        ];
        let config = WorkerConfig::load([&fixed, settings].concat()).expect("valid settings");
        let mut names: Vec<String> = all(&config).iter().map(|task| task.name().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_worker_registers_the_built_in_types_that_its_configuration_chooses() {
        let every = names(&[]);
        for name in [
            "noop",
            "example_failing",
            "task:backup",
            "service:command",
            "service:web",
        ] {
            assert!(every.iter().any(|other| other == name), "{name}: {every:?}");
        }
        for name in &every {
            let chosen = names(&[&format!("--builtin-tasks={name}")]);
            assert_eq!(
                chosen,
                [name.as_str()],
                "the configuration knows every type by its name"
            );
        }
        assert!(names(&["--builtin-tasks=none"]).is_empty());
    }
}
