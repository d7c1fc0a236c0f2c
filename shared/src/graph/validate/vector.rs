//! Nodes that search among vectors, and that put items there.

use serde_json::Value;

use super::outside::{self, Texts};
use super::secrets::{self, Sent};
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::llm::Provider;
use crate::graph::model::{Graph, Node};
use crate::graph::outside::Text;
use crate::graph::place::Place;
use crate::graph::vector::{
    Embed, SEARCH_NAMES, UPSERT_NAMES, VectorCollection, VectorSearchNode, VectorStore, VectorUpsertNode,
};
use crate::id::NodeName;
use crate::limits::{EMBED_BATCH_MAX, STREAM_BYTES_MAX, VECTOR_ITEMS_MAX, VECTOR_LENGTH_MAX, VECTOR_MATCHES_MAX};

/// Fields of an embedding's body that a node sets itself.
const OWN_EMBED: [&str; 3] = ["dimensions", "input", "model"];
/// The fields of an item.
const ITEM_FIELDS: [&str; 4] = ["id", "metadata", "text", "vector"];

pub(super) fn search(
    graph: &Graph,
    doubts: &Doubts,
    (name, node, search): (&NodeName, &Node, &VectorSearchNode),
    (place, findings): (&Place, &mut Findings),
) {
    let texts = Texts { graph, doubts, name };
    let sent: Vec<_> = search.vector.iter().chain(&search.filter).chain(search.extra.values()).collect();
    collection(&texts, &search.collection, &sent, (place, findings));
    if let Some(embed) = &search.embed {
        self::embed(&texts, embed, &place.key("embed"), findings);
    }
    if let Some(query) = &search.query {
        texts.check(query, &place.key("query"), findings);
    }
    for (field, json) in [("vector", &search.vector), ("filter", &search.filter)] {
        if let Some(json) = json {
            texts.check_json(json, &place.key(field), findings);
        }
    }
    for (field, json) in &search.extra {
        texts.check_json(json, &place.key("extra").key(field), findings);
    }
    sought(search, place, findings);
    between("limit", search.limit, VECTOR_MATCHES_MAX, place, findings);
    between("max_bytes", search.max_bytes, STREAM_BYTES_MAX as u64, place, findings);
    let what = "channel, and none of `matches`, `vector` and `usage`";
    texts.output(search.output.as_ref(), (what, &SEARCH_NAMES), (place, findings));
    match (&node.into, &search.output) {
        (Some(_), Some(_)) => both_into(place, "`into` takes the list of matches; `output` picks from it", findings),
        (None, None) => findings
            .error(place, "the matches are written nowhere")
            .remedy("write `into:` and a channel, or `output: { channel: matches }`"),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

pub(super) fn upsert(
    graph: &Graph,
    doubts: &Doubts,
    (name, node, upsert): (&NodeName, &Node, &VectorUpsertNode),
    (place, findings): (&Place, &mut Findings),
) {
    let texts = Texts { graph, doubts, name };
    collection(&texts, &upsert.collection, &[&upsert.items], (place, findings));
    if let Some(embed) = &upsert.embed {
        self::embed(&texts, embed, &place.key("embed"), findings);
    }
    texts.check_json(&upsert.items, &place.key("items"), findings);
    items(upsert, &place.key("items"), findings);
    if upsert.metric.is_some() && upsert.collection.store == VectorStore::Pinecone {
        let finding = findings.error(&place.key("metric"), "an index of Pinecone has its metric from its making");
        finding.remedy("leave it out");
    }
    between("max_bytes", upsert.max_bytes, STREAM_BYTES_MAX as u64, place, findings);
    let what = "channel, and none of `count`, `ids` and `usage`";
    texts.output(upsert.output.as_ref(), (what, &UPSERT_NAMES), (place, findings));
    if node.into.is_some() && upsert.output.is_some() {
        both_into(place, "`into` takes the number of items; `output` picks from what there is", findings);
    }
}

fn both_into(place: &Place, remedy: &str, findings: &mut Findings) {
    findings.error(&place.key("into"), "the node has both `into` and `output`").remedy(remedy);
}

fn collection(
    texts: &Texts<'_>,
    collection: &VectorCollection,
    json: &[&Value],
    (place, findings): (&Place, &mut Findings),
) {
    for (field, text) in collection.texts() {
        texts.check(text, &place.key(field), findings);
    }
    headers(texts, &collection.headers, place, findings);
    for (field, text) in [("vector_name", &collection.vector_name), ("text_field", &collection.text_field)] {
        texts.literal(text.as_deref().unwrap_or_default(), &place.key(field), findings);
    }
    outside::url(&collection.url, &place.key("url"), findings);
    let store = collection.store;
    let example = match store {
        VectorStore::Chroma => "${env:CHROMA_API_KEY}",
        VectorStore::Qdrant => "${env:QDRANT_API_KEY}",
        VectorStore::Pinecone => "${env:PINECONE_API_KEY}",
    };
    outside::key(collection.api_key.as_ref(), example, place, findings);
    let sent = collection.texts().map(|(_, text)| text).chain(collection.headers.values());
    let sent = Sent { texts: sent.collect(), json: json.to_vec() };
    secrets::check(&collection.url, &sent, &place.key("url"), findings);
    match &collection.collection {
        None if store != VectorStore::Pinecone => {
            findings.error(place, "the node has no `collection`").remedy("write `collection:` and its name");
        }
        Some(name) if name.0.trim().is_empty() => {
            findings.error(&place.key("collection"), "the collection has no name");
        }
        Some(_) | None => {}
    }
    let foreign = [
        ("tenant", collection.tenant.is_some(), store == VectorStore::Chroma),
        ("database", collection.database.is_some(), store == VectorStore::Chroma),
        ("vector_name", collection.vector_name.is_some(), store == VectorStore::Qdrant),
        ("text_field", collection.text_field.is_some(), store != VectorStore::Chroma),
    ];
    for (field, _, _) in foreign.into_iter().filter(|(_, is_there, is_known)| *is_there && !is_known) {
        let message = format!("`store: {}` knows no `{field}`", store.name());
        findings.error(&place.key(field), message).remedy("leave it out");
    }
}

fn headers(
    texts: &Texts<'_>,
    headers: &std::collections::BTreeMap<String, Text>,
    place: &Place,
    findings: &mut Findings,
) {
    for (header, value) in headers {
        let place = place.key("headers").key(header);
        outside::header(header, value, &place, findings);
        texts.check(value, &place, findings);
    }
}

fn embed(texts: &Texts<'_>, embed: &Embed, place: &Place, findings: &mut Findings) {
    for (field, text) in embed.texts() {
        texts.check(text, &place.key(field), findings);
    }
    headers(texts, &embed.headers, place, findings);
    for (field, json) in &embed.extra {
        let place = place.key("extra").key(field);
        texts.check_json(json, &place, findings);
        if OWN_EMBED.contains(&field.as_str()) {
            findings.error(&place, format!("`{field}` is the node's own to say")).remedy("leave it out");
        }
    }
    if embed.model.0.trim().is_empty() {
        findings.error(&place.key("model"), "the model has no name");
    }
    if let Some(base_url) = &embed.base_url {
        outside::url(base_url, &place.key("base_url"), findings);
        let sent = embed.texts().map(|(_, text)| text).chain(embed.headers.values()).collect();
        let sent = Sent { texts: sent, json: embed.extra.values().collect() };
        secrets::check(base_url, &sent, &place.key("base_url"), findings);
    }
    outside::key(embed.api_key.as_ref(), Provider::Openai.api_key(), place, findings);
    between("dimensions", embed.dimensions, VECTOR_LENGTH_MAX as u64, place, findings);
    between("batch", embed.batch, EMBED_BATCH_MAX, place, findings);
}

/// What is searched for: a text and the model that makes a vector of it, or a vector.
fn sought(search: &VectorSearchNode, place: &Place, findings: &mut Findings) {
    match (&search.query, &search.vector, &search.embed) {
        (Some(_), Some(_), _) => {
            findings
                .error(&place.key("vector"), "the node has both `query` and `vector`")
                .remedy("keep one of them: `embed` makes a vector of the query");
        }
        (None, None, _) => {
            findings
                .error(place, "the node has neither `query` nor `vector`")
                .remedy("write `query:` and what is searched for");
        }
        (Some(_), None, None) => {
            findings
                .error(place, "nothing makes a vector of `query`")
                .remedy("write `embed: { model: … }`, the model that made those of the collection");
        }
        (None, Some(_), Some(_)) => {
            findings
                .error(&place.key("embed"), "there is no text to embed: the vector is given")
                .remedy("leave it out");
        }
        (Some(_), None, Some(_)) | (None, Some(_), None) => {}
    }
    if let Some(vector) = &search.vector {
        self::vector(vector, &place.key("vector"), findings);
    }
}

fn vector(vector: &Value, place: &Place, findings: &mut Findings) {
    let Value::Array(numbers) = vector else {
        if !is_expression(vector) {
            let finding =
                findings.error(place, "the vector must be a list of numbers, or one `{{ expression }}` that gives one");
            finding.remedy("write `\"{{ channel }}\"`");
        }
        return;
    };
    let are_numbers = numbers.iter().all(|number| number.is_number() || is_expression(number));
    if numbers.is_empty() || numbers.len() > VECTOR_LENGTH_MAX || !are_numbers {
        findings.error(place, format!("a vector has 1 to {VECTOR_LENGTH_MAX} numbers, and nothing else"));
    }
}

fn is_expression(json: &Value) -> bool {
    matches!(json, Value::String(text) if Text(text.clone()).is_expression())
}

fn items(upsert: &VectorUpsertNode, place: &Place, findings: &mut Findings) {
    let remedy = "write a list of `{ id: …, text: … }`, or `\"{{ channel }}\"`";
    let Value::Array(items) = &upsert.items else {
        if !is_expression(&upsert.items) {
            findings
                .error(place, "the items must be a list, or one `{{ expression }}` that gives a list")
                .remedy(remedy);
        }
        return;
    };
    if items.is_empty() || items.len() > VECTOR_ITEMS_MAX {
        findings.error(place, format!("a node puts 1 to {VECTOR_ITEMS_MAX} items into a collection"));
    }
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        let Value::Object(item) = item else {
            if !is_expression(item) {
                findings.error(&place, "this is no item").remedy(remedy);
            }
            continue;
        };
        for field in item.keys().filter(|field| !ITEM_FIELDS.contains(&field.as_str())) {
            let finding = findings.error(&place.key(field), format!("an item has no field `{field}`"));
            finding.suggest(field, ITEM_FIELDS);
        }
        if !item.contains_key("id") {
            findings
                .error(&place, "the item has no `id`")
                .remedy("with one, a second try replaces what the first one put");
        }
        match (item.get("vector"), item.get("text")) {
            (Some(vector), _) => self::vector(vector, &place.key("vector"), findings),
            (None, None) => findings.error(&place, "the item has neither `text` nor `vector`").remedy(remedy),
            (None, Some(_)) if upsert.embed.is_none() => findings
                .error(&place, "nothing makes a vector of the item's `text`")
                .remedy("write `embed: { model: … }` in the node"),
            (None, Some(_)) => {}
        }
    }
}

fn between(field: &str, value: Option<u64>, max: u64, place: &Place, findings: &mut Findings) {
    if let Some(value) = value.filter(|value| *value == 0 || *value > max) {
        let message = format!("`{field}` is {value}, but must be between 1 and {max}");
        findings.error(&place.key(field), message);
    }
}
