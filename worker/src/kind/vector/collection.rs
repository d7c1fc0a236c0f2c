//! A collection, whoever keeps it: what is searched for, what is found, and what is put there.

use coxswain_shared::graph::{Metric, TEXT_FIELD, VectorCollection, VectorStore};
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::item::Point;
use super::numbers::Vector;
use super::wire::Wire;
use super::{chroma, pinecone, qdrant};
use crate::handler::NodeError;
use crate::outside::{Extra, Texts, request};

/// What a node says of its collection, filled in.
#[derive(Debug)]
pub(super) struct Place {
    store: VectorStore,
    pub(super) endpoint: Endpoint,
    /// The collection, or the namespace; empty for the default namespace.
    pub(super) name: String,
    pub(super) tenant: Option<String>,
    pub(super) database: Option<String>,
    pub(super) vector_name: Option<String>,
    /// The field of the metadata that holds the text.
    pub(super) text_field: String,
}

/// A search.
#[derive(Debug)]
pub(super) struct Sought {
    pub(super) vector: Vector,
    pub(super) limit: u64,
    pub(super) filter: Option<Value>,
    /// Further fields of the body; null takes one out.
    pub(super) extra: Extra,
}

/// What was found, whoever keeps it.
#[derive(Debug, PartialEq)]
pub(super) struct Match {
    pub(super) id: String,
    pub(super) score: f64,
    pub(super) text: Option<String>,
    pub(super) metadata: Map<String, Value>,
}

impl Match {
    /// The match for the state.
    pub(super) fn into_json(self) -> Value {
        json!({"id": self.id, "score": self.score, "text": self.text, "metadata": self.metadata})
    }
}

impl Place {
    pub(super) fn fill(node: &VectorCollection, texts: &mut Texts<'_>) -> Result<Self, NodeError> {
        let mut endpoint = Endpoint::new(&texts.text("url", &node.url)?, "url")?;
        let key_header = match node.store {
            VectorStore::Chroma => chroma::KEY,
            VectorStore::Qdrant => qdrant::KEY,
            VectorStore::Pinecone => pinecone::KEY,
        };
        if let Some(key) = &node.api_key {
            endpoint.set_key((key_header, ""), key, "api_key", texts)?;
        }
        if node.store == VectorStore::Pinecone {
            endpoint.set(pinecone::VERSION.0, pinecone::VERSION.1);
        }
        endpoint.add_headers(&node.headers, texts)?;
        let name = node.collection.as_ref().map(|name| texts.text("collection", name)).transpose()?;
        let name = name.unwrap_or_default();
        if name.trim().is_empty() && node.store != VectorStore::Pinecone {
            return Err(request::bad("`collection` is empty"));
        }
        let tenant = node.tenant.as_ref().map(|tenant| texts.text("tenant", tenant)).transpose()?;
        let database = node.database.as_ref().map(|database| texts.text("database", database)).transpose()?;
        texts.tie(endpoint.url())?;
        Ok(Self {
            store: node.store,
            endpoint,
            name,
            tenant,
            database,
            vector_name: node.vector_name.clone(),
            text_field: node.text_field.clone().unwrap_or_else(|| TEXT_FIELD.to_owned()),
        })
    }

    /// Splits the text off from the metadata that a store keeps it in.
    pub(super) fn split(&self, mut metadata: Map<String, Value>) -> (Option<String>, Map<String, Value>) {
        let text = metadata.get(&self.text_field).and_then(Value::as_str).map(str::to_owned);
        if text.is_some() {
            metadata.remove(&self.text_field);
        }
        (text, metadata)
    }

    /// The metadata with the text in it.
    pub(super) fn joined(&self, point: &Point) -> Map<String, Value> {
        let mut metadata = point.metadata.clone();
        metadata.extend(point.text.as_ref().map(|text| (self.text_field.clone(), json!(text))));
        metadata
    }
}

/// A collection that can be searched and added to.
#[derive(Debug)]
pub(super) enum Collection<'a> {
    Chroma(chroma::Collection<'a>),
    Qdrant(qdrant::Collection<'a>),
    Pinecone(pinecone::Namespace<'a>),
}

impl<'a> Collection<'a> {
    /// Finds a collection that has to be there.
    pub(super) async fn find(place: &'a Place, wire: &mut Wire<'_>) -> Result<Self, NodeError> {
        Ok(match place.store {
            VectorStore::Chroma => Self::Chroma(chroma::Collection::find(place, wire).await?),
            VectorStore::Qdrant => Self::Qdrant(qdrant::Collection::new(place, Metric::default())),
            VectorStore::Pinecone => Self::Pinecone(pinecone::Namespace::new(place)),
        })
    }

    /// Finds a collection, or makes it with this metric, now or when the first point comes.
    pub(super) async fn find_or_make(place: &'a Place, metric: Metric, wire: &mut Wire<'_>) -> Result<Self, NodeError> {
        Ok(match place.store {
            VectorStore::Chroma => Self::Chroma(chroma::Collection::find_or_make(place, metric, wire).await?),
            VectorStore::Qdrant => Self::Qdrant(qdrant::Collection::new(place, metric)),
            VectorStore::Pinecone => Self::Pinecone(pinecone::Namespace::new(place)),
        })
    }

    /// What is nearest, best first.
    pub(super) async fn search(&self, wire: &mut Wire<'_>, sought: &Sought) -> Result<Vec<Match>, NodeError> {
        match self {
            Self::Chroma(collection) => collection.search(wire, sought).await,
            Self::Qdrant(collection) => collection.search(wire, sought).await,
            Self::Pinecone(namespace) => namespace.search(wire, sought).await,
        }
    }

    /// Puts points there; those with a known id are replaced.
    pub(super) async fn put(&self, wire: &mut Wire<'_>, points: &[Point]) -> Result<(), NodeError> {
        match self {
            Self::Chroma(collection) => collection.put(wire, points).await,
            Self::Qdrant(collection) => collection.put(wire, points).await,
            Self::Pinecone(namespace) => namespace.put(wire, points).await,
        }
    }
}

/// The fields of a search's body, with those that the node adds or takes out.
pub(super) fn with_extra(fields: Vec<(&str, Value)>, extra: &Extra) -> Map<String, Value> {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    let mut body: Map<String, Value> = fields.map(|(name, value)| (name.to_owned(), value)).collect();
    extra.lay_over(&mut body);
    body
}
