//! The kinds `vector_search` and `vector_upsert`: a collection of vectors, whoever keeps it, and the model that makes
//! vectors of texts.
//!
//! ```text
//! search, upsert ──► embed ──► wire          texts become vectors, in bounded batches
//!       │                       ▲
//!       ▼                       │
//!   collection ──► chroma, qdrant, pinecone  the same two requests in the words of each store
//! ```
//!
//! All requests of a try are made one after another, each within the limits of a call. Nothing is remembered between tries: a
//! second one begins anew, and puts the same items under the same ids.

mod chroma;
mod collection;
mod embed;
mod endpoint;
mod item;
mod numbers;
mod pinecone;
mod qdrant;
mod search;
mod upsert;
mod wire;

pub(super) use search::search;
pub(super) use upsert::upsert;
