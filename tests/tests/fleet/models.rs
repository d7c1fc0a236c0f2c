//! Nodes that ask models and search among vectors, on a whole fleet: a real Chroma, and a model that says what it is made
//! to. What a model is worth is not looked at here: `models.rs` beside does that, with real ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coxswain_shared::control;
use coxswain_shared::graph::{Graph, Source, no_files, parse};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::run::RunStatus;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::StopAnswer;
use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::{ChromaServer, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a model says that is asked for this goes on until nobody listens.
const FOR_EVER: &str = "for ever";

/// A server that speaks OpenAI's API: vectors of texts, and answers as streams.
struct Model {
    url: String,
    /// Bodies of requests for an answer.
    asked: Arc<Mutex<Vec<String>>>,
    /// Clients that have left in the middle of an answer.
    left: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Model {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, left, tasks) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default(), Tasks::new());
        let (all, gone, inner) = (Arc::clone(&asked), Arc::clone(&left), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                inner.spawn(serve(stream, Arc::clone(&all), Arc::clone(&gone)));
            }
        });
        Self { url, asked, left, tasks }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Answers one request, and closes.
async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>, left: Arc<AtomicUsize>) {
    let Some((head, body)) = request(&mut stream).await else { return };
    if head.contains("/embeddings") {
        let body: Value = serde_json::from_str(&body).unwrap();
        let vector = |text: &Value| if text.as_str().unwrap().contains("sea") { json!([1, 0]) } else { json!([0, 1]) };
        let data: Vec<Value> =
            body["input"].as_array().unwrap().iter().map(|text| json!({"embedding": vector(text)})).collect();
        let answer = json!({"data": data, "usage": {"prompt_tokens": 3}}).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
        // Who has gone meanwhile is not answered.
        let _ = stream.write_all(format!("{head}: {}\r\n\r\n{answer}", answer.len()).as_bytes()).await;
        return;
    }
    let is_endless = body.contains(FOR_EVER);
    asked.lock().unwrap().push(body);
    let says = |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(format!("{head}{}", says("Waves")).as_bytes()).await;
    if is_endless {
        let (mut nothing, mut ticks) = ([0; 1], tokio::time::interval(Duration::from_millis(50)));
        loop {
            tokio::select! {
                read = stream.read(&mut nothing) => {
                    assert!(!read.is_ok_and(|read| read > 0), "nothing more is asked");
                    left.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                // That nobody listens any more is seen by reading.
                _ = ticks.tick() => drop(stream.try_write(says(" and waves").as_bytes())),
            }
        }
    }
    let usage = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2}});
    let _ = stream.write_all(format!("data: {usage}\n\ndata: [DONE]\n\n").as_bytes()).await;
}

/// The head and the body of a request; none of a client that sends no whole one.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Puts two notes into Chroma, looks for what is nearest to a question, and asks the model about it.
fn asking(model: &Model, chroma: &ChromaServer, question: &str) -> Graph {
    let notes = format!("store: chroma, url: \"{}\", collection: notes", chroma.url());
    let embed = format!("embed: {{ model: tiny, base_url: \"{}\" }}", model.url);
    let text = format!(
        "
name: asking
state: {{ put: , near: , said: }}
defaults: {{ attempt_timeout: 2m, first_byte_timeout: 1m, idle_timeout: 1m }}
nodes:
  put: {{ kind: vector_upsert, {notes}, {embed}, into: put,
    items: [{{ id: a, text: \"the sea is rough\" }}, {{ id: b, text: \"the hills are still\" }}] }}
  look: {{ kind: vector_search, {notes}, {embed}, query: \"why the sea\", limit: 1, into: near }}
  ask: {{ kind: llm, model: small, base_url: \"{}\", prompt: \"{question}: {{{{ near[0].text }}}}\", into: said }}
edges: [START -> put -> look -> ask -> END]
",
        model.url
    );
    parse(&Source::new("asking.yaml", &text), &no_files).unwrap()
}

#[tokio::test]
async fn models_and_vectors_serve_a_fleet_and_a_cancel_hangs_up_on_the_model() {
    let (model, chroma) = (Model::start().await, ChromaServer::start().await);
    let mut fleet = Fleet::start(1, 0).await;
    for _ in 0..2 {
        fleet.add_worker(&[("COX_OUTSIDE_ALLOW", "127.0.0.1")]).await;
    }
    let well = fleet.submit(&asking(&model, &chroma, "explain")).await;
    let ended = fleet.succeeded(&well, SOON).await;
    let state = control::state(fleet.store.as_ref(), &well, None).await.unwrap().values;
    let state = serde_json::to_value(state).unwrap();
    assert_eq!((&state["put"], &state["near"][0]["id"], &state["said"]), (&json!(2), &json!("a"), &json!("Waves")));
    assert!(model.asked.lock().unwrap()[0].contains("explain: the sea is rough"));
    assert_eq!(chroma.count("notes").await.unwrap(), 2);
    // Two requests for vectors, and one for an answer.
    let spent = Spend { input_tokens: 3 + 3 + 11, output_tokens: 2, ..Spend::default() };
    assert_eq!(ended.spent, spent, "what two workers have spent is the run's");

    let endless = fleet.submit(&asking(&model, &chroma, FOR_EVER)).await;
    wait_for("the first token", SOON, async || {
        let key = fleet.run(&endless).await.key;
        let events = fleet.store.events(&key, 0, 1_000).await.map_err(|error| error.to_string())?;
        let has_begun = events.iter().any(|told| told.event.kind == "token");
        if has_begun { Ok(()) } else { Err(format!("{events:?}\n{}", fleet.tails())) }
    })
    .await;
    assert_eq!(model.left.load(Ordering::SeqCst), 0, "it is listened to");
    let answer = fleet.cancel(&endless).await;
    assert!(matches!(answer, StopAnswer::Accepted(_)), "{answer:?}");
    let ended = fleet.ended(&endless, SOON).await;
    let report = ended.stop.clone().unwrap();
    assert_eq!((ended.status, report.is_confirmed(), report.leases), (RunStatus::Cancelled, true, 1), "{report:?}");
    wait_for("the model to be hung up on", SOON, async || model.left.load(Ordering::SeqCst) == 1).await;
    let tasks = fleet.store.tasks(&ended.key, ended.step, 0, 10).await.unwrap();
    let partial = tasks[0].proof.clone().unwrap().partial.unwrap();
    assert!(partial.as_str().unwrap().starts_with("Waves"), "{partial}");
    assert_eq!(model.asked.lock().unwrap().len(), 2, "it was not asked again");
    fleet.verdict(&[well, endless]).await;
}
