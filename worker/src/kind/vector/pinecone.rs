//! Pinecone: the data plane of one index, whose host is the address.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::collection::{Match, Place, Sought, with_extra};
use super::item::Point;
use super::numbers::Vector;
use super::wire::Wire;
use crate::handler::NodeError;

/// The header of the key.
pub(super) const KEY: HeaderName = HeaderName::from_static("api-key");
/// The version of the API that is spoken.
pub(super) const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-pinecone-api-version"), HeaderValue::from_static("2025-04"));

/// A namespace of an index, which is there as soon as something is put into it.
#[derive(Debug)]
pub(super) struct Namespace<'a>(&'a Place);

#[derive(Debug, Deserialize)]
struct Found {
    matches: Vec<FoundVector>,
}

#[derive(Debug, Deserialize)]
struct FoundVector {
    id: String,
    /// Left out where it is zero.
    #[serde(default)]
    score: f64,
    metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
struct Put<'a> {
    vectors: Vec<PutVector<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
}

#[derive(Debug, Serialize)]
struct PutVector<'a> {
    id: &'a str,
    values: &'a Vector,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
}

impl<'a> Namespace<'a> {
    pub(super) const fn new(place: &'a Place) -> Self {
        Self(place)
    }

    /// What is nearest.
    pub(super) async fn search(&self, wire: &mut Wire<'_>, sought: &Sought) -> Result<Vec<Match>, NodeError> {
        let namespace = (!self.0.name.is_empty()).then_some(&self.0.name);
        let fields = vec![
            ("vector", json!(sought.vector)),
            ("topK", json!(sought.limit)),
            ("namespace", json!(namespace)),
            ("filter", sought.filter.clone().unwrap_or_default()),
            ("includeMetadata", json!(true)),
        ];
        let body = with_extra(fields, &sought.extra);
        let found: Found = wire.send(self.request(&["query"]), &body).await?.answer()?;
        let found = found.matches.into_iter().map(|found| {
            let (text, metadata) = self.0.split(found.metadata.unwrap_or_default());
            Match { id: found.id, score: found.score, text, metadata }
        });
        Ok(found.collect())
    }

    /// Puts points there.
    pub(super) async fn put(&self, wire: &mut Wire<'_>, points: &[Point]) -> Result<(), NodeError> {
        let vectors = points.iter().map(|point| PutVector {
            id: &point.id,
            values: &point.vector,
            metadata: self.0.joined(point),
        });
        let body = Put { vectors: vectors.collect(), namespace: &self.0.name };
        wire.send::<Value>(self.request(&["vectors", "upsert"]), &body).await?.answer()?;
        Ok(())
    }

    fn request(&self, path: &[&str]) -> Request {
        self.0.endpoint.request(Method::POST, path)
    }
}
