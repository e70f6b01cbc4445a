//! The pure core of workflows: what a template is, and when its steps make a graph. No I/O, no clock.

mod checks;
pub mod dag;
pub mod template;

pub use checks::{Problem, TemplateError};
pub use template::Template;
