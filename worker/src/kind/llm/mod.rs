//! The kind `llm`: one call of a language model, whose answer is streamed, whatever the graph makes of it.
//!
//! ```text
//! fallback        the node's model, and those that stand in for it: each a call
//! unpaid          whether a model that refuses wants to be paid: then no other try helps, but another model may
//!
//! ask ──► openai, anthropic        the request: one body for all nodes, in the words of the provider
//!
//! sse ──► openai, anthropic ──► gathered      the answer: bytes, events, and what they add up to
//!              │
//!              ▼
//!           stream ──► tokens      the limits of the first token and of silence; events while it comes
//!              │
//!              ▼
//!           answer                 the schema, and what is written
//! ```
//!
//! A message is in the words of OpenAI's API wherever a graph sees it, so that a conversation can go on with another
//! provider. A call is dropped with the attempt that makes it, which closes its connection.

mod answer;
mod anthropic;
mod ask;
mod bill;
mod call;
mod fallback;
mod gathered;
mod openai;
mod sse;
mod stream;
mod tokens;
mod unpaid;

pub(super) use call::RETRY_ON;
pub(super) use fallback::run;
pub(super) use unpaid::error_of;
