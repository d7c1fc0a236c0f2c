//! The kind `vector_search`: what is nearest to a text or a vector.

use coxswain_shared::graph::{NodeKind, VECTOR_LIMIT, VectorSearchNode};
use coxswain_shared::limits::STREAM_BYTES;
use serde_json::Value;

use super::collection::{Collection, Match, Place, Sought};
use super::embed::Embedder;
use super::numbers::Vector;
use super::wire::Wire;
use crate::handler::{Context, NodeError, Reply};
use crate::kind::llm::RETRY_ON;
use crate::kind::pick::pick;
use crate::kind::set::scope_of;
use crate::outside::{Caller, Extra, Texts, request};

/// What is searched for, as far as it is known before anybody is asked.
enum Target {
    Vector(Vector),
    Query(String, Box<Embedder>),
}

/// One search.
pub(in crate::kind) async fn search(ctx: &Context, caller: &Caller) -> Result<Reply, NodeError> {
    let NodeKind::VectorSearch(node) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    let mut texts = caller.texts(scope_of(ctx));
    let found = find(ctx, caller, node, &mut texts).await;
    found.map_err(|error| error.map_texts(|text| texts.secrets().redact(text)))
}

async fn find(
    ctx: &Context,
    caller: &Caller,
    node: &VectorSearchNode,
    texts: &mut Texts<'_>,
) -> Result<Reply, NodeError> {
    let place = Place::fill(&node.collection, texts)?;
    let target = target((ctx, caller), node, texts)?;
    if let Target::Query(_, embedder) = &target {
        embedder.check_price()?;
    }
    let filter = node.filter.as_ref().map(|filter| texts.json("filter", filter)).transpose()?;
    let extra = Extra::fill("extra", &node.extra, texts)?;
    let max_bytes = node.max_bytes.unwrap_or(STREAM_BYTES as u64);
    let mut wire = Wire::new(ctx, caller.call(ctx, texts, (max_bytes, &RETRY_ON)));
    let collection = Collection::find(&place, &mut wire).await?;
    let (vector, usage) = match target {
        Target::Vector(vector) => (vector, Value::Null),
        Target::Query(query, mut embedder) => {
            let mut vectors = embedder.vectors(&mut wire, &[&query]).await?;
            embedder.tell_usage();
            (vectors.pop().expect("one text has one vector"), embedder.usage())
        }
    };
    let sought = Sought { vector, limit: node.limit.unwrap_or(VECTOR_LIMIT), filter, extra };
    let matches = collection.search(&mut wire, &sought).await?;
    let matches: Value = matches.into_iter().map(Match::into_json).collect();
    match &node.output {
        Some(output) => {
            let names = [("matches", matches), ("vector", sought.vector.to_json()), ("usage", usage)];
            Ok(Reply::update(pick(ctx, output, &names)?))
        }
        None => Ok(Reply::update(matches)),
    }
}

fn target(billed: (&Context, &Caller), node: &VectorSearchNode, texts: &mut Texts<'_>) -> Result<Target, NodeError> {
    if let Some(vector) = &node.vector {
        let vector = Vector::read(texts.json("vector", vector)?);
        return vector.map(Target::Vector).map_err(|error| request::bad(format!("`vector` {error}")));
    }
    let (Some(query), Some(embed)) = (&node.query, &node.embed) else {
        return Err(request::bad("the node has neither `vector`, nor `query` and `embed`"));
    };
    let query = texts.text("query", query)?;
    if query.trim().is_empty() {
        return Err(request::bad("`query` is empty: there is nothing to search for"));
    }
    Ok(Target::Query(query, Box::new(Embedder::fill(billed, embed, texts)?)))
}
