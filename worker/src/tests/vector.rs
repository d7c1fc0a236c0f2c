//! `vector_search` and `vector_upsert` nodes against servers that answer in recorded shapes: those of Chroma 1.5 were
//! recorded, those of Qdrant, Pinecone and `OpenAI` are from their documents.

use coxswain_shared::outcome::{FailureKind, Outcome};
use coxswain_shared::task::{Task, TaskState};
use serde_json::{Value, json};

use super::bench::{Bench, wait_for};
use super::model::{begin, body, config, events, failure, outcome, start, wrote};
use super::upstream::{Exchange, Upstream};
use crate::{UpstreamLimits, Worker};

/// A server that gives these answers, one after another, each a status with its headers, and a body.
async fn answering(answers: Vec<(&'static str, Value)>) -> Upstream {
    Upstream::start(move |exchange: Exchange| {
        let answers = answers.clone();
        async move {
            let (status, body) =
                answers.get(exchange.number).cloned().unwrap_or(("500 Too Many Requests Made", json!({})));
            let (status, header) = status.split_once('|').unwrap_or((status, ""));
            let headers = format!("content-type: application/json\r\n{header}");
            exchange.answer(status, &headers, &body.to_string()).await;
        }
    })
    .await
}

const OK: &str = "200 OK";

/// A collection as Chroma describes it.
fn collection(dimension: Option<u64>, space: &str) -> Value {
    json!({
        "id": "6b9c4a5e-673f-407e-b2ea-2adb39778a56", "name": "incidents",
        "configuration_json": {
            "hnsw": {"space": space, "ef_construction": 100, "ef_search": 100, "max_neighbors": 16}, "spann": null,
            "embedding_function": null,
        },
        "schema": {"defaults": {}, "keys": {}}, "metadata": null, "dimension": dimension, "tenant": "default_tenant",
        "database": "default_database", "log_position": 0, "version": 0,
    })
}

/// What Chroma finds.
fn found(distances: &Value) -> Value {
    json!({
        "ids": [["INC-1", "INC-2"]], "embeddings": null, "documents": [["the pool was empty", null]], "uris": null,
        "metadatas": [[{"severity": 1}, null]], "distances": [distances],
        "include": ["documents", "metadatas", "distances"],
    })
}

/// Vectors as OpenAI's API gives them.
fn embedded(vectors: &[(usize, [f64; 2])]) -> Value {
    let data =
        vectors.iter().map(|(index, numbers)| json!({"object": "embedding", "index": index, "embedding": numbers}));
    json!({
        "object": "list", "data": data.collect::<Vec<_>>(), "model": "small",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    })
}

fn with(mut node: Value, fields: &Value) -> Value {
    node.as_object_mut().unwrap().extend(fields.as_object().expect("fields are an object").clone());
    node
}

/// A node that searches for the text of the state, with these fields.
fn searching(store: &str, upstream: &Upstream, fields: &Value) -> Value {
    let embed = json!({"model": "small", "base_url": upstream.url("/v1")});
    let node = json!({
        "kind": "vector_search", "store": store, "url": upstream.url(""), "collection": "incidents",
        "query": "why {{ text }}?", "embed": embed, "into": "other",
    });
    with(node, fields)
}

/// A node that puts these items, with these fields.
fn putting(store: &str, upstream: &Upstream, items: &Value, fields: &Value) -> Value {
    let node = json!({
        "kind": "vector_upsert", "store": store, "url": upstream.url(""), "collection": "incidents", "items": items,
        "embed": {"model": "small", "base_url": upstream.url("/v1")},
    });
    with(node, fields)
}

/// The first lines of the requests.
fn asked(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    requests.iter().map(|request| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned()).collect()
}

const CHROMA: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";
const ID: &str = "6b9c4a5e-673f-407e-b2ea-2adb39778a56";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_chroma_gives_matches_with_scores() {
    let answers = vec![
        (OK, collection(Some(2), "cosine")),
        (OK, embedded(&[(0, [0.5, 0.25])])),
        (OK, found(&json!([0.25, 0.5]))),
    ];
    let upstream = answering(answers).await;
    let bench = Bench::new();
    let running = start(&bench);
    let fields = json!({
        "limit": 2, "filter": {"severity": {"$lte": "{{ count }}"}, "note": {"$eq": "x {{ count }}"}},
        "extra": {"where_document": {"$contains": "{{ text }}"}},
    });
    let run = begin(&bench, searching("chroma", &upstream, &fields), json!({"text": "a b", "count": 3})).await;
    let outcome = bench.settled(&run).await.outcome.unwrap();
    let matches = json!([
        {"id": "INC-1", "score": 0.75, "text": "the pool was empty", "metadata": {"severity": 1}},
        {"id": "INC-2", "score": 0.5, "text": null, "metadata": {}},
    ]);
    assert_eq!(wrote(&outcome), json!({"other": matches}));
    let paths =
        [format!("GET {CHROMA}/incidents"), "POST /v1/embeddings".to_owned(), format!("POST {CHROMA}/{ID}/query")];
    assert_eq!(asked(&upstream), paths);
    let requests = upstream.requests();
    assert_eq!(body(&requests[1]), json!({"model": "small", "input": ["why a b?"], "encoding_format": "float"}));
    let query = json!({
        "query_embeddings": [[0.5, 0.25]], "n_results": 2, "include": ["documents", "metadatas", "distances"],
        "where": {"severity": {"$lte": 3}, "note": {"$eq": "x 3"}}, "where_document": {"$contains": "a b"},
    });
    assert_eq!(body(&requests[2]), query);
    let usage =
        json!([{"input_tokens": 3, "prompt_tokens": 3, "total_tokens": 3, "provider": "openai", "model": "small"}]);
    assert_eq!(json!(events(&bench, &run, "usage").await), usage);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distances_of_chroma_become_scores_by_the_collections_own_metric() {
    let mut old = collection(Some(2), "");
    old["configuration_json"] = json!({"hnsw": null, "spann": null});
    old["metadata"] = json!({"hnsw:space": "ip"});
    for (described, distances, scores) in [
        (collection(None, "l2"), json!([0.0, 3.0]), json!([1.0, 0.25])),
        (collection(Some(2), "ip"), json!([-4.0, 1.5]), json!([5.0, -0.5])),
        (old, json!([-4.0, 1.5]), json!([5.0, -0.5])),
    ] {
        let upstream = answering(vec![(OK, described), (OK, found(&distances))]).await;
        let bench = Bench::new();
        let running = start(&bench);
        let fields = json!({
            "vector": [1, "{{ count }}"], "into": null, "output": {"other": "matches | map(attribute='score') | list", "count": "vector"},
        });
        let mut node = searching("chroma", &upstream, &fields);
        node.as_object_mut().unwrap().retain(|field, _| !["query", "embed"].contains(&field.as_str()));
        assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": scores, "count": [1.0, 3.0]}));
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_qdrant_gives_matches_in_the_same_shape() {
    let points = json!({
        "usage": {"cpu": 0}, "time": 0.000_4, "status": "ok",
        "result": {"points": [
            {"id": 7, "version": 3, "score": 0.9, "payload": {"body": "the pool was empty", "severity": 1}},
            {"id": "5ba8e6f0-4b7e-5f7e-9d0e-0d6d7f2b7a11", "version": 3, "score": 0.8, "payload": {"_id": "INC-2", "body": 4}},
            {"id": 9, "version": 3, "score": 0.7, "payload": null},
        ]},
    });
    let upstream = answering(vec![(OK, embedded(&[(0, [0.5, 0.25])])), (OK, points)]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("qdrant"), "hunter2").unwrap();
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let fields = json!({
        "api_key": "${file:qdrant}", "text_field": "body", "vector_name": "dense", "filter": {"must": []},
        "headers": {"X-Trace": "{{ count }}"},
    });
    let wanted = json!([
        {"id": "7", "score": 0.9, "text": "the pool was empty", "metadata": {"severity": 1}},
        {"id": "INC-2", "score": 0.8, "text": null, "metadata": {"body": 4}},
        {"id": "9", "score": 0.7, "text": null, "metadata": {}},
    ]);
    assert_eq!(wrote(&outcome(&bench, searching("qdrant", &upstream, &fields)).await), json!({"other": wanted}));
    assert_eq!(asked(&upstream)[1], "POST /collections/incidents/points/query");
    let request = &upstream.requests()[1];
    assert!(request.contains("api-key: hunter2\r\n") && request.contains("x-trace: 3\r\n"), "{request}");
    assert!(!upstream.requests()[0].contains("hunter2"), "the store's key is not for the model");
    let query =
        json!({"query": [0.5, 0.25], "limit": 10, "filter": {"must": []}, "using": "dense", "with_payload": true});
    assert_eq!(body(request), query);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_pinecone_gives_matches_in_the_same_shape() {
    let matches = json!({
        "matches": [
            {"id": "INC-1", "score": 0.9, "values": [], "metadata": {"text": "the pool was empty", "severity": 1}},
            {"id": "INC-2", "values": []},
        ],
        "namespace": "incidents", "usage": {"readUnits": 6},
    });
    let upstream = answering(vec![(OK, embedded(&[(0, [0.5, 0.25])])), (OK, matches)]).await;
    let bench = Bench::new();
    let running = start(&bench);
    let wanted = json!([
        {"id": "INC-1", "score": 0.9, "text": "the pool was empty", "metadata": {"severity": 1}},
        {"id": "INC-2", "score": 0.0, "text": null, "metadata": {}},
    ]);
    let node = searching("pinecone", &upstream, &json!({"limit": 2, "filter": {"severity": {"$lte": 2}}}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": wanted}));
    assert_eq!(asked(&upstream)[1], "POST /query");
    let request = &upstream.requests()[1];
    assert!(request.contains("x-pinecone-api-version: 2025-04\r\n"), "{request}");
    let query = json!({
        "vector": [0.5, 0.25], "topK": 2, "namespace": "incidents", "filter": {"severity": {"$lte": 2}},
        "includeMetadata": true,
    });
    assert_eq!(body(request), query);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_embedded_in_batches_and_put_under_their_ids() {
    let upstream = answering(vec![
        (OK, collection(None, "cosine")),
        (OK, embedded(&[(1, [0.0, 2.0]), (0, [0.0, 1.0])])),
        (OK, json!({})),
        (OK, embedded(&[(0, [0.0, 4.0])])),
        (OK, json!({})),
    ])
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let items = json!([
        {"id": "a", "text": "one {{ count }}"}, {"id": "b", "text": "two", "metadata": {"severity": "{{ count }}"}},
        {"id": 3, "text": "three", "vector": [0.0, 3.0]}, {"id": "d", "text": "four"},
    ]);
    let fields = json!({
        "embed": {"model": "small", "base_url": upstream.url("/v1"), "batch": 2, "dimensions": 2, "extra": {"encoding_format": null}},
        "output": {"count": "count + 1", "other": "ids", "words": "usage.input_tokens"},
    });
    let node = putting("chroma", &upstream, &items, &fields);
    let wanted = json!({"count": 5, "other": ["a", "b", "3", "d"], "words": 6});
    assert_eq!(wrote(&outcome(&bench, node).await), wanted);
    let put = format!("POST {CHROMA}/{ID}/upsert");
    let embeddings = "POST /v1/embeddings".to_owned();
    assert_eq!(asked(&upstream), [format!("POST {CHROMA}"), embeddings.clone(), put.clone(), embeddings, put]);
    let requests = upstream.requests();
    let make = json!({"name": "incidents", "get_or_create": true, "configuration": {"hnsw": {"space": "cosine"}}});
    assert_eq!(body(&requests[0]), make);
    assert_eq!(body(&requests[1]), json!({"model": "small", "input": ["one 3", "two"], "dimensions": 2}));
    let first = json!({
        "ids": ["a", "b"], "embeddings": [[0.0, 1.0], [0.0, 2.0]], "documents": ["one 3", "two"],
        "metadatas": [null, {"severity": 3}],
    });
    assert_eq!(body(&requests[2]), first);
    let second = json!({"ids": ["3", "d"], "embeddings": [[0.0, 3.0], [0.0, 4.0]], "documents": ["three", "four"]});
    assert_eq!(body(&requests[4]), second);
    let keys = requests.iter().filter_map(|request| request.lines().find(|line| line.starts_with("idempotency-key: ")));
    let keys: std::collections::BTreeSet<_> = keys.collect();
    assert_eq!(keys.len(), 5, "each request of a try has a key of its own");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_of_qdrant_that_is_not_there_is_made() {
    let absent = json!({"status": {"error": "Not found: Collection `incidents` doesn't exist!"}, "time": 0.1});
    let done = json!({"result": {"operation_id": 0, "status": "completed"}, "status": "ok", "time": 0.1});
    let taken = json!({"status": {"error": "Wrong input: Collection `incidents` already exists!"}, "time": 0.1});
    for made in [(OK, json!({"result": true, "status": "ok", "time": 0.1})), ("409 Conflict", taken)] {
        let upstream = answering(vec![("404 Not Found", absent.clone()), made, (OK, done.clone())]).await;
        let bench = Bench::new();
        let running = start(&bench);
        let items = json!([
            {"id": 7, "vector": [0, 1], "text": "one"}, {"id": "INC-2", "vector": [0, 2], "metadata": {"severity": 1}},
        ]);
        let node = putting("qdrant", &upstream, &items, &json!({"metric": "euclid", "into": "count"}));
        assert_eq!(wrote(&outcome(&bench, node).await), json!({"count": 2}));
        let put = "PUT /collections/incidents/points?wait=true";
        assert_eq!(asked(&upstream), [put, "PUT /collections/incidents", put]);
        let requests = upstream.requests();
        assert_eq!(body(&requests[1]), json!({"vectors": {"size": 2, "distance": "Euclid"}}));
        let points = json!({"points": [
            {"id": 7, "vector": [0.0, 1.0], "payload": {"text": "one"}},
            {"id": "38180571-026b-5bd5-b846-6b0e44299c15", "vector": [0.0, 2.0], "payload": {"severity": 1, "_id": "INC-2"}},
        ]});
        assert_eq!(body(&requests[2]), points);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_put_into_a_namespace_of_pinecone() {
    let upstream = answering(vec![(OK, json!({"upsertedCount": 2}))]).await;
    let bench = Bench::new();
    let running = start(&bench);
    let items =
        json!([{"id": "a", "vector": [0, 1], "text": "one", "metadata": {"k": 1}}, {"id": "b", "vector": [0, 2]}]);
    let node = putting("pinecone", &upstream, &items, &json!({"collection": null}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({}));
    assert_eq!(asked(&upstream), ["POST /vectors/upsert"]);
    let put = json!({"vectors": [
        {"id": "a", "values": [0.0, 1.0], "metadata": {"text": "one", "k": 1}}, {"id": "b", "values": [0.0, 2.0]},
    ]});
    assert_eq!(body(&upstream.requests()[0]), put);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_that_has_begun_waits_for_its_turn_and_does_not_begin_anew() {
    let done = json!({"result": {"operation_id": 0, "status": "completed"}, "status": "ok", "time": 0.1});
    let upstream = answering(vec![(OK, done.clone()), (OK, done.clone()), (OK, done)]).await;
    let rate = "2/s".parse::<coxswain_shared::upstream::Rate>().unwrap().with_burst(1);
    let mut config = config(None);
    config.outside.upstreams.others = UpstreamLimits { rate: Some(rate), ..UpstreamLimits::default() };
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config));
    let items = json!([{"id": 1, "vector": [1]}, {"id": 2, "vector": [2]}, {"id": 3, "vector": [3]}]);
    let one_by_one = json!({"embed": {"model": "small", "base_url": upstream.url("/v1"), "batch": 1}, "into": "count"});
    let node = putting("qdrant", &upstream, &items, &one_by_one);
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"count": 3}));
    let ids = upstream.requests().iter().map(|request| body(request)["points"][0]["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids, [1, 2, 3]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_for_no_items() {
    let upstream = answering(Vec::new()).await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = putting("chroma", &upstream, &json!("{{ [] }}"), &json!({"into": "count"}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"count": 0}));
    assert!(upstream.requests().is_empty());
    running.drain().await;
}

/// Runs one node against these answers, and gives what is told of its failure.
async fn refused(answers: Vec<(&'static str, Value)>, node: impl Fn(&Upstream) -> Value) -> (FailureKind, String) {
    let upstream = answering(answers).await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, node(&upstream)).await;
    let told = failure(&outcome);
    running.drain().await;
    (outcome.failure().unwrap().kind, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_not_there_is_named_and_so_is_what_makes_one() {
    let absent = json!({"error": "NotFoundError", "message": "Collection [incidents] does not exist"});
    let search = |upstream: &Upstream| searching("chroma", upstream, &json!({"database": "ops"}));
    let (kind, told) = refused(vec![("404 Not Found", absent)], search).await;
    assert_eq!(kind, FailureKind::Outside);
    for word in
        ["no collection `incidents` in the database `ops`", "Collection [incidents] does not exist", "vector_upsert"]
    {
        assert!(told.contains(word), "{word} is missing in: {told}");
    }
    let absent = json!({"status": {"error": "Not found: Collection `incidents` doesn't exist!"}});
    let answers = vec![(OK, embedded(&[(0, [0.0, 1.0])])), ("404 Not Found", absent)];
    let (_, told) = refused(answers, |upstream| searching("qdrant", upstream, &json!({}))).await;
    assert!(told.contains("404 Not Found") && told.contains("Collection `incidents` doesn't exist!"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_another_length_are_told_before_they_are_sent() {
    let described = || (OK, collection(Some(384), "cosine"));
    let embedded = || (OK, embedded(&[(0, [0.0, 1.0])]));
    let search = |upstream: &Upstream| searching("chroma", upstream, &json!({}));
    let (kind, told) = refused(vec![described(), embedded()], search).await;
    assert_eq!(kind, FailureKind::BadInput);
    assert!(told.contains("holds vectors of 384 numbers, and the query's vector has 2"), "{told}");
    let put = |upstream: &Upstream| putting("chroma", upstream, &json!([{"id": "a", "text": "x"}]), &json!({}));
    let (_, told) = refused(vec![described(), embedded()], put).await;
    assert!(told.contains("384 numbers, and the vector of the item `a` has 2"), "{told}");
    let uneven = json!([{"id": "a", "vector": [1, 2]}, {"id": "b", "vector": [1]}]);
    let (kind, told) = refused(Vec::new(), |upstream| putting("pinecone", upstream, &uneven, &json!({}))).await;
    assert_eq!(kind, FailureKind::BadInput);
    assert!(told.contains("the vector of the item `b` has 1 numbers, and those before it 2"), "{told}");
    let longer = |upstream: &Upstream| {
        let embed = json!({"model": "small", "base_url": upstream.url("/v1"), "dimensions": 64});
        searching("qdrant", upstream, &json!({"embed": embed}))
    };
    let (kind, told) = refused(vec![embedded()], longer).await;
    assert_eq!(kind, FailureKind::BadOutput);
    assert!(told.contains("gave a vector of 2 numbers, and 64 were asked for"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_make_no_sense_are_told_and_tried_again() {
    let described = || (OK, collection(Some(2), "cosine"));
    let vector = || (OK, embedded(&[(0, [0.0, 1.0])]));
    for (answers, words) in [
        (vec![(OK, json!({"name": "incidents"}))], "missing field `id`"),
        (vec![(OK, json!("hello"))], "the answer is not of the expected shape"),
        (vec![described(), (OK, json!({"data": "none"}))], "invalid type: string"),
        (vec![described(), (OK, json!({"data": []}))], "gave 0 vectors for 1 texts"),
        (vec![described(), (OK, embedded(&[(7, [0.0, 1.0])]))], "gave no or two vectors for one of the texts"),
        (vec![described(), (OK, json!({"data": [{"embedding": []}]}))], "a vector of the model `small` is empty"),
        (vec![described(), (OK, json!({"data": [{"embedding": [1e300]}]}))], "number out of range"),
        (vec![described(), vector(), (OK, json!({"ids": [["a"]]}))], "gave 1 matches and 0 distances"),
        (vec![described(), vector(), (OK, found(&json!([0.1, null])))], "gave no distance of `INC-2`"),
        (vec![described(), vector(), (OK, json!({"ids": 3}))], "expected a sequence"),
    ] {
        let (kind, told) = refused(answers, |upstream| searching("chroma", upstream, &json!({}))).await;
        assert_eq!(kind, FailureKind::BadOutput, "{told}");
        assert!(told.contains(words), "{words} is missing in: {told}");
    }
    let upstream = answering(vec![(OK, json!([])), described(), vector(), (OK, found(&json!([0.0, 0.0])))]).await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = searching("chroma", &upstream, &json!({"retry": {"attempts": 2, "first": "1h"}}));
    let run = begin(&bench, node, json!({"text": "a"})).await;
    bench.task_when(&run, |task: &Task| task.state == TaskState::Delayed).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_busy_is_asked_again_not_sooner_than_it_says() {
    let busy = ("429 Too Many Requests|retry-after: 3600\r\n", json!({"error": {"message": "slow down"}}));
    let retry = json!({"retry": {"attempts": 2, "first": "1ms"}});
    let (_, told) = refused(vec![busy], |upstream| searching("pinecone", upstream, &retry)).await;
    assert!(told.contains("slow down") && told.contains("would begin after the task's timeout"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_not_told_when_a_store_repeats_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter2").unwrap();
    let denied = json!({"error": "AuthError", "message": "the token hunter2 is wrong"});
    let upstream = answering(vec![("403 Forbidden", denied)]).await;
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let told = failure(&outcome(&bench, searching("chroma", &upstream, &json!({"api_key": "${file:key}"}))).await);
    assert!(upstream.requests()[0].contains("x-chroma-token: hunter2\r\n"));
    assert!(told.contains("the token *** is wrong") && !told.contains("hunter2"), "{told}");

    // A key of digits alone is no part of a number.
    std::fs::write(folder.path().join("key"), "2500").unwrap();
    let matches =
        json!({"matches": [{"id": "a", "score": 0.25003, "metadata": {"text": "the key 2500", "k 2500": 25001}}]});
    let upstream = answering(vec![(OK, matches)]).await;
    let fields = json!({"api_key": "${file:key}", "vector": [1], "query": null, "embed": null});
    let wanted = json!([{"id": "a", "score": 0.25003, "text": "the key ***", "metadata": {"k ***": 25001}}]);
    assert_eq!(wrote(&outcome(&bench, searching("pinecone", &upstream, &fields)).await), json!({"other": wanted}));
    let upstream = answering(vec![(OK, json!({"matches": "the key 2500"}))]).await;
    let told = failure(&outcome(&bench, searching("pinecone", &upstream, &fields)).await);
    assert!(told.contains("the key ***") && !told.contains("2500"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_the_limits_of_a_call() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        match exchange.number {
            0 => exchange.json(&collection(Some(2), "cosine").to_string()).await,
            _ => exchange.hang().await,
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, searching("chroma", &upstream, &json!({"first_byte_timeout": "300ms"}))).await;
    assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
    let told = failure(&outcome);
    assert!(told.contains("first_byte_timeout (300ms) passed in POST") && told.contains("/v1/embeddings"), "{told}");
    upstream.clients_left(1).await;
    let small = searching("chroma", &upstream, &json!({"max_bytes": 10}));
    let upstream = answering(vec![(OK, collection(Some(2), "cosine"))]).await;
    let small = with(small, &json!({"url": upstream.url("")}));
    let told = failure(&super::model::outcome(&bench, small).await);
    assert!(told.contains("longer than 10 bytes (`max_bytes`)"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_closes_the_connection_to_the_store() {
    let upstream = Upstream::start(|exchange: Exchange| async move { exchange.hang().await }).await;
    let bench = Bench::new();
    let running = start(&bench);
    let run = begin(&bench, searching("chroma", &upstream, &json!({})), json!({"text": "a"})).await;
    wait_for(|| async { if upstream.requests().is_empty() { Err("nothing was asked".to_owned()) } else { Ok(()) } })
        .await;
    bench.stop(&run, None, false).await;
    upstream.clients_left(1).await;
    running.drain().await;
}
