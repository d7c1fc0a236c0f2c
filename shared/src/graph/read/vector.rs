//! The fields of nodes of the kinds `vector_search` and `vector_upsert`.

use super::fields::Fields;
use super::kinds::{expressions, jsons, missing, texts};
use crate::graph::finding::Findings;
use crate::graph::outside::Text;
use crate::graph::tree::Tree;
use crate::graph::vector::{Embed, Metric, VectorCollection, VectorSearchNode, VectorStore, VectorUpsertNode};

pub(super) fn search(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<VectorSearchNode> {
    let (collection, embed) = (collection(fields, findings), embed(fields, findings));
    let query = fields.text("query", findings).map(Text);
    let vector = fields.get("vector").map(Tree::to_json);
    let limit = fields.count("limit", findings);
    let filter = fields.get("filter").map(Tree::to_json);
    let extra = jsons(fields, "extra", findings);
    let max_bytes = fields.count("max_bytes", findings);
    let output = expressions(fields, "output", findings);
    if embed.is_none() && fields.get("embed").is_some() {
        return None;
    }
    Some(VectorSearchNode { collection: collection?, query, vector, embed, limit, filter, extra, max_bytes, output })
}

pub(super) fn upsert(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<VectorUpsertNode> {
    let (collection, embed) = (collection(fields, findings), embed(fields, findings));
    let metric = word(fields, "metric", "metric", &Metric::ALL.map(|metric| (metric.name(), metric)), findings);
    let max_bytes = fields.count("max_bytes", findings);
    let output = expressions(fields, "output", findings);
    let items = fields.get("items").map(Tree::to_json);
    if items.is_none() {
        missing(fields, "items", "`items:` and a list of `{ id, text }`, or `\"{{ channel }}\"`", findings);
    }
    if embed.is_none() && fields.get("embed").is_some() {
        return None;
    }
    Some(VectorUpsertNode { collection: collection?, items: items?, embed, metric, max_bytes, output })
}

/// The collection; nothing if it cannot be told where it is.
fn collection(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<VectorCollection> {
    let stores = VectorStore::ALL.map(|store| (store.name(), store));
    let store = word(fields, "store", "store", &stores, findings);
    let url = fields.text("url", findings).map(Text);
    for (field, example) in [("store", "`store: chroma`, `qdrant` or `pinecone`"), ("url", "`url: https://…`")] {
        if !fields.has(field) {
            missing(fields, field, example, findings);
        }
    }
    let collection = fields.text("collection", findings).map(Text);
    let tenant = fields.text("tenant", findings).map(Text);
    let database = fields.text("database", findings).map(Text);
    let vector_name = fields.text("vector_name", findings);
    let text_field = fields.text("text_field", findings);
    let api_key = fields.text("api_key", findings).map(Text);
    let headers = texts(fields, "headers", findings);
    let (store, url) = (store?, url?);
    Some(VectorCollection { store, url, collection, tenant, database, vector_name, text_field, api_key, headers })
}

/// The model that makes vectors, if there is one that can be read.
fn embed(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Embed> {
    let tree = fields.get("embed")?;
    let mut fields = Fields::of(tree, &fields.place("embed"), "`embed`", findings)?;
    let model = fields.text("model", findings).map(Text);
    if !fields.has("model") {
        let finding = findings.error(fields.here(), "`embed` has no `model`");
        finding.remedy("write `model:` and the name that the provider gives it");
    }
    let base_url = fields.text("base_url", findings).map(Text);
    let api_key = fields.text("api_key", findings).map(Text);
    let dimensions = fields.count("dimensions", findings);
    let batch = fields.count("batch", findings);
    let extra = jsons(&mut fields, "extra", findings);
    let headers = texts(&mut fields, "headers", findings);
    fields.finish("`embed`", findings);
    Some(Embed { model: model?, base_url, api_key, dimensions, batch, extra, headers })
}

/// One of a few words; nothing if it is another.
fn word<T: Copy>(
    fields: &mut Fields<'_>,
    field: &'static str,
    what: &str,
    known: &[(&'static str, T)],
    findings: &mut Findings,
) -> Option<T> {
    let name = fields.text(field, findings)?;
    let found = known.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let finding = findings.error(&fields.place(field), format!("there is no {what} `{name}`"));
        finding.suggest(&name, known.iter().map(|(known, _)| *known));
    }
    found.map(|(_, value)| *value)
}
