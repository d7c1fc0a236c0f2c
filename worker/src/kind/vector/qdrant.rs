//! Qdrant: its API over HTTP, from version 1.10 on.

use coxswain_shared::graph::Metric;
use reqwest::header::HeaderName;
use reqwest::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::collection::{Match, Place, Sought, with_extra};
use super::item::Point;
use super::numbers::Vector;
use super::wire::{Told, Wire};
use crate::handler::NodeError;

/// The header of the key.
pub(super) const KEY: HeaderName = HeaderName::from_static("api-key");
/// The field of the payload that keeps an id that Qdrant would not take.
const OWN_ID: &str = "_id";

/// A collection; whether it is there shows with the first request.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    place: &'a Place,
    /// What nearness means, should it be made.
    metric: Metric,
}

#[derive(Debug, Deserialize)]
struct Answered<T> {
    result: T,
}

#[derive(Debug, Deserialize)]
struct Found {
    points: Vec<FoundPoint>,
}

#[derive(Debug, Deserialize)]
struct FoundPoint {
    id: Id,
    score: f64,
    payload: Option<Map<String, Value>>,
}

/// The ids that Qdrant takes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Uuid(Uuid),
}

#[derive(Debug, Serialize)]
struct Points<'a> {
    points: Vec<PutPoint<'a>>,
}

#[derive(Debug, Serialize)]
struct PutPoint<'a> {
    id: Id,
    vector: PutVector<'a>,
    payload: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PutVector<'a> {
    Only(&'a Vector),
    Named(std::collections::BTreeMap<&'a str, &'a Vector>),
}

impl<'a> Collection<'a> {
    pub(super) const fn new(place: &'a Place, metric: Metric) -> Self {
        Self { place, metric }
    }

    /// What is nearest.
    pub(super) async fn search(&self, wire: &mut Wire<'_>, sought: &Sought) -> Result<Vec<Match>, NodeError> {
        let fields = vec![
            ("query", json!(sought.vector)),
            ("limit", json!(sought.limit)),
            ("filter", sought.filter.clone().unwrap_or_default()),
            ("using", json!(self.place.vector_name)),
            ("with_payload", json!(true)),
        ];
        let body = with_extra(fields, &sought.extra);
        let found: Answered<Found> =
            wire.send(self.request(Method::POST, &["points", "query"]), &body).await?.answer()?;
        Ok(found.result.points.into_iter().map(|point| self.found(point)).collect())
    }

    fn found(&self, point: FoundPoint) -> Match {
        let (text, mut metadata) = self.place.split(point.payload.unwrap_or_default());
        let own = match metadata.remove(OWN_ID) {
            Some(Value::String(own)) => Some(own),
            Some(_) | None => None,
        };
        let id = own.unwrap_or_else(|| match point.id {
            Id::Number(number) => number.to_string(),
            Id::Uuid(uuid) => uuid.to_string(),
        });
        Match { id, score: point.score, text, metadata }
    }

    /// Puts points there, and makes the collection if it is not.
    pub(super) async fn put(&self, wire: &mut Wire<'_>, points: &[Point]) -> Result<(), NodeError> {
        let Some(length) = points.first().map(|point| point.vector.length()) else { return Ok(()) };
        let body = Points { points: points.iter().map(|point| self.point(point)).collect() };
        match wire.send::<Value>(self.request_to_put(), &body).await? {
            Told::Absent(_) => self.make(wire, length).await?,
            told @ (Told::Answer(_) | Told::Taken(_)) => return told.answer().map(|_| ()),
        }
        wire.send::<Value>(self.request_to_put(), &body).await?.answer()?;
        Ok(())
    }

    fn point<'p>(&'p self, point: &'p Point) -> PutPoint<'p> {
        let (id, is_made) = Id::of(&point.id);
        let mut payload = self.place.joined(point);
        if is_made {
            payload.insert(OWN_ID.to_owned(), json!(point.id));
        }
        let vector = match &self.place.vector_name {
            None => PutVector::Only(&point.vector),
            Some(name) => PutVector::Named([(name.as_str(), &point.vector)].into()),
        };
        PutPoint { id, vector, payload }
    }

    /// Makes the collection, unless somebody else was faster.
    async fn make(&self, wire: &mut Wire<'_>, length: usize) -> Result<(), NodeError> {
        let distance = match self.metric {
            Metric::Cosine => "Cosine",
            Metric::Dot => "Dot",
            Metric::Euclid => "Euclid",
        };
        let vectors = json!({"size": length, "distance": distance});
        let vectors = match &self.place.vector_name {
            None => vectors,
            Some(name) => json!({name: vectors}),
        };
        let request = self.request(Method::PUT, &[]);
        match wire.send::<Value>(request, &json!({"vectors": vectors})).await? {
            Told::Answer(_) | Told::Taken(_) => Ok(()),
            Told::Absent(refusal) => Err(refusal),
        }
    }

    fn request_to_put(&self) -> Request {
        let mut request = self.request(Method::PUT, &["points"]);
        // Answered when the points can be found.
        request.url_mut().query_pairs_mut().append_pair("wait", "true");
        request
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        self.place.endpoint.request(method, &[&["collections", &self.place.name], path].concat())
    }
}

impl Id {
    /// The id of an item, and whether it had to be made: Qdrant takes whole numbers and UUIDs.
    fn of(id: &str) -> (Self, bool) {
        let number = id.parse::<u64>().ok().filter(|number| number.to_string() == id).map(Self::Number);
        let uuid = || Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id).map(Self::Uuid);
        match number.or_else(uuid) {
            Some(own) => (own, false),
            None => (Self::Uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes())), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_uuids_are_ids_and_others_become_one() {
        assert_eq!(Id::of("42"), (Id::Number(42), false));
        let uuid = "0196f1e2-0000-7000-8000-000000000001";
        assert_eq!(Id::of(uuid), (Id::Uuid(uuid.parse().unwrap()), false));
        for text in ["042", "INC-7", "-1", "0196F1E2-0000-7000-8000-000000000001"] {
            let (Id::Uuid(made), true) = Id::of(text) else { panic!("{text}") };
            assert_eq!((made.get_version_num(), Id::of(text).0), (5, Id::Uuid(made)), "{text}");
        }
        assert_ne!(Id::of("INC-7").0, Id::of("INC-8").0);
    }
}
