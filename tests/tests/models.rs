//! Calls of real servers from end to end: a small model behind llama.cpp, Chroma, and a mock that fails as it is told to,
//! under a real `cox`. The model answers in the right shape and hardly ever right: what is held is the shape.

use std::path::Path;
use std::time::Duration;

use coxswain_tests::process::Launch;
use coxswain_tests::{ChromaServer, Cox, LlamaServer, MockModel, Output, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Enough for anything that takes some seconds on an idle machine.
const SOON: Duration = Duration::from_mins(5);

/// Limits of the examples, which a busy machine may not keep.
const LIMITS: [&str; 6] =
    ["run_timeout", "timeout", "attempt_timeout", "connect_timeout", "first_byte_timeout", "idle_timeout"];

/// A folder with a store, and a graph that says where its servers are by the environment.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes an example, adapted to a busy machine.
    fn example(&self, name: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("examples").join(name)).unwrap();
        let mut graph: Value = serde_saphyr::from_str(&text).unwrap();
        adapt(&mut graph);
        self.graph(&graph.to_string());
    }

    /// Writes a graph.
    fn graph(&self, text: &str) {
        std::fs::write(self.0.path().join("g.yaml"), text).unwrap();
    }

    fn cox(&self, words: &str, model: &str) -> Launch {
        let cox = Cox::program("cox").args(words.split(' ')).current_dir(self.0.path());
        cox.env("OPENAI_BASE_URL", model).env("OPENAI_API_KEY", "none").env("COX_OUTSIDE_ALLOW", "127.0.0.1")
    }
}

/// Gives everything in a graph the time that a busy machine takes, and has its models say less.
fn adapt(graph: &mut Value) {
    match graph {
        Value::Object(fields) => {
            for (field, value) in fields {
                if LIMITS.contains(&field.as_str()) {
                    *value = json!("4m");
                } else if field == "max_tokens" {
                    *value = json!(24);
                } else {
                    adapt(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(adapt),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The last state of a run that has succeeded.
fn state(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// Waits until the model works on so many requests.
async fn busy(model: &LlamaServer, wanted: usize) {
    let looked = async || match model.busy().await {
        Ok(busy) if busy == wanted => Ok(()),
        Ok(busy) => Err(format!("{busy} slots are busy")),
        Err(error) => Err(error.to_string()),
    };
    wait_for(&format!("{wanted} busy slots of the model"), SOON, looked).await;
}

#[tokio::test]
async fn an_incident_is_analyzed_by_a_real_model_over_a_real_store() {
    let (model, chroma) = (LlamaServer::start().await, ChromaServer::start().await);
    let desk = Desk::new();
    desk.example("incident-analyzer.yaml");
    for _ in ["the collection is made", "what is there is replaced"] {
        let cox = desk.cox("run g.yaml", &model.base_url()).env("CHROMA_BASE_URL", chroma.url());
        let state = state(&cox.run(SOON).await);
        let report = &state["report"];
        assert_eq!(report["missing"], json!([]), "{report}");
        let like: Vec<&str> = report["like"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert!(like.len() == 2 && !like.contains(&"INC-142"), "the filter leaves it out: {report}");
        assert!((0.0..=1.0).contains(&report["nearest"].as_f64().unwrap()), "{report}");
        assert!(!report["analysis"].as_str().unwrap().is_empty() && report["tokens"].as_u64() > Some(0), "{report}");
        let scores: Vec<f64> = ["0", "1"]
            .iter()
            .map(|n| state.pointer(&format!("/similar/{n}/score")).unwrap().as_f64().unwrap())
            .collect();
        assert!(scores[0] >= scores[1], "the best is first: {scores:?}");
        assert!(state["similar"][0]["text"].is_string() && state["similar"][0]["metadata"]["severity"].is_u64());
        assert_eq!(chroma.count("incidents").await.unwrap(), 4);
    }
}

#[tokio::test]
async fn the_figures_of_a_report_are_found_by_a_real_model() {
    let model = LlamaServer::start().await;
    let desk = Desk::new();
    desk.example("financial-metrics.yaml");
    let state = state(&desk.cox("run g.yaml", &model.base_url()).run(SOON).await);
    let summary = &state["summary"];
    assert_eq!(
        (&summary["pieces"], &summary["answered"], &summary["missing"]),
        (&json!(4), &json!(4), &json!([])),
        "{summary}"
    );
    let findings = summary["findings"].as_array().unwrap();
    assert!(findings.iter().all(|found| !found["figures"].as_str().unwrap().is_empty()), "{summary}");
    assert!(summary["tokens"].as_u64() >= Some(4), "{summary}");
}

#[tokio::test]
async fn a_conversation_goes_on_with_another_provider_and_an_answer_keeps_to_its_schema() {
    let model = LlamaServer::start().await;
    let desk = Desk::new();
    desk.graph(
        r#"
name: conversation
state: { talk: messages, said: , colour: }
defaults: { attempt_timeout: 4m, first_byte_timeout: 4m, idle_timeout: 4m }
nodes:
  greet: { kind: llm, provider: anthropic, model: m, base_url: "${env:OPENAI_BASE_URL}", prompt: Say hello., max_tokens: 8, into: talk }
  ask: { kind: llm, model: m, base_url: "${env:OPENAI_BASE_URL}", messages: ["{{ talk }}", { role: user, content: And goodbye? }], max_tokens: 8,
    output: { said: "[text, finish_reason, usage.output_tokens]" } }
  choose: { kind: llm, model: m, base_url: "${env:OPENAI_BASE_URL}", prompt: Name a colour., temperature: 0, max_tokens: 40, into: colour,
    schema: { type: object, required: [name], properties: { name: { enum: [teal, ochre] } }, additionalProperties: false } }
edges: [START -> greet -> ask -> choose -> END]
"#,
    );
    let state = state(&desk.cox("run g.yaml", &model.base_url()).run(SOON).await);
    assert_eq!(state["talk"][0]["role"], "assistant", "{state}");
    assert!(!state["talk"][0]["content"].as_str().unwrap().is_empty(), "{state}");
    assert!(["length", "stop"].contains(&state["said"][1].as_str().unwrap()), "{state}");
    assert!((1..=8).contains(&state["said"][2].as_u64().unwrap()), "{state}");
    assert!(["teal", "ochre"].contains(&state["colour"]["name"].as_str().unwrap()), "{state}");
}

/// A model that talks until it is stopped.
const TALK: &str = "
name: talk
state: { said: , }
limits: { run_timeout: RUN_TIMEOUT }
nodes:
  talk:
    kind: llm
    model: smollm2
    base_url: \"${env:OPENAI_BASE_URL}\"
    prompt: Count as far as you can.
    max_tokens: 100000
    extra: { ignore_eos: true }
    into: said
    attempt_timeout: 4m
    first_byte_timeout: 4m
    idle_timeout: 4m
edges: [START -> talk -> END]
";

#[tokio::test]
async fn a_cancel_makes_a_model_stop_generating() {
    let model = LlamaServer::start().await;
    let desk = Desk::new();
    desk.graph(&TALK.replace("RUN_TIMEOUT", "10m"));
    let mut run = desk.cox("run g.yaml --id a", &model.base_url()).start();
    busy(&model, 1).await;
    wait_for("the first tokens", SOON, async || run.stderr().contains("token")).await;
    let cancelled = desk.cox("cancel a --wait", &model.base_url()).run(SOON).await;
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    assert_eq!(run.wait_exit(SOON).await.code(), Some(3), "{}", run.tails());
    busy(&model, 0).await;
    assert!(model.log().contains("cancel task"), "it did not finish: it was cut off\n{}", model.log());
    let shown = desk.cox("get a --json", &model.base_url()).run(SOON).await;
    assert!(shown.stdout.contains("\"partial\""), "what had come is kept: {shown:?}");
}

#[tokio::test]
async fn the_time_limit_of_a_run_makes_a_model_stop_generating() {
    let model = LlamaServer::start().await;
    let desk = Desk::new();
    desk.graph(&TALK.replace("RUN_TIMEOUT", "6s"));
    let output = desk.cox("run g.yaml --id a", &model.base_url()).run(SOON).await;
    assert!(!output.status.success() && output.stderr.contains("run_timeout"), "{output:?}");
    busy(&model, 0).await;
    assert!(model.log().contains("cancel task"), "it did not finish: it was cut off\n{}", model.log());
}

#[tokio::test]
async fn a_search_with_a_vector_of_another_model_is_refused_and_so_is_one_of_nothing() {
    let chroma = ChromaServer::start().await;
    let desk = Desk::new();
    let node = |fields: &str| format!("{{ store: chroma, url: \"{}\", {fields} }}", chroma.url());
    desk.graph(&format!(
        "
name: searches
state: {{ found: , told: append }}
nodes:
  put: {}
  near: {}
  other: {}
  nothing: {}
edges: [START -> put -> near -> other & nothing -> END]
",
        node("kind: vector_upsert, collection: notes, items: [{ id: a, vector: [1, 0, 0] }, { id: b, vector: [0, 1, 0], text: second }]"),
        node("kind: vector_search, collection: notes, vector: [0, 2, 0], into: found"),
        node("kind: vector_search, collection: notes, vector: [0, 2], into: told, on_failure: { continue: { told: refused } }"),
        node("kind: vector_search, collection: letters, vector: [0], into: told, on_failure: { continue: { told: refused } }"),
    ));
    let output = desk.cox("run g.yaml --id a", "http://127.0.0.1:9").run(SOON).await;
    let state = state(&output);
    assert_eq!(state["told"], json!(["refused", "refused"]));
    assert_eq!((&state["found"][0]["id"], &state["found"][0]["text"]), (&json!("b"), &json!("second")), "{state}");
    assert!(
        state["found"][0]["score"].as_f64() > Some(0.999) && state["found"][1]["score"].as_f64() < Some(0.001),
        "{state}"
    );
    for told in ["holds vectors of 3 numbers, and the query's vector has 2", "there is no collection `letters`"] {
        assert!(output.stderr.contains(told), "{told} is missing: {}", output.stderr);
    }
}

/// A model that is asked until it answers.
const ASK: &str = "
name: ask
state: { said: , }
nodes:
  ask: { kind: llm, provider: PROVIDER, model: m, base_url: \"${env:OPENAI_BASE_URL}\", api_key: \"${env:OPENAI_API_KEY}\",
    prompt: why is the sea rough, into: said, retry: { attempts: 4, first: 1ms, max: 1ms } }
edges: [START -> ask -> END]
";

#[tokio::test]
async fn a_model_that_fails_three_ways_answers_the_fourth_try_and_none_comes_sooner_than_it_asked() {
    for (provider, path) in [("openai", "/v1"), ("anthropic", "")] {
        let answers = [
            json!({"response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 2}}),
            json!({"response": {"error": {"message": "busy", "type": "server_error"}, "status": 503}}),
            json!({"response": {"content": "Because of the wind, and of the moon."}, "truncateAfterChunks": 2, "chunkSize": 5}),
            json!({"response": {"content": "Because of the wind."}}),
        ];
        let mock = MockModel::start("sea", &answers).await;
        let desk = Desk::new();
        desk.graph(&ASK.replace("PROVIDER", provider));
        let output = desk.cox("run g.yaml", &format!("{}{path}", mock.url())).run(SOON).await;
        assert_eq!(state(&output)["said"], "Because of the wind.", "{provider}");
        let asked = mock.asked().await.unwrap();
        assert_eq!(asked.len(), 4, "{provider}: {asked:?}");
        assert_eq!((asked[0].status, asked[1].status), (429, 503), "{provider}");
        let waited = asked[1].at.saturating_sub(asked[0].at);
        assert!(waited >= Duration::from_secs(2), "{provider}: it was asked again after {waited:?}");
        let key = |asked: &coxswain_tests::Asked| asked.headers["idempotency-key"].clone();
        assert!(asked.iter().all(|one| key(one).is_string() && key(one) == key(&asked[0])), "{provider}: {asked:?}");
    }
}

#[tokio::test]
async fn mocks_of_pinecone_and_qdrant_take_items_and_one_gives_matches() {
    let found = json!([{"id": "a", "score": 0.9, "metadata": {"text": "one", "k": 1}}, {"id": "b", "score": 0.5}]);
    let mock = MockModel::of_vectors(&json!([{"name": "notes", "dimension": 1536, "queryResults": found}])).await;
    let desk = Desk::new();
    let node = |store: &str, fields: &str| {
        format!(
            "{{ store: {store}, url: {}/vector, collection: notes, {fields}, \
             embed: {{ model: text-embedding-3-small, base_url: {}/v1 }} }}",
            mock.url(),
            mock.url()
        )
    };
    let items =
        "kind: vector_upsert, items: [{ id: a, text: one, metadata: { k: 1 } }, { id: b, text: two }], into: put";
    desk.graph(&format!(
        "name: stores\nstate: {{ put: add, found: }}\nnodes:\n  pinecone: {}\n  qdrant: {}\n  search: {}\n\
         edges: [START -> pinecone & qdrant, pinecone & qdrant -> search, search -> END]\n",
        node("pinecone", items),
        node("qdrant", items),
        node("pinecone", "kind: vector_search, query: one, limit: 1, into: found"),
    ));
    let state = state(&desk.cox("run g.yaml", mock.url()).run(SOON).await);
    let wanted = json!([{"id": "a", "score": 0.9, "text": "one", "metadata": {"k": 1}}]);
    assert_eq!((&state["put"], &state["found"]), (&json!(4), &wanted), "{state}");
}
