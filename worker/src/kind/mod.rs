//! Node kinds that a worker runs. Each is one file here, behind the small trait [`Kind`].

mod exec;
mod http;
mod llm;
mod pick;
mod registry;
mod rust;
mod set;
mod vector;
mod work;

pub(crate) use exec::ExecKind;
pub(crate) use http::HttpKind;
pub(crate) use llm::LlmKind;
pub(crate) use registry::Kinds;
pub(crate) use rust::RustKind;
pub(crate) use set::SetKind;
pub(crate) use vector::{VectorSearchKind, VectorUpsertKind};
pub use work::{Kind, Work};
