//! `http` nodes against servers that behave, and against servers that misbehave in one way each.

use std::time::{Duration, Instant};

use coxswain_shared::id::RunKey;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{FailureKind, Outcome};
use coxswain_shared::store::SweepLimits;
use coxswain_shared::task::{Task, TaskState};
use serde_json::{Value, json};

use super::bench::{Bench, values, wait_for};
use super::outside::{config, failure, hits, outcome, start, wrote};
use super::upstream::{Exchange, Upstream};
use crate::Worker;

/// Short, but longer than a busy machine takes to answer.
const SHORT: &str = "400ms";

fn get(url: &str, fields: Value) -> Value {
    let mut node = json!({"kind": "http", "url": url, "into": "other"});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    node.as_object_mut().unwrap().extend(fields);
    node
}

/// A node with these fields, once it is known where its server is.
fn getting(fields: Value) -> impl FnOnce(&Upstream) -> Value {
    |upstream| get(&upstream.url("/x"), fields)
}

/// Does what a scheduler does: sends a delayed task again once its pause is over.
async fn send_again(bench: &Bench, run: &RunKey) {
    let limits = SweepLimits { tasks: 10, runs: 10, resend_after: Duration::from_secs(30), ahead: Duration::ZERO };
    wait_for(|| async {
        let swept = bench.store.sweep(run.partition, limits).await.unwrap();
        if swept.send.is_empty() { Err("nothing is due".to_owned()) } else { Ok(()) }
    })
    .await;
    bench.publish(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_filled_in_from_the_state_and_its_answer_is_written() {
    let upstream = Upstream::start(|exchange| exchange.json(r#"{"found": [1, 2]}"#)).await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = json!({
        "kind": "http", "method": "POST", "url": format!("{}?q={{{{ text | urlencode }}}}", upstream.url("/find")),
        "headers": {"X-Count": "n={{ count }}"},
        "json": {"text": "{{ text }}!", "count": "{{ count }}", "deep": [{"plain": true}]},
        "output": {"count": "status", "other": "response.found | length", "text": "headers['content-type']"},
    });
    let outcome = outcome(&bench, node).await;
    assert_eq!(wrote(&outcome), json!({"count": 200, "other": 2, "text": "application/json"}));
    let request = upstream.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /find?q=a%20b HTTP/1.1\r\n"), "{head}");
    for header in ["x-count: n=3", "content-type: application/json", "idempotency-key: ", "cox-deadline-ms: "] {
        assert!(head.to_ascii_lowercase().contains(header), "{header} is missing in: {head}");
    }
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({"text": "a b!", "count": 3, "deep": [{"plain": true}]})
    );
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_is_text_and_an_empty_answer_writes_nothing() {
    let upstream = Upstream::start(|exchange: Exchange| async {
        let body = if exchange.number == 0 { "plain" } else { "" };
        exchange.answer("200 OK", "content-type: text/plain\r\n", body).await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = get(&upstream.url("/"), json!({}));
    assert_eq!(wrote(&outcome(&bench, node.clone()).await), json!({"other": "plain"}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_accepts_and_says_nothing_hits_the_first_byte_limit_and_is_left() {
    let (told, upstream) =
        hits(Limit::FirstByteTimeout, getting(json!({"first_byte_timeout": SHORT})), Exchange::hang).await;
    assert!(told.contains("first_byte_timeout (400ms) passed in GET http://127.0.0.1:"), "{told}");
    assert!(told.contains("nothing had come") && told.contains("(attempt 1)"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_take_the_connection_hits_the_connect_limit() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: once the queue is full, a further connection gets no answer.
    let mut waiting = Vec::new();
    let full = async {
        while let Ok(stream) = tokio::net::TcpStream::connect(address).await {
            waiting.push(stream);
        }
    };
    tokio::time::timeout(Duration::from_millis(500), full).await.expect_err("the queue never got full");
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, get(&format!("http://{address}/"), json!({"connect_timeout": SHORT}))).await;
    assert!(matches!(outcome, Outcome::TimedOut { limit: Limit::ConnectTimeout, .. }), "{outcome:?}");
    assert!(failure(&outcome).contains("connect_timeout (400ms) passed in GET"), "{outcome:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_fails_the_try() {
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, get("http://127.0.0.1:1/", json!({}))).await;
    assert_eq!(outcome.failure().unwrap().kind, FailureKind::Outside, "{outcome:?}");
    assert!(failure(&outcome).contains("could not connect"), "{outcome:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_its_head_and_stops_hits_the_idle_limit_and_is_left() {
    let answer = |mut exchange: Exchange| async move {
        exchange.begin("text/plain").await;
        exchange.chunk("twelve bytes").await;
        exchange.hang().await;
    };
    let (told, upstream) = hits(Limit::IdleTimeout, getting(json!({"idle_timeout": SHORT})), answer).await;
    assert!(told.contains("idle_timeout (400ms)") && told.contains("status 200 and 12 bytes had come"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_trickles_for_ever_is_never_idle_and_hits_the_limit_of_the_try() {
    let answer = |mut exchange: Exchange| async move {
        exchange.begin("text/plain").await;
        exchange.trickle(Duration::from_millis(20)).await;
    };
    let fields = json!({"idle_timeout": "5s", "attempt_timeout": SHORT});
    let (told, upstream) = hits(Limit::AttemptTimeout, getting(fields), answer).await;
    assert!(told.contains("attempt_timeout (400ms)"), "{told}");
    assert!(told.contains("GET http://127.0.0.1:") && told.contains(": status 200 and "), "what had come: {told}");
    upstream.clients_left(1).await;
    let fields = json!({"first_byte_timeout": "5s", "attempt_timeout": SHORT});
    let (told, _) = hits(Limit::AttemptTimeout, getting(fields), Exchange::hang).await;
    assert!(told.contains("GET http://127.0.0.1:") && told.contains(": nothing had come after "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/plain").await;
        let megabyte = vec![b'x'; 1024 * 1024];
        // Ten gigabytes, if anybody takes them.
        for _ in 0..10_240 {
            if !exchange.chunk(&megabyte).await {
                break;
            }
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, get(&upstream.url("/"), json!({"retry": {"attempts": 3}}))).await;
    assert_eq!(outcome.failure().unwrap().kind, FailureKind::TooLarge, "{outcome:?}");
    assert!(failure(&outcome).contains("longer than 1048576 bytes"), "{outcome:?}");
    assert_eq!(upstream.requests().len(), 1, "what is too long is not asked for again");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_early_fails_the_try_and_another_may_succeed() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        match exchange.number {
            0 => {
                exchange.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
            }
            1 => {
                exchange.begin("application/json").await;
                exchange.chunk("{\"cut\": ").await;
            }
            2 => {
                exchange.write("this is no HTTP\r\n\r\n").await;
            }
            3 | 4 => exchange.json("{\"cut\": ").await,
            _ => exchange.json("{\"whole\": 1}").await,
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let once = get(&upstream.url("/"), json!({}));
    let told = failure(&outcome(&bench, once.clone()).await);
    assert!(told.contains("broke off: status 200 and 4 bytes had come"), "{told}");
    for word in ["broke off: status 200 and 8 bytes", "broke off: nothing had come", "is JSON, and is not"] {
        let told = failure(&outcome(&bench, once.clone()).await);
        assert!(told.contains(word), "{word} is missing in: {told}");
    }
    let quick = json!({"attempts": 2, "first": "1ms", "jitter": "none"});
    let run = bench.prepare(get(&upstream.url("/"), json!({"retry": quick})), values(json!({})), None).await;
    bench.publish(&run).await;
    bench.task_when(&run, |task: &Task| task.state == TaskState::Delayed).await;
    send_again(&bench, &run).await;
    assert_eq!(wrote(&bench.settled(&run).await.outcome.unwrap()), json!({"other": {"whole": 1}}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_redirects_for_ever_or_elsewhere_is_not_followed() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let to = if exchange.number == 0 { "http://127.0.0.1:1/" } else { "/again" };
        exchange.answer("302 Found", &format!("location: {to}\r\n"), "").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = get(&upstream.url("/"), json!({}));
    let told = failure(&outcome(&bench, node.clone()).await);
    assert!(told.contains("was not followed: it redirects to another origin, http://127.0.0.1:1"), "{told}");
    let told = failure(&outcome(&bench, node).await);
    assert!(told.contains("redirected 5 times"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_are_replaced_wherever_they_are_split() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/plain").await;
        for piece in [&b"gr\xc3"[..], b"\xbc\xc3", b"\x9f", b"e \xff", b"!"] {
            exchange.chunk(piece).await;
        }
        exchange.chunk("").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, get(&upstream.url("/"), json!({}))).await;
    assert_eq!(wrote(&outcome), json!({"other": "grüße \u{fffd}!"}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_asked_for_as_it_is_and_one_that_is_packed_is_told() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let encoding = if exchange.number == 0 { "identity" } else { "gzip" };
        exchange.answer("200 OK", &format!("content-encoding: {encoding}\r\n"), "plain").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = get(&upstream.url("/"), json!({}));
    assert_eq!(wrote(&outcome(&bench, node.clone()).await), json!({"other": "plain"}));
    assert!(upstream.requests()[0].contains("accept-encoding: identity\r\n"), "{:?}", upstream.requests());
    let told = failure(&outcome(&bench, node).await);
    assert!(told.contains("encoded as `gzip`"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_and_tried_again_not_sooner_than_it_asks() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        match exchange.number {
            0 => exchange.answer("429 Too Many Requests", "retry-after: 1\r\n", "slow down").await,
            1 => exchange.json("1").await,
            2 => exchange.answer("404 Not Found", "", "no such page").await,
            3 => exchange.answer("404 Not Found", "content-type: application/json\r\n", "{\"e\": 1}").await,
            _ => exchange.answer("503 Busy", "retry-after: 3600\r\n", "").await,
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let quick = json!({"attempts": 2, "first": "1ms", "jitter": "none"});
    let run = bench.prepare(get(&upstream.url("/"), json!({"retry": quick})), values(json!({})), None).await;
    bench.publish(&run).await;
    let delayed = bench.task_when(&run, |task: &Task| task.state == TaskState::Delayed).await;
    let told = delayed.last_failure.expect("the try's failure is kept");
    assert!(told.message.contains("429 Too Many Requests: slow down"), "{told}");
    let delayed_at = Instant::now();
    send_again(&bench, &run).await;
    let waited = delayed_at.elapsed();
    assert!(waited > Duration::from_millis(500), "it was tried again after {waited:?}");
    assert_eq!(wrote(&bench.settled(&run).await.outcome.unwrap()), json!({"other": 1}));

    let accepting = get(&upstream.url("/"), json!({"accept": [404]}));
    let told = failure(&outcome(&bench, get(&upstream.url("/"), json!({"retry": quick}))).await);
    assert!(told.contains("404 Not Found: no such page"), "{told}");
    assert_eq!(wrote(&outcome(&bench, accepting).await), json!({"other": {"e": 1}}));
    let late = outcome(&bench, get(&upstream.url("/"), json!({"retry": quick, "timeout": "10m"}))).await;
    assert!(failure(&late).contains("would begin after the task's timeout"), "{late:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_closes_the_connection() {
    let upstream = Upstream::start(Exchange::hang).await;
    let bench = Bench::new();
    let running = start(&bench);
    let run = bench.prepare(get(&upstream.url("/"), json!({})), values(json!({})), None).await;
    bench.publish(&run).await;
    wait_for(|| async { if upstream.requests().is_empty() { Err("no request".into()) } else { Ok(()) } }).await;
    bench.stop(&run, None, false).await;
    upstream.clients_left(1).await;
    assert!(bench.run_ended(&run).await.stop.unwrap().is_confirmed());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_called_only_where_the_worker_allows_it() {
    let upstream = Upstream::start(|exchange| exchange.json("1")).await;
    let bench = Bench::new();
    let running = bench.start(Worker::builder(Bench::config()));
    let port = upstream.url("/").rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "169.254.169.254"] {
        let outcome = outcome(&bench, get(&format!("http://{host}:{port}"), json!({"retry": {"attempts": 3}}))).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{host}: {outcome:?}");
        let told = failure(&outcome);
        assert!(told.contains("is private") && told.contains("COX_OUTSIDE_ALLOW"), "{host}: {told}");
    }
    assert!(upstream.requests().is_empty(), "{:?}", upstream.requests());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_sent_and_shows_nowhere() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        match exchange.number {
            0 => {
                exchange
                    .answer("200 OK", "x-echo: hunter2\r\ncontent-type: application/json\r\n", "{\"k\": \"hunter2\"}")
                    .await;
            }
            _ => exchange.answer("401 Unauthorized", "", "the key hunter2 is wrong").await,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let node = json!({
        "kind": "http", "url": format!("{}?key=${{file:key}}", upstream.url("/")),
        "headers": {"Authorization": "Bearer ${file:key}"}, "output": {"other": "[response, headers]"},
    });
    let good = outcome(&bench, node.clone()).await;
    assert!(wrote(&good).to_string().contains("***"), "{good:?}");
    let bad = outcome(&bench, node).await;
    assert!(failure(&bad).contains("the key *** is wrong"), "{bad:?}");
    for text in [format!("{good:?}"), format!("{bad:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let sent = upstream.requests().remove(0);
    assert!(sent.contains("key=hunter2") && sent.contains("Bearer hunter2"), "{sent}");
    let other = get("http://127.0.0.1:1/", json!({"headers": {"A": "${env:HOME}"}}));
    let told = failure(&outcome(&bench, other).await);
    assert!(told.contains("does not share the variable `HOME`") && told.contains("COX_SECRETS"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_comes_back_in_another_dress_shows_nowhere() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let escaped = r#"{"said": "Bearer hunter\u002B2\/key\u003d", "login": "LOGIN"}"#;
        // `user:hunter+2/key=` in base64, as it stands in the header.
        let escaped = escaped.replace("LOGIN", "dXNlcjpodW50ZXIrMi9rZXk9");
        match exchange.number {
            0 => exchange.json(&escaped).await,
            1 => exchange.answer("401 Unauthorized", "", &escaped).await,
            _ => exchange.answer("200 OK", "content-type: text/html\r\n", "hunter&#43;2%2Fkey=").await,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter+2/key=\n").unwrap();
    std::fs::write(folder.path().join("in_address"), "hunter+2%2Fkey=\n").unwrap();
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let address = upstream.url("/").replace("http://", "http://user:${file:in_address}@");
    let node = get(&address, json!({"headers": {"X-Key": "${file:key}"}}));
    let [read, refused, page] =
        [outcome(&bench, node.clone()).await, outcome(&bench, node.clone()).await, outcome(&bench, node).await];
    assert_eq!(wrote(&read)["other"]["said"], "Bearer ***", "{read:?}");
    assert!(failure(&refused).contains("Bearer ***"), "{refused:?}");
    assert_eq!(wrote(&page), json!({"other": "***"}));
    for outcome in [read, refused] {
        let told = format!("{outcome:?}");
        assert!(!told.contains("hunter") && !told.contains("key") && !told.contains("2V5PQ"), "{told}");
    }
    assert!(upstream.requests()[0].contains("authorization: Basic dXNlcjpodW50ZXIrMi9rZXk9"));
    running.drain().await;
}
