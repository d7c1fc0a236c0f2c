//! Warm processes: what they are told, how they are shared and replaced, and how they are ended.

use std::time::{Duration, Instant};

use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::run::RunStatus;
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};

use super::bench::{Bench, Running, values, wait_for};
use crate::{Config, Worker};

const READY: &str = r#"echo '{"ready": true}'"#;

/// A warm shell that does this for each task, which is in `$line`.
fn warm(each: &str, fields: Value) -> Value {
    script(&format!("{READY}; while read -r line; do {each}; done"), fields)
}

/// Answers with its process' id.
fn answers_pid(fields: Value) -> Value {
    warm(r#"echo "{\"result\": {\"count\": $$}}""#, fields)
}

fn script(script: &str, fields: Value) -> Value {
    let mut node = json!({"kind": "exec", "command": ["sh", "-c", script], "warm": true});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    node.as_object_mut().unwrap().extend(fields);
    node
}

fn start(configure: impl FnOnce(&mut Config)) -> (Bench, Running) {
    let mut config = Bench::config();
    configure(&mut config);
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config));
    (bench, running)
}

async fn outcome(bench: &Bench, node: &Value) -> Outcome {
    let run = bench.begin(node.clone()).await;
    bench.settled(&run).await.outcome.unwrap()
}

async fn failure(bench: &Bench, node: &Value) -> Failure {
    match outcome(bench, node).await {
        Outcome::Failed { failure } | Outcome::TimedOut { failure, .. } => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// The id of the process that served a node of `answers_pid`.
async fn pid(bench: &Bench, node: &Value) -> u32 {
    match outcome(bench, node).await {
        Outcome::Succeeded { writes, .. } => u32::try_from(writes["count"].as_u64().unwrap()).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

fn starts(bench: &Bench) -> u64 {
    bench.metric("cox_warm_starts_total")
}

fn count(bench: &Bench, state: &str) -> u64 {
    bench.metric(&format!("cox_warm_processes{{state=\"{state}\"}}"))
}

/// Waits until a process is gone; a zombie is.
async fn gone(pid: u32) {
    wait_for(|| async move {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
    })
    .await;
}

async fn pid_in(file: &std::path::Path) -> u32 {
    wait_for(|| async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.trim().parse().map_err(|_| format!("{text:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_process_serves_one_task_after_another_and_is_told_of_each() {
    let (bench, running) = start(|_| {});
    let node = warm(r#"printf '{"result": %s}\n' "$line""#, json!({"into": "other", "grace": "3s", "call": "judge"}));
    let mut runs = Vec::new();
    for name in ["x", "y"] {
        let run = bench.prepare(node.clone(), values(json!({"text": "a"})), Some(json!(name))).await;
        bench.publish(&run).await;
        let Some(Outcome::Succeeded { writes, .. }) = bench.settled(&run).await.outcome else { panic!("it succeeds") };
        let mut told = writes["other"]["task"].clone();
        let deadline = told.as_object_mut().unwrap().remove("deadline_ms").unwrap();
        assert!((1..=120_000).contains(&deadline.as_u64().unwrap()), "{deadline}");
        let id = run.id.to_string();
        assert_eq!(
            told,
            json!({
                "call": "judge", "state": {"text": "a"}, "item": name, "index": 0, "input": name, "run": id,
                "task": "1:work:0", "node": "work", "attempt": 1, "fence": 1, "idempotency_key": format!("{id}:1:work:0"),
                "grace_ms": 3_000,
            })
        );
        runs.push(run);
    }
    assert_eq!((starts(&bench), count(&bench, "idle"), count(&bench, "busy")), (1, 1, 0));
    running.drain().await;
    assert_eq!(count(&bench, "idle"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_warm_process_says_on_the_way_becomes_events_and_a_failure_is_its_own() {
    let (bench, running) = start(|_| {});
    let each = r#"echo '{"progress": 1}'; echo '{"event": "token", "value": "a"}'; echo '{"result": {"text": "b"}}'"#;
    let run = bench.begin(warm(each, json!({}))).await;
    bench.settled(&run).await;
    let events = bench.store.events(&run, 0, 10).await.unwrap();
    let events: Vec<_> = events.into_iter().map(|event| (event.event.kind, event.event.value)).collect();
    assert_eq!(events, [("progress".to_owned(), json!(1)), ("token".to_owned(), json!("a"))]);

    let more = json!({"retry": {"attempts": 2, "first": "1m"}});
    let run = bench.begin(warm(r#"echo '{"error": {"message": "once more"}}'"#, more.clone())).await;
    bench.task_when(&run, |task| task.state == TaskState::Delayed).await;

    let node = warm(r#"echo why >&2; echo '{"error": {"message": "no use", "retryable": false}}'"#, more);
    let told = failure(&bench, &node).await;
    assert_eq!((told.kind, told.message.as_str()), (FailureKind::Handler, "no use"));
    assert!(told.chain[0].ends_with("why"), "{told:?}");
    let told = failure(&bench, &node).await;
    assert_eq!(told.chain[0].matches("why").count(), 1, "what an earlier task wrote is not shown: {told:?}");
    assert_eq!(starts(&bench), 3, "an error that a process tells of is no reason to replace it");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_process_sees_nothing_in_its_environment_that_differs_from_task_to_task() {
    let (bench, running) = start(|_| {});
    let each = r#"printf '{"result": {"text": "%s"}}\n' "$A $(env | cut -d= -f1 | sort | tr '\n' ' ')""#;
    let node = warm(each, json!({"env": {"A": "{{ 1 + 1 }}"}}));
    let Outcome::Succeeded { writes, .. } = outcome(&bench, &node).await else { panic!("it succeeds") };
    let seen = writes["text"].as_str().unwrap();
    // The mark is the process's own.
    let own: Vec<_> = seen.split(' ').filter(|name| name.starts_with("COX_")).collect();
    assert!(seen.starts_with("2 ") && seen.contains("PATH") && own == ["COX_PROCESS_MARK"], "{seen}");
    let told = failure(&bench, &warm("true", json!({"env": {"A": "{{ text }}"}}))).await;
    assert_eq!(told.kind, FailureKind::Expression);
    assert!(told.message.contains("env.A") && told.message.contains("text"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_for_a_warm_process_to_fail_is_told_in_its_own_words_and_leaves_no_process() {
    let (bench, running) = start(|config| config.warm_start = Duration::from_millis(300));
    let told = failure(&bench, &script("sleep 1000", json!({}))).await;
    assert!(told.kind == FailureKind::Handler && told.message.contains("was not ready within 300ms"), "{told}");
    running.drain().await;

    let (bench, running) = start(|_| {});
    let late = r#"printf '{"result": 1, "fence": 99}\n'"#;
    let two = r#"printf '{"result": {}}\n{"progress": 2}\n'"#;
    let cases = [
        (script("echo hello; sleep 1000", json!({})), FailureKind::BadOutput, "line 1 of its output is not JSON"),
        (script("echo 7; sleep 1000", json!({})), FailureKind::BadOutput, "came before `{\"ready\": true}`"),
        (script("exit 3", json!({})), FailureKind::Handler, "`sh` exited with code 3 before it was ready"),
        (script(&format!("{READY}; exec >&-; sleep 1000"), json!({})), FailureKind::Handler, "closed its output"),
        (warm("exit 4", json!({})), FailureKind::Handler, "exited with code 4 before the end of its task"),
        (warm("kill -9 $$", json!({})), FailureKind::Handler, "signal 9 (SIGKILL)"),
        // In the middle of a line.
        (warm("printf '{\"resu'; kill -9 $$", json!({})), FailureKind::Handler, "signal 9 (SIGKILL)"),
        (script("printf '{\"rea'; exit 3", json!({})), FailureKind::Handler, "exited with code 3 before it was ready"),
        (warm("echo '{}'; echo hello", json!({})), FailureKind::BadOutput, "line 1 of its output is no progress"),
        (
            warm("echo '{\"progress\": 1}'; echo hello", json!({})),
            FailureKind::BadOutput,
            "line 2 of its output is not JSON",
        ),
        (warm(late, json!({})), FailureKind::BadOutput, "belongs to another task"),
        (
            warm(two, json!({})),
            FailureKind::BadOutput,
            "line 2 of its output comes after the end of the task: `{\"progress\": 2}`",
        ),
        (warm("head -c 50000000 /dev/zero", json!({})), FailureKind::TooLarge, "line 1 of its output"),
        (
            json!({"kind": "exec", "warm": true, "command": ["no-such-program"]}),
            FailureKind::BadInput,
            "`no-such-program`",
        ),
    ];
    for (node, kind, words) in cases {
        let told = failure(&bench, &node).await;
        assert_eq!(told.kind, kind, "{node}: {told}");
        assert!(told.message.contains(words), "{words} is missing in: {told}");
        assert_eq!(["starting", "busy", "idle"].map(|state| count(&bench, state)), [0, 0, 0], "{node}");
    }
    let told = failure(&bench, &warm("echo the reason >&2; exit 1", json!({}))).await;
    assert!(told.chain[0].ends_with("the reason"), "{told:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_process_that_ends_or_speaks_while_it_has_no_task_is_replaced() {
    let (bench, running) = start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let node = answers_pid(json!({}));
    let first = pid(&bench, &node).await;
    assert_eq!(pid(&bench, &node).await, first);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.cast_signed()), nix::sys::signal::Signal::SIGKILL).unwrap();
    gone(first).await;
    assert_ne!(pid(&bench, &node).await, first);

    let file = folder.path().join("pid");
    let background =
        format!("(sleep 0.1; echo late; echo $$ > {}) & echo '{{\"result\": {{\"count\": '$$'}}}}'", file.display());
    let node = warm(&background, json!({}));
    let first = pid(&bench, &node).await;
    assert_eq!(pid_in(&file).await, first);
    assert_ne!(pid(&bench, &node).await, first);
    gone(first).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_warm_processes_than_slots_and_the_one_idle_for_longest_makes_room() {
    let (bench, running) = start(|config| config.slots = 2);
    let nodes = ["a", "b", "c"].map(|value| answers_pid(json!({"env": {"A": value}})));
    let mut pids = Vec::new();
    for node in &nodes {
        pids.push(pid(&bench, node).await);
    }
    gone(pids[0]).await;
    assert_eq!((starts(&bench), count(&bench, "idle")), (3, 2));
    assert_eq!([pid(&bench, &nodes[1]).await, pid(&bench, &nodes[2]).await], pids[1..]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_warm_process_is_ended_after_a_while_and_when_the_worker_drains() {
    let (bench, running) = start(|config| config.warm_idle = Duration::from_millis(300));
    let first = pid(&bench, &answers_pid(json!({}))).await;
    gone(first).await;
    // The next one is looked after too.
    let second = pid(&bench, &answers_pid(json!({}))).await;
    gone(second).await;
    wait_for(|| async { if count(&bench, "idle") == 0 { Ok(()) } else { Err("it is still counted".to_owned()) } })
        .await;
    running.drain().await;

    let (bench, running) = start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // One that does not end when it is told to, with a child of its own.
    let stubborn = format!(
        "trap '' TERM; sleep 1000 & echo $! > {}; {READY}; while read -r line; do echo '{{\"result\": {{\"count\": '$$'}}}}'; done; while :; do sleep 0.1; done",
        file.display()
    );
    let pids = [
        pid(&bench, &answers_pid(json!({}))).await,
        pid(&bench, &script(&stubborn, json!({}))).await,
        pid_in(&file).await,
    ];
    running.drain().await;
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reaches_the_whole_group_of_a_warm_process_and_it_is_never_used_again() {
    let (bench, running) = start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // The first task hangs, with a child that has begun: one that was forked just now may lose the signal to a trap that
    // it is about to drop. Told to end, it says what it has, and goes.
    let each = format!(
        "trap 'echo {{\\\"result\\\": {{\\\"text\\\": \\\"half\\\"}}}}; exit 0' TERM; \
         if [ ! -e {file} ]; then sh -c 'echo $$ > {file}; exec sleep 1000' & wait; fi; echo '{{\"result\": {{\"count\": '$$'}}}}'",
        file = file.display()
    );
    let node = warm(&each, json!({"grace": "5m"}));
    let run = bench.begin(node.clone()).await;
    let grandchild = pid_in(&file).await;
    bench.stop(&run, None, false).await;
    let ended = bench.run_ended(&run).await;
    assert_eq!(ended.status, RunStatus::Cancelled);
    assert!(ended.stop.unwrap().is_confirmed());
    assert_eq!(bench.task(&run).await.proof.unwrap().partial, Some(json!({"text": "half"})));
    gone(grandchild).await;
    pid(&bench, &node).await;
    assert_eq!(starts(&bench), 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_process_that_ignores_its_deadline_is_killed_and_the_next_task_gets_a_fresh_one() {
    let (bench, running) = start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let each = format!(
        "if [ ! -e {file} ]; then trap '' TERM; echo $$ > {file}; echo it dawdles >&2; while :; do sleep 0.05; done; fi; \
         echo '{{\"result\": {{\"count\": '$$'}}}}'",
        file = file.display()
    );
    let node = warm(&each, json!({"attempt_timeout": "300ms", "grace": "200ms"}));
    let Outcome::TimedOut { limit, failure } = outcome(&bench, &node).await else { panic!("its time is up") };
    assert_eq!(limit.name(), "attempt_timeout");
    assert_eq!(failure.chain, ["its standard error: it dawdles"], "what had come is told");
    let first = pid_in(&file).await;
    gone(first).await;
    assert_eq!(bench.metric("cox_kills_total{signal=\"SIGKILL\"}"), 1);
    assert_ne!(pid(&bench, &node).await, first);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_comes_before_a_warm_process_is_free_or_ready_ends_the_task_at_once() {
    let (bench, running) = start(|config| config.slots = 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let begun = Instant::now();
    let loads = script(
        &format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done", file.display()),
        json!({"grace": "5m"}),
    );
    let run = bench.begin(loads).await;
    let pid = pid_in(&file).await;
    bench.stop(&run, None, false).await;
    assert!(bench.run_ended(&run).await.stop.unwrap().is_confirmed());
    gone(pid).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "it was given no grace: it has nothing to clean up");

    // One that takes a second to make room.
    let stubborn = script(
        &format!("trap '' TERM; {READY}; read -r line; echo '{{\"result\": {{}}}}'; while :; do sleep 0.05; done"),
        json!({}),
    );
    outcome(&bench, &stubborn).await;
    let run = bench.begin(answers_pid(json!({}))).await;
    bench.task_when(&run, |task| task.state != TaskState::Queued).await;
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    running.drain().await;
}
