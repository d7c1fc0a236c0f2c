//! The kind `vector_upsert`: items put into a collection, in bounded batches.

use coxswain_shared::graph::{NodeKind, VectorUpsertNode};
use coxswain_shared::limits::STREAM_BYTES;
use serde_json::{Value, json};

use super::collection::{Collection, Place};
use super::embed::Embedder;
use super::item::{self, Item, Point};
use super::wire::Wire;
use crate::handler::{Context, NodeError, Reply};
use crate::kind::llm::RETRY_ON;
use crate::kind::pick::pick;
use crate::kind::set::scope_of;
use crate::outside::{Caller, Texts, request};

/// Points of one request to a store.
const POINTS_MAX: usize = 100;
/// Bytes of one request to a store, unless a single point is longer: Pinecone takes 2 MB.
const POINTS_BYTES: usize = 1024 * 1024;

/// Puts a node's items into its collection.
pub(in crate::kind) async fn upsert(ctx: &Context, caller: &Caller) -> Result<Reply, NodeError> {
    let NodeKind::VectorUpsert(node) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    let mut texts = caller.texts(scope_of(ctx));
    let upserted = upsert_items(ctx, caller, node, &mut texts).await;
    upserted.map_err(|error| error.map_texts(|text| texts.secrets().redact(text)))
}

async fn upsert_items(
    ctx: &Context,
    caller: &Caller,
    node: &VectorUpsertNode,
    texts: &mut Texts<'_>,
) -> Result<Reply, NodeError> {
    let place = Place::fill(&node.collection, texts)?;
    let embed = node.embed.as_ref();
    let mut embedder = embed.map(|embed| Embedder::fill((ctx, caller), embed, texts)).transpose()?;
    if let Some(embedder) = &embedder {
        embedder.check_price()?;
    }
    let items = item::read(texts.json("items", &node.items)?, embedder.is_some())?;
    let ids: Vec<String> = items.iter().map(|item| texts.secrets().redact(&item.id)).collect();
    if !items.is_empty() {
        let max_bytes = node.max_bytes.unwrap_or(STREAM_BYTES as u64);
        let mut wire = Wire::new(ctx, caller.call(ctx, texts, (max_bytes, &RETRY_ON)));
        let collection = Collection::find_or_make(&place, node.metric.unwrap_or_default(), &mut wire).await?;
        let put = put(ctx, &mut wire, &collection, (items, embedder.as_mut())).await;
        if let Some(embedder) = &embedder {
            embedder.tell_usage();
        }
        put?;
    }
    let count = Value::from(ids.len());
    if let Some(output) = &node.output {
        let usage = embedder.map_or(Value::Null, |embedder| embedder.usage());
        return Ok(Reply::update(pick(ctx, output, &[("count", count), ("ids", json!(ids)), ("usage", usage)])?));
    }
    Ok(if ctx.definition().into.is_some() { Reply::update(count) } else { Reply::nothing() })
}

/// Puts items there, batch by batch: no more vectors are held at once than belong in one request to the model.
async fn put(
    ctx: &Context,
    wire: &mut Wire<'_>,
    collection: &Collection<'_>,
    (mut items, mut embedder): (Vec<Item>, Option<&mut Embedder>),
) -> Result<(), NodeError> {
    let (all, mut done, mut length) = (items.len(), 0, None);
    while !items.is_empty() {
        let texts = items.iter().map(|item| if item.vector.is_none() { text_of(item) } else { "" });
        let fitting = embedder.as_deref().map_or(POINTS_MAX, |embedder| embedder.fitting(texts));
        let rest = items.split_off(fitting.min(items.len()));
        let batch = std::mem::replace(&mut items, rest);
        let points = points(wire, batch, embedder.as_deref_mut()).await?;
        for point in &points {
            check_length(point, *length.get_or_insert(point.vector.length()))?;
        }
        let mut points = points.as_slice();
        while !points.is_empty() {
            let (some, others) = points.split_at(fitting_points(points));
            collection.put(wire, some).await?;
            wire.note_done();
            points = others;
            done += some.len();
            if all > POINTS_MAX {
                ctx.progress(json!({"items": done, "of": all}));
            }
        }
    }
    Ok(())
}

/// Items with their vectors; those that have none get one of their text, by one request.
async fn points(
    wire: &mut Wire<'_>,
    items: Vec<Item>,
    embedder: Option<&mut Embedder>,
) -> Result<Vec<Point>, NodeError> {
    let texts: Vec<&str> = items.iter().filter(|item| item.vector.is_none()).map(text_of).collect();
    let made = match embedder {
        Some(embedder) if !texts.is_empty() => embedder.vectors(wire, &texts).await?,
        Some(_) | None => Vec::new(),
    };
    let mut made = made.into_iter();
    let points = items.into_iter().filter_map(|item| {
        let Item { id, text, vector, metadata } = item;
        let vector = vector.or_else(|| made.next())?;
        Some(Point { id, text, vector, metadata })
    });
    Ok(points.collect())
}

fn text_of(item: &Item) -> &str {
    item.text.as_deref().unwrap_or_default()
}

fn check_length(point: &Point, wanted: usize) -> Result<(), NodeError> {
    let length = point.vector.length();
    if length == wanted {
        return Ok(());
    }
    let id = &point.id;
    Err(request::bad(format!("the vector of the item `{id}` has {length} numbers, and those before it {wanted}")))
}

/// How many of these points belong in one request: at least one.
fn fitting_points(points: &[Point]) -> usize {
    let mut bytes = 0;
    let fits = |point: &&Point| {
        bytes += point.bytes();
        bytes <= POINTS_BYTES
    };
    points.iter().take(POINTS_MAX).take_while(fits).count().max(1)
}
