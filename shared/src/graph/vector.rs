//! The kinds `vector_search` and `vector_upsert`, as data: a collection of vectors, whoever keeps it, and the model that
//! makes vectors of texts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::Expression;
use super::outside::{Text, json_names, output_names, text_names};
use crate::id::ChannelName;

/// A collection, and how it is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorCollection {
    /// Whose API is spoken.
    pub store: VectorStore,
    /// Where the store is; for Pinecone, the index's own host.
    pub url: Text,
    /// The collection's name; for Pinecone a namespace, and absent its default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<Text>,
    /// The tenant of Chroma. Absent: `default_tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Text>,
    /// The database of Chroma. Absent: `default_database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Text>,
    /// Which of a point's vectors is meant, where a collection of Qdrant has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector_name: Option<String>,
    /// The field of the metadata that holds the text, where the store has no other place for it. Absent: [`TEXT_FIELD`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
    /// The key, by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Text>,
    /// Further headers of the requests to the store.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
}

/// Where a text is kept within the metadata unless a node says otherwise.
pub const TEXT_FIELD: &str = "text";

impl VectorCollection {
    /// A collection of a store that needs no key.
    pub fn new(store: VectorStore, url: impl Into<String>, collection: impl Into<String>) -> Self {
        Self {
            store,
            url: Text(url.into()),
            collection: Some(Text(collection.into())),
            tenant: None,
            database: None,
            vector_name: None,
            text_field: None,
            api_key: None,
            headers: BTreeMap::new(),
        }
    }

    /// Its texts, each with the field that it stands in, but for those in `headers`.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &Text)> {
        let optional = [
            ("collection", &self.collection),
            ("tenant", &self.tenant),
            ("database", &self.database),
            ("api_key", &self.api_key),
        ];
        let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        [("url", &self.url)].into_iter().chain(optional)
    }

    fn names(&self, names: &mut BTreeSet<String>) -> Option<()> {
        text_names(self.texts().map(|(_, text)| text).chain(self.headers.values()), names)
    }
}

/// Who keeps the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are their names")]
pub enum VectorStore {
    Chroma,
    Qdrant,
    Pinecone,
}

impl VectorStore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chroma, Self::Qdrant, Self::Pinecone];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chroma => "chroma",
            Self::Qdrant => "qdrant",
            Self::Pinecone => "pinecone",
        }
    }
}

/// The model that makes vectors of texts, behind the API of `OpenAI`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// The model's name.
    pub model: Text,
    /// Where the API is. Absent: that of `OpenAI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// The key, by reference. Absent: that of `OpenAI` where `base_url` is absent too, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Text>,
    /// How long the vectors should be. Absent: as the model makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u64>,
    /// Texts of one request. Absent: [`EMBED_BATCH`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Further fields of the request's body; every text in it is a [`Text`]. Null takes a field out that would be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
    /// Further headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
}

/// Texts that are made into vectors by one request, where a node says nothing.
pub const EMBED_BATCH: u64 = 64;

impl Embed {
    /// A model of `OpenAI`.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: Text(model.into()),
            base_url: None,
            api_key: None,
            dimensions: None,
            batch: None,
            extra: BTreeMap::new(),
            headers: BTreeMap::new(),
        }
    }

    /// Its texts, each with the field that it stands in, but for those in `extra` and `headers`.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &Text)> {
        let optional = [("base_url", &self.base_url), ("api_key", &self.api_key)];
        let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        [("model", &self.model)].into_iter().chain(optional)
    }

    fn names(&self, names: &mut BTreeSet<String>) -> Option<()> {
        text_names(self.texts().map(|(_, text)| text).chain(self.headers.values()), names)?;
        self.extra.values().try_for_each(|json| json_names(json, names))
    }
}

/// A search for what is nearest to a text or a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorSearchNode {
    /// Where it is searched.
    #[serde(flatten)]
    pub collection: VectorCollection,
    /// What is searched for: a text, of which `embed` makes a vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Text>,
    /// What is searched for, instead of `query`: a list of numbers, or one `{{ expression }}` that gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Value>,
    /// The model that makes a vector of `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Embed>,
    /// The most matches. Absent: [`VECTOR_LIMIT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What a match must satisfy, in the store's own words; every text in it is a [`Text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
    /// Further fields of the search's body; every text in it is a [`Text`]. Null takes a field out that would be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
    /// The longest answer that is read, of the store or of the model, in bytes. Absent: 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What is written: an expression for each channel, over the state and [`SEARCH_NAMES`]. Absent: with `into`, the
    /// matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BTreeMap<ChannelName, Expression>>,
}

/// Matches that a search gives where a node says nothing.
pub const VECTOR_LIMIT: u64 = 10;
/// The names that the `output` of a `vector_search` node has beside the channels.
pub const SEARCH_NAMES: [&str; 3] = ["matches", "usage", "vector"];

impl VectorSearchNode {
    /// A search for what is nearest to a text.
    pub fn new(collection: VectorCollection, query: impl Into<String>, embed: Embed) -> Self {
        Self {
            collection,
            query: Some(Text(query.into())),
            vector: None,
            embed: Some(embed),
            limit: None,
            filter: None,
            extra: BTreeMap::new(),
            max_bytes: None,
            output: None,
        }
    }

    /// The names that its texts and expressions use; nothing if one of them cannot be read.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        self.collection.names(&mut names)?;
        self.embed.as_ref().map_or(Some(()), |embed| embed.names(&mut names))?;
        text_names(&self.query, &mut names)?;
        let jsons = self.vector.iter().chain(&self.filter).chain(self.extra.values());
        jsons.into_iter().try_for_each(|json| json_names(json, &mut names))?;
        output_names(self.output.as_ref(), &SEARCH_NAMES, &mut names)?;
        Some(names)
    }
}

/// Items put into a collection; those with a known id are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorUpsertNode {
    /// Where they are put.
    #[serde(flatten)]
    pub collection: VectorCollection,
    /// The items: a list of `{ id, text, vector, metadata }`, or one `{{ expression }}` that gives one. Each has an `id`,
    /// and a `vector` or a `text` that one is made of. Every text in it is a [`Text`].
    pub items: Value,
    /// The model that makes vectors of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Embed>,
    /// What nearness means in a collection that is made for these items. Absent: [`Metric::Cosine`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// The longest answer that is read, of the store or of the model, in bytes. Absent: 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What is written: an expression for each channel, over the state and [`UPSERT_NAMES`]. Absent: with `into`, the
    /// number of items; else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BTreeMap<ChannelName, Expression>>,
}

/// The names that the `output` of a `vector_upsert` node has beside the channels.
pub const UPSERT_NAMES: [&str; 3] = ["count", "ids", "usage"];

impl VectorUpsertNode {
    /// Items that an expression or a list gives.
    pub const fn new(collection: VectorCollection, items: Value, embed: Option<Embed>) -> Self {
        Self { collection, items, embed, metric: None, max_bytes: None, output: None }
    }

    /// The names that its texts and expressions use; nothing if one of them cannot be read.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        self.collection.names(&mut names)?;
        self.embed.as_ref().map_or(Some(()), |embed| embed.names(&mut names))?;
        json_names(&self.items, &mut names)?;
        output_names(self.output.as_ref(), &UPSERT_NAMES, &mut names)?;
        Some(names)
    }
}

/// What nearness means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The angle between two vectors.
    #[default]
    Cosine,
    /// Their dot product.
    Dot,
    /// The distance between their ends.
    Euclid,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Dot, Self::Euclid];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclid => "euclid",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_store_and_a_metric_have_one_name_everywhere() {
        for store in VectorStore::ALL {
            assert_eq!(serde_json::to_value(store).unwrap(), store.name());
        }
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn a_search_and_an_upsert_use_the_names_of_their_texts_and_of_what_they_write() {
        let collection = VectorCollection::new(VectorStore::Chroma, "{{ where }}", "{{ name }}");
        let search = VectorSearchNode {
            filter: Some(json!({"service": {"$eq": "{{ service }}"}})),
            output: serde_json::from_value(json!({"a": "matches[0].text ~ rest"})).unwrap(),
            ..VectorSearchNode::new(collection.clone(), "{{ question }}", Embed::new("{{ model }}"))
        };
        let names: Vec<_> = search.names().unwrap().into_iter().collect();
        assert_eq!(names, ["model", "name", "question", "rest", "service", "where"]);
        let upsert = VectorUpsertNode {
            output: serde_json::from_value(json!({"a": "count + before"})).unwrap(),
            ..VectorUpsertNode::new(collection, json!("{{ docs }}"), None)
        };
        let names: Vec<_> = upsert.names().unwrap().into_iter().collect();
        assert_eq!(names, ["before", "docs", "name", "where"]);
    }
}
