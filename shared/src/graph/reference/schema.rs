//! The JSON Schema of a graph's file.

use serde_json::{Map, Value, json};

use super::field::mapping;
use super::kinds::{self, Kind};
use super::shape::{NAME, NO_NAME, Shape, or_nothing};
use super::{calls, policy, vector, whole};
use crate::graph::fan_out::FanOutPolicy;
use crate::limits::{GRAPH_EDGES_MAX, GRAPH_NODES_MAX};

/// The JSON Schema (draft 2020-12) of a graph's file, short forms included. What `cox graph check` finds right fits it;
/// what fits it can still be wrong: names, expressions and how fields go together are not its matter.
pub fn schema() -> Value {
    let definitions: Map<_, _> = required().into_iter().chain(optional()).chain(kinds()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A graph of Coxswain",
        "description": "Nodes over a shared state, and the edges between them. Held to the program by its tests; `cox graph schema` prints it.",
        "$ref": "#/$defs/graph",
        "required": ["name", "nodes"],
        "$defs": definitions,
    })
}

/// What stands where something must stand.
fn required() -> Vec<(String, Value)> {
    let child = json!({"if": {"type": "object"}, "then": reference("graph"), "else": {"type": "string"}});
    let definitions = [
        ("graph", mapping("A graph: nodes over a shared state, and the edges between them.", &whole::graph())),
        ("child", child),
        ("channel", channel()),
        ("nodes", nodes()),
        ("node", node()),
        ("edge", edge()),
        ("ends", ends()),
        ("fallback", fallback()),
    ];
    definitions.map(|(name, schema)| (name.to_owned(), schema)).into()
}

/// What stands where there may be nothing.
fn optional() -> Vec<(String, Value)> {
    let retry = "How often a failed try is repeated. The pause: `first × factor^(n-1)`, at most `max`.";
    let names = Shape::Name.schema();
    let definitions = [
        ("state", json!({"type": "object", "propertyNames": names, "additionalProperties": reference("channel")})),
        ("limits", mapping("The limits of the graph's runs.", &whole::limits())),
        ("policy", mapping("Limits, retries, what a failure does, and the pool.", &policy::fields())),
        ("retry", mapping(retry, &policy::retry())),
        ("on_failure", on_failure()),
        (
            "embed",
            mapping("The model that makes vectors of texts, behind OpenAI's API of embeddings.", &vector::embed()),
        ),
        ("graphs", json!({"type": "object", "additionalProperties": reference("child")})),
        ("edges", json!({"type": "array", "maxItems": GRAPH_EDGES_MAX, "items": reference("edge")})),
        ("fan_out_policy", fan_out_policy()),
    ];
    definitions.map(|(name, schema)| (name.to_owned(), or_nothing(schema))).into()
}

fn kinds() -> Vec<(String, Value)> {
    kinds::all().iter().map(|kind| (definition_of(kind), self::kind(kind))).collect()
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}")})
}

fn definition_of(kind: &Kind) -> String {
    format!("{}_node", kind.name)
}

fn channel() -> Value {
    let mut short = whole::reducer().schema();
    short["description"] = json!("How writes are put into it; nothing means `last`.");
    let long = mapping("A channel of the state.", &whole::channel());
    json!({"anyOf": [short, {"type": "null"}, long]})
}

fn nodes() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": GRAPH_NODES_MAX,
        "propertyNames": Shape::Name.schema(),
        "additionalProperties": reference("node"),
    })
}

/// A node: once its kind is written, it is one of that kind and nothing else.
fn node() -> Value {
    let kinds = kinds::all();
    let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    let branches: Vec<_> = kinds
        .iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
                "then": reference(&definition_of(kind)),
            })
        })
        .collect();
    let meanings: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name, kind.meaning)).collect();
    json!({
        "type": "object",
        "description": "A place in the graph that does something.",
        "required": ["kind"],
        "properties": {"kind": {"enum": names, "description": meanings.join("\n\n")}},
        "allOf": branches,
    })
}

fn kind(kind: &Kind) -> Value {
    let mut schema = mapping(&format!("{}.", kind.meaning), &kind.fields);
    let properties = schema["properties"].as_object_mut().expect("a mapping has properties");
    properties.insert("kind".to_owned(), json!({"const": kind.name}));
    for field in kinds::shared() {
        let has_it = field.name != "into" || kind.has_result;
        let nothing = json!({"type": "null", "description": "A node of this kind has no result to write."});
        properties.insert(field.name.to_owned(), if has_it { field.schema() } else { nothing });
    }
    for field in policy::fields() {
        let place = format!("#/$defs/policy/properties/{}", field.name);
        properties.insert(field.name.to_owned(), json!({"$ref": place}));
    }
    schema
}

fn on_failure() -> Value {
    let mut long = mapping("What the run does instead.", &whole::on_failure());
    long["if"] = json!({"required": ["continue"]});
    long["then"] = json!({"properties": {"goto": {"type": "null"}}});
    json!({"anyOf": [{"enum": ["fail", "continue"]}, long]})
}

/// An edge: a chain such as `START -> a -> b & c -> END`, or a mapping.
fn edge() -> Value {
    let stop = format!(r"({NAME}(\s*&\s*{NAME})*|\[\s*{NAME}(\s*,\s*{NAME})*\s*\])");
    let meaning = "A chain such as `START -> a -> b & c -> END`, in which `a & b -> c` is a join; or an edge with a \
                   condition or a fan-out.";
    let mut schema = mapping(meaning, &whole::edge());
    schema["type"] = json!(["string", "object"]);
    schema["pattern"] = json!(format!(r"^\s*{stop}(\s*->\s*{stop})+\s*$"));
    schema["patternErrorMessage"] =
        json!("Write `a -> b`, `a & b -> c` for a join, or a mapping with `from` and `to`.");
    let is_there =
        |field: &str, plain: Value| json!({"required": [field], "properties": {(field): {"not": {"enum": plain}}}});
    schema["if"] = json!({"anyOf": [
        is_there("concurrency", json!([null])),
        is_there("policy", json!([null, "each"])),
        is_there("results", json!([null])),
    ]});
    // What is said of a fan-out needs one.
    schema["then"] = json!({"required": ["for_each"], "properties": {"for_each": {"not": {"type": "null"}}}});
    schema
}

/// A model's name, or a mapping.
fn fallback() -> Value {
    let mut schema =
        mapping("A model that is asked in place of the node's; what it leaves out is the node's.", &calls::fallback());
    schema["type"] = json!(["string", "number", "boolean", "object"]);
    schema
}

fn ends() -> Value {
    let end = json!({"type": ["string", "number", "boolean"], "pattern": format!(r"^\s*{NAME}\s*$"), "patternErrorMessage": NO_NAME});
    json!({"anyOf": [end, {"type": "array", "minItems": 1, "items": end}]})
}

fn fan_out_policy() -> Value {
    let names: Vec<_> = FanOutPolicy::NAMES.into_iter().filter(|name| *name != "quorum").collect();
    json!({"anyOf": [{"enum": names}, mapping("Enough successes.", &whole::fan_out_policy())]})
}
