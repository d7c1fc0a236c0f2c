//! Chroma: the second version of its API.

use coxswain_shared::graph::Metric;
use coxswain_shared::outcome::{Failure, FailureKind};
use reqwest::header::HeaderName;
use reqwest::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::collection::{Match, Place, Sought, with_extra};
use super::item::Point;
use super::numbers::Vector;
use super::wire::{Told, Wire, bad_output};
use crate::handler::NodeError;

/// The header of the key.
pub(super) const KEY: HeaderName = HeaderName::from_static("x-chroma-token");
const TENANT: &str = "default_tenant";
const DATABASE: &str = "default_database";

/// A collection, which the API knows by an id that is not its name.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    place: &'a Place,
    id: String,
    /// How long its vectors are, once it has one.
    dimension: Option<usize>,
    space: Space,
}

/// What its distances are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    /// One less the cosine of the angle.
    Cosine,
    /// One less the dot product.
    Dot,
    /// The square of the distance.
    Euclid,
}

#[derive(Debug, Deserialize)]
struct Described {
    id: String,
    dimension: Option<usize>,
    #[serde(default)]
    configuration_json: Value,
    #[serde(default)]
    metadata: Value,
}

type ByQuery<T> = Vec<Vec<Option<T>>>;

/// Lists by query, of which there is one.
#[derive(Debug, Deserialize)]
struct Found {
    ids: Vec<Vec<String>>,
    distances: Option<ByQuery<f64>>,
    documents: Option<ByQuery<String>>,
    metadatas: Option<ByQuery<Map<String, Value>>>,
}

#[derive(Debug, Serialize)]
struct Records<'a> {
    ids: Vec<&'a str>,
    embeddings: Vec<&'a Vector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<Option<&'a str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadatas: Option<Vec<Option<&'a Map<String, Value>>>>,
}

impl<'a> Collection<'a> {
    /// Looks a collection up by its name.
    pub(super) async fn find(place: &'a Place, wire: &mut Wire<'_>) -> Result<Self, NodeError> {
        match wire.ask(request(place, Method::GET, &[&place.name])).await? {
            Told::Answer(described) => Ok(Self::of(place, &described)),
            Told::Absent(refusal) => {
                let (name, database) = (&place.name, place.database.as_deref().unwrap_or(DATABASE));
                let message = format!("there is no collection `{name}` in the database `{database}` of Chroma");
                let mut failure = Failure::new(FailureKind::Outside, message);
                failure.chain = vec![refusal.to_string(), "a `vector_upsert` node would make it".to_owned()];
                Err(NodeError::Fatal(failure))
            }
            Told::Taken(refusal) => Err(refusal),
        }
    }

    /// Looks a collection up by its name, or makes it.
    pub(super) async fn find_or_make(place: &'a Place, metric: Metric, wire: &mut Wire<'_>) -> Result<Self, NodeError> {
        let space = match metric {
            Metric::Cosine => "cosine",
            Metric::Dot => "ip",
            Metric::Euclid => "l2",
        };
        let body = json!({"name": place.name, "get_or_create": true, "configuration": {"hnsw": {"space": space}}});
        let described = wire.send(request(place, Method::POST, &[]), &body).await?.answer()?;
        Ok(Self::of(place, &described))
    }

    fn of(place: &'a Place, described: &Described) -> Self {
        Self { place, id: described.id.clone(), dimension: described.dimension, space: Space::of(described) }
    }

    /// What is nearest.
    pub(super) async fn search(&self, wire: &mut Wire<'_>, sought: &Sought) -> Result<Vec<Match>, NodeError> {
        self.check_length("the query's vector", &sought.vector)?;
        let fields = vec![
            ("query_embeddings", json!([sought.vector])),
            ("n_results", json!(sought.limit)),
            ("where", sought.filter.clone().unwrap_or_default()),
            ("include", json!(["documents", "metadatas", "distances"])),
        ];
        let body = with_extra(fields, &sought.extra);
        let found = wire.send(self.request(Method::POST, "query"), &body).await?.answer()?;
        self.matches(found)
    }

    fn matches(&self, found: Found) -> Result<Vec<Match>, NodeError> {
        let ids = first(Some(found.ids));
        let (distances, texts) = (first(found.distances), first(found.documents));
        let metadatas = first(found.metadatas);
        if distances.len() != ids.len() {
            let message = format!("Chroma gave {} matches and {} distances", ids.len(), distances.len());
            return Err(bad_output(message));
        }
        let (mut texts, mut metadatas) = (texts.into_iter(), metadatas.into_iter());
        let matches = ids.into_iter().zip(distances).map(|(id, distance)| {
            let distance = distance.ok_or_else(|| bad_output(format!("Chroma gave no distance of `{id}`")))?;
            let metadata = metadatas.next().flatten().unwrap_or_default();
            Ok(Match { id, score: self.space.score(distance), text: texts.next().flatten(), metadata })
        });
        matches.collect()
    }

    /// Puts points there.
    pub(super) async fn put(&self, wire: &mut Wire<'_>, points: &[Point]) -> Result<(), NodeError> {
        for point in points {
            self.check_length(&format!("the vector of the item `{}`", point.id), &point.vector)?;
        }
        let texts = points.iter().map(|point| point.text.as_deref());
        let metadatas = points.iter().map(|point| (!point.metadata.is_empty()).then_some(&point.metadata));
        let records = Records {
            ids: points.iter().map(|point| point.id.as_str()).collect(),
            embeddings: points.iter().map(|point| &point.vector).collect(),
            documents: points.iter().any(|point| point.text.is_some()).then(|| texts.collect()),
            metadatas: points.iter().any(|point| !point.metadata.is_empty()).then(|| metadatas.collect()),
        };
        wire.send::<Value>(self.request(Method::POST, "upsert"), &records).await?.answer()?;
        Ok(())
    }

    fn check_length(&self, what: &str, vector: &Vector) -> Result<(), NodeError> {
        let length = vector.length();
        match self.dimension {
            Some(dimension) if dimension != length => {
                let name = &self.place.name;
                let message = format!(
                    "the collection `{name}` holds vectors of {dimension} numbers, and {what} has {length}: another \
                     model made them"
                );
                Err(NodeError::refused(FailureKind::BadInput, message))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn request(&self, method: Method, what: &str) -> Request {
        request(self.place, method, &[&self.id, what])
    }
}

/// A request to what lies beneath the collections of a database.
fn request(place: &Place, method: Method, path: &[&str]) -> Request {
    let tenant = place.tenant.as_deref().unwrap_or(TENANT);
    let database = place.database.as_deref().unwrap_or(DATABASE);
    let version: &[&str] = if place.endpoint.ends_with("v2") { &[] } else { &["api", "v2"] };
    let within = ["tenants", tenant, "databases", database, "collections"];
    place.endpoint.request(method, &[version, &within, path].concat())
}

fn first<T>(lists: Option<Vec<Vec<T>>>) -> Vec<T> {
    lists.and_then(|lists| lists.into_iter().next()).unwrap_or_default()
}

impl Space {
    /// What a collection says: in its configuration, or, made by an older client, in its metadata.
    fn of(described: &Described) -> Self {
        let configured =
            ["hnsw", "spann"].iter().find_map(|index| described.configuration_json[index]["space"].as_str());
        match configured.or_else(|| described.metadata["hnsw:space"].as_str()) {
            Some("cosine") => Self::Cosine,
            Some("ip") => Self::Dot,
            Some(_) | None => Self::Euclid,
        }
    }

    /// A distance as a score, which is greater for what is nearer.
    fn score(self, distance: f64) -> f64 {
        match self {
            Self::Cosine | Self::Dot => 1.0 - distance,
            Self::Euclid => 1.0 / (1.0 + distance),
        }
    }
}
