//! The kinds `vector_search` and `vector_upsert`, and the model that makes vectors.

use super::calls::{extra, max_bytes, output};
use super::field::{Field, field};
use super::kinds::Kind;
use super::shape::Shape;
use crate::graph::llm::Provider;
use crate::graph::vector::{EMBED_BATCH, Metric, TEXT_FIELD, VECTOR_LIMIT, VectorStore};
use crate::limits::{EMBED_BATCH_MAX, STREAM_BYTES, STREAM_BYTES_MAX, VECTOR_LENGTH_MAX, VECTOR_MATCHES_MAX};

const LONGEST: &str = "The longest answer that is read, of the store or of the model, in bytes";

pub(super) fn search() -> Kind {
    let sought = [
        field("query", Shape::Template, "What is searched for: a text, of which `embed` makes a vector"),
        field(
            "vector",
            Shape::ItemsOrTemplate,
            "What is searched for, instead of `query`: a list of numbers, or one `{{ expression }}` that gives one",
        ),
        embed_field("The model that makes a vector of `query`"),
        field("limit", Shape::Count(1, Some(VECTOR_MATCHES_MAX)), "The most matches")
            .default(format!("`{VECTOR_LIMIT}`")),
        field(
            "filter",
            Shape::Json,
            "What a match must satisfy, in the store's own words: Chroma's `where`, the `filter` of Qdrant and Pinecone; \
             every text in it is a template",
        ),
        extra("the search's body, such as Chroma's `where_document`"),
        max_bytes(LONGEST, STREAM_BYTES, STREAM_BYTES_MAX),
        output(
            "What is written: an expression for each channel, over the state and `matches`, `vector` (the query's) and \
             `usage`",
            "with `into`, the matches: a list of `{ id, score, text, metadata }`, best first",
        ),
    ];
    Kind {
        name: "vector_search",
        meaning: "A search in a collection of vectors for what is nearest",
        example: "\
near:
  kind: vector_search
  store: chroma
  url: \"${env:CHROMA_BASE_URL}\"
  collection: incidents
  query: \"{{ question }}\"
  embed: { model: text-embedding-3-small }
  limit: 5
  filter: { severity: { $lte: 2 } }
  into: docs",
        fields: collection().into_iter().chain(sought).collect(),
        has_result: true,
    }
}

pub(super) fn upsert() -> Kind {
    let put = [
        field(
            "items",
            Shape::ItemsOrTemplate,
            "The items: a list of `{ id, text, vector, metadata }`, or one `{{ expression }}` that gives one; at most \
             10,000. Each has an `id`, and a `vector` or a `text` that one is made of. Every text in it is a template",
        )
        .required(),
        embed_field("The model that makes vectors of texts"),
        field(
            "metric",
            Shape::Word(Metric::ALL.map(Metric::name).to_vec()),
            "What nearness means in a collection that is made for these items (Chroma, Qdrant)",
        )
        .default(format!("`{}`", Metric::default().name())),
        max_bytes(LONGEST, STREAM_BYTES, STREAM_BYTES_MAX),
        output(
            "What is written: an expression for each channel, over the state and `count`, `ids` and `usage`",
            "with `into`, the number of items; else nothing",
        ),
    ];
    Kind {
        name: "vector_upsert",
        meaning: "Items put into a collection of vectors; those with a known id are replaced",
        example: "\
remember:
  kind: vector_upsert
  store: qdrant
  url: \"https://qdrant.example.org\"
  collection: incidents
  api_key: \"${env:QDRANT_API_KEY}\"
  items: \"{{ docs }}\"
  embed: { model: text-embedding-3-small, dimensions: 512 }",
        fields: collection().into_iter().chain(put).collect(),
        has_result: true,
    }
}

/// Where the collection is.
fn collection() -> Vec<Field> {
    vec![
        field("store", Shape::Word(VectorStore::ALL.map(VectorStore::name).to_vec()), "Whose API is spoken").required(),
        field("url", Shape::Template, "Where the store is; for Pinecone, the index's own host").required(),
        field("collection", Shape::Template, "The collection's name; for Pinecone, a namespace")
            .default("Pinecone: the default namespace"),
        field("tenant", Shape::Template, "The tenant of Chroma").default("`default_tenant`"),
        field("database", Shape::Template, "The database of Chroma").default("`default_database`"),
        field(
            "vector_name",
            Shape::Text,
            "Which of a point's vectors is meant, where a collection of Qdrant has several",
        )
        .default("the only one"),
        field(
            "text_field",
            Shape::Text,
            "The field of the payload (Qdrant) or metadata (Pinecone) that holds the text",
        )
        .default(format!("`{TEXT_FIELD}`")),
        field("api_key", Shape::Template, "The key, by reference: `${env:NAME}` or `${file:NAME}`").default("none"),
        field("headers", Shape::Headers, "Further headers of the requests to the store"),
    ]
}

fn embed_field(meaning: &str) -> Field {
    field("embed", Shape::Own("embed", "mapping, see [below](#embed)"), meaning)
}

/// The fields of `embed`.
pub(super) fn embed() -> Vec<Field> {
    let openai = Provider::Openai;
    vec![
        field("model", Shape::Template, "The model's name").required(),
        field("base_url", Shape::Template, "Where the API is").default(format!("`{}`", openai.base_url())),
        field("api_key", Shape::Template, "The key, by reference: `${env:NAME}` or `${file:NAME}`")
            .default(format!("`{}`; with `base_url`, none", openai.api_key())),
        field("dimensions", Shape::Count(1, Some(VECTOR_LENGTH_MAX as u64)), "How long the vectors should be")
            .default("as the model makes them"),
        field("batch", Shape::Count(1, Some(EMBED_BATCH_MAX)), "Texts of one request")
            .default(format!("`{EMBED_BATCH}`")),
        extra("the request's body"),
        field("headers", Shape::Headers, "Further headers of the request"),
    ]
}
