//! The route handlers, one file per action.

pub mod auth_key_create;
pub mod auth_key_revoke;
pub mod auth_keys;
pub mod auth_token;
pub mod cancel;
pub mod dead_letters;
pub mod dead_letters_purge;
pub mod dead_letters_retry;
pub mod explain;
pub mod get;
pub mod health;
pub mod history;
pub mod list;
pub mod metrics;
pub mod orchestration;
pub mod problem;
pub mod queue_create;
pub mod queue_pause;
pub mod queue_resume;
pub mod queue_scaling;
pub mod queues;
pub mod result;
pub mod retry;
pub mod status;
pub mod submit;
pub mod submit_batch;
pub mod template;
pub mod templates;
pub mod totals;
pub mod types;
pub mod workers;

mod view;
