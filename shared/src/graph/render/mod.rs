//! Drawings of graphs: as text for a terminal, and as Mermaid for documents.

mod label;
mod layers;
mod mermaid;
mod text;

pub use mermaid::mermaid;
pub use text::text;
