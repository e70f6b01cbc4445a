//! Drawings of a definition: text for a terminal, and Mermaid.

mod mermaid;
mod text;

pub use mermaid::mermaid;
pub use text::text;
