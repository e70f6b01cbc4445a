//! Workflows: templates, their validation and the graph of their steps. No I/O, no clock.

mod checks;
pub mod dag;
mod parse;
pub mod template;

pub use checks::{Problem, TemplateError};
pub use template::Template;
