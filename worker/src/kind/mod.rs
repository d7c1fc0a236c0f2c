//! Node kinds that a worker runs. Each is one file here, behind the small trait [`Kind`].

mod calling;
mod enabled;
mod exec;
mod http;
mod llm;
mod pick;
mod registry;
mod rust;
mod set;
mod vector;
mod work;

pub(crate) use calling::CallingKind;
pub use enabled::KindName;
pub(crate) use exec::{ARGUMENT, ExecKind, claim_children, serve};
pub(crate) use registry::Kinds;
pub(crate) use rust::RustKind;
pub(crate) use set::SetKind;
pub use work::{Kind, Work};
