//! The kinds whose nodes call the outside, each with what one of its nodes does.

use std::fmt;

use futures_util::future::BoxFuture;

use super::{Kind, Work, http, llm, vector};
use crate::handler::{Context, NodeError, Reply};
use crate::outside::Caller;

type Run = fn(Context, Caller) -> BoxFuture<'static, Result<Reply, NodeError>>;

const KINDS: [(&str, Run); 4] = [
    ("http", |ctx, caller| Box::pin(async move { http::run(&ctx, &caller).await })),
    ("llm", |ctx, caller| Box::pin(async move { llm::run(&ctx, &caller).await })),
    ("vector_search", |ctx, caller| Box::pin(async move { vector::search(&ctx, &caller).await })),
    ("vector_upsert", |ctx, caller| Box::pin(async move { vector::upsert(&ctx, &caller).await })),
];

/// A kind whose nodes call the outside.
pub(crate) struct CallingKind {
    name: &'static str,
    run: Run,
    caller: Caller,
}

impl CallingKind {
    /// Whether one of them is called so.
    pub(crate) fn has(name: &str) -> bool {
        KINDS.iter().any(|(known, _)| *known == name)
    }

    /// All of them.
    pub(crate) fn all(caller: &Caller) -> [Self; KINDS.len()] {
        KINDS.map(|(name, run)| Self { name, run, caller: caller.clone() })
    }
}

impl fmt::Debug for CallingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallingKind").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Kind for CallingKind {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        Ok(Work::new((self.run)(ctx, self.caller.clone())))
    }
}
