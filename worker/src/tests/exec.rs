//! Child processes: what they are told, what they say, and how they are ended.

use std::time::{Duration, Instant};

use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::run::RunStatus;
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};

use super::bench::{Bench, Running, values, wait_for};
use crate::{Config, ExecLimits, Worker};

/// A node that runs a shell script.
fn sh(script: &str, fields: Value) -> Value {
    let mut node = json!({"kind": "exec", "command": ["sh", "-c", script]});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    node.as_object_mut().unwrap().extend(fields);
    node
}

fn bench() -> (Bench, Running) {
    let bench = Bench::new();
    let running = bench.start_with(|builder| builder);
    (bench, running)
}

async fn outcome(bench: &Bench, node: Value) -> Outcome {
    let run = bench.begin(node).await;
    bench.settled(&run).await.outcome.unwrap()
}

async fn written(bench: &Bench, node: Value) -> Value {
    match outcome(bench, node).await {
        Outcome::Succeeded { writes, .. } => serde_json::to_value(writes).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

async fn failure(bench: &Bench, node: Value) -> Failure {
    match outcome(bench, node).await {
        Outcome::Failed { failure } => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Waits until a process is gone.
async fn gone(pid: u32) {
    wait_for(|| async move {
        // A zombie is gone too: it waits for its parent only.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
    })
    .await;
}

fn kills(bench: &Bench, signal: &str) -> u64 {
    bench.metric(&format!("cox_kills_total{{signal=\"{signal}\"}}"))
}

async fn pid_in(file: &std::path::Path) -> u32 {
    wait_for(|| async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.trim().parse().map_err(|_| format!("{text:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_reads_its_input_and_its_last_line_is_the_result() {
    let (bench, running) = bench();
    let node = json!({"kind": "exec", "command": ["cat"], "into": "other"});
    let run = bench.prepare(node, values(json!({"text": "a"})), Some(json!({"name": "x"}))).await;
    bench.publish(&run).await;
    let Some(Outcome::Succeeded { writes, .. }) = bench.settled(&run).await.outcome else { panic!("it succeeds") };
    let item = json!({"name": "x"});
    let told = json!({"other": {"state": {"text": "a"}, "item": item, "index": 0, "input": item}});
    assert_eq!(serde_json::to_value(writes).unwrap(), told);

    let script =
        r#"echo '{"progress": 1}'; echo '{"event": "token", "value": "a"}'; echo '{"result": {"count": 2}}'; echo"#;
    let run = bench.begin(sh(script, json!({}))).await;
    bench.settled(&run).await;
    let events = bench.store.events(&run, 0, 10).await.unwrap();
    let events: Vec<_> = events.into_iter().map(|event| (event.event.kind, event.event.value)).collect();
    assert_eq!(events, [("progress".to_owned(), json!(1)), ("token".to_owned(), json!("a"))]);

    assert_eq!(written(&bench, sh("true", json!({}))).await, json!({}), "no result: nothing is written");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_sees_the_environment_it_is_meant_to_see_and_no_more() {
    let (bench, running) = bench();
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"), "there is something to be hidden");
    let script = r#"printf '{"text": "%s"}' "$(env | cut -d= -f1 | sort | tr '\n' ' ')""#;
    let seen = written(&bench, sh(script, json!({}))).await;
    let seen: Vec<_> = seen["text"].as_str().unwrap().split_whitespace().collect();
    let usual = |name: &str| {
        ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name)
            || name.starts_with("LC_")
            || name.starts_with("COX_")
    };
    assert!(seen.contains(&"PATH") && seen.iter().all(|name| usual(name)), "{seen:?}");

    let script =
        r#"printf '{"text": "%s"}' "$GREETING $COX_STATE_TEXT $COX_ITEM_NAME $COX_IDEMPOTENCY_KEY $COX_FENCE""#;
    let node = sh(script, json!({"env": {"GREETING": "hello {{ text }}", "COX_FENCE": "999"}}));
    let run = bench.prepare(node, values(json!({"text": "world"})), Some(json!({"name": "x"}))).await;
    bench.publish(&run).await;
    let Some(Outcome::Succeeded { writes, .. }) = bench.settled(&run).await.outcome else { panic!("it succeeds") };
    assert_eq!(writes["text"], json!(format!("hello world world x {}:1:work:0 1", run.id)));

    let told = failure(&bench, sh("true", json!({"env": {"A": "{{ missing }}"}}))).await;
    assert_eq!(told.kind, FailureKind::Expression);
    assert!(told.message.contains("env.A") && told.message.contains("missing"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_for_a_child_to_fail_is_told_in_its_own_words() {
    let (bench, running) = bench();
    let folder = json!({"kind": "exec", "command": ["true"], "cwd": "/no/such/folder"});
    let cases = [
        (sh("echo ok", json!({})), FailureKind::BadOutput, "line 1 of its output is not JSON"),
        (sh("echo 5; sleep 0.1; echo 6", json!({})), FailureKind::BadOutput, "only the last line"),
        (sh("echo no >&2; exit 3", json!({})), FailureKind::Handler, "`sh` exited with code 3"),
        (sh("kill -9 $$", json!({})), FailureKind::Handler, "signal 9 (SIGKILL)"),
        (sh("head -c 50000000 /dev/zero", json!({})), FailureKind::TooLarge, "line 1 of its output"),
        (
            sh("while :; do head -c 1000000 /dev/zero | tr '\\0' ' '; echo; done", json!({})),
            FailureKind::TooLarge,
            "its output has more",
        ),
        (sh("echo '{\"nowhere\": 1}'", json!({})), FailureKind::BadOutput, "channel `nowhere`"),
        (json!({"kind": "exec", "command": ["no-such-program"]}), FailureKind::BadInput, "`no-such-program`"),
        (json!({"kind": "exec", "command": []}), FailureKind::BadInput, "name a program"),
        (folder, FailureKind::BadInput, "in the folder `/no/such/folder`"),
    ];
    for (node, kind, words) in cases {
        let told = failure(&bench, node.clone()).await;
        assert_eq!(told.kind, kind, "{node}: {told}");
        assert!(told.message.contains(words), "{words} is missing in: {told}");
    }
    let told =
        failure(&bench, sh("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1", json!({}))).await;
    assert!(told.chain[0].len() < 7 * 1024 && told.chain[0].ends_with("the end"), "the end of standard error is kept");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_ends_takes_its_group_with_it_and_no_open_pipe_holds_it_up() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo '{{\"text\": \"a\"}}'", file.display());
    let begun = Instant::now();
    assert_eq!(written(&bench, sh(&script, json!({}))).await, json!({"text": "a"}));
    assert!(begun.elapsed() < Duration::from_secs(15));
    gone(pid_in(&file).await).await;

    // So does one that left the group, and would hold the output open.
    let file = folder.path().join("stray");
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & while [ ! -s {0} ]; do sleep 0.01; done; echo '{{\"text\": \"b\"}}'",
        file.display()
    );
    let begun = Instant::now();
    assert_eq!(written(&bench, sh(&script, json!({}))).await, json!({"text": "b"}));
    assert!(begun.elapsed() < Duration::from_secs(15));
    gone(pid_in(&file).await).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reaches_the_whole_group_and_is_proven() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let run = bench.begin(sh(&script, json!({"grace": "5m"}))).await;
    let grandchild = pid_in(&file).await;
    bench.stop(&run, None, false).await;
    let ended = bench.run_ended(&run).await;
    assert_eq!(ended.status, RunStatus::Cancelled);
    assert!(ended.stop.unwrap().is_confirmed());
    gone(grandchild).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_may_use_its_grace_to_finish_and_its_result_is_kept_as_partial() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "trap 'sleep 0.2; echo {{\\\"text\\\": \\\"half\\\"}}; exit 0' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        file.display()
    );
    let run = bench.begin(sh(&script, json!({"grace": "5m"}))).await;
    pid_in(&file).await;
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    let proof = bench.task(&run).await.proof.unwrap();
    assert!(proof.confirmed && proof.refused_result, "{proof:?}");
    assert_eq!(proof.partial, Some(json!({"text": "half"})));
    assert_eq!(["SIGTERM", "SIGKILL"].map(|signal| kills(&bench, signal)), [1, 0]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_ignores_the_stop_is_killed_when_the_grace_is_over_or_by_force() {
    let (bench, running) = bench();
    for force in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done", file.display());
        let run = bench.begin(sh(&script, json!({"grace": "300ms"}))).await;
        let pid = pid_in(&file).await;
        let ordered = Instant::now();
        bench.stop(&run, None, force).await;
        let ended = bench.run_ended(&run).await;
        let took = ordered.elapsed();
        assert!(force || took >= Duration::from_millis(300), "it had its grace: {took:?}");
        assert!(ended.stop.unwrap().is_confirmed(), "it was reaped");
        gone(pid).await;
    }
    assert_eq!(["SIGTERM", "SIGKILL"].map(|signal| kills(&bench, signal)), [2, 2]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_left_the_group_ends_with_it_at_a_stop_and_at_a_time_limit() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    for (place, is_warm) in [false, true].into_iter().enumerate() {
        let shape = if is_warm { "echo '{\"ready\": true}'; read -r line;" } else { "" };
        let leaving = |file: &std::path::Path, traps: &str| {
            let away = format!("setsid sh -c '{traps} echo $$ > {}; while :; do sleep 0.05; done'", file.display());
            format!("{shape} {away} & while :; do sleep 0.05; done")
        };
        let file = folder.path().join(format!("polite-{place}"));
        let run = bench.begin(sh(&leaving(&file, ""), json!({"grace": "5m", "warm": is_warm}))).await;
        let stray = pid_in(&file).await;
        bench.stop(&run, None, false).await;
        assert!(bench.run_ended(&run).await.stop.unwrap().is_confirmed(), "it was told to end, like the others");
        gone(stray).await;

        let file = folder.path().join(format!("stubborn-{place}"));
        let limits = json!({"grace": "300ms", "attempt_timeout": "2s", "warm": is_warm});
        let ended = outcome(&bench, sh(&leaving(&file, "trap \"\" TERM;"), limits)).await;
        assert!(matches!(ended, Outcome::TimedOut { .. }), "{ended:?}");
        gone(pid_in(&file).await).await;
    }
    running.drain().await;
}

/// Ways to leave one's group, session, parent and environment, each with `{}` in place of what runs on.
const ESCAPES: [&str; 5] = [
    "setsid env -i sh -c '{}' &",
    "(env -i setsid sh -c '{}' &);",
    "nohup sh -c '{}' > /dev/null 2>&1 &",
    "(setsid sh -c 'env -i setsid sh -c \"$0\" &' '{}' &) &",
    "env -i setsid sh -c 'cd /; exec </dev/null >/dev/null 2>&1; {}' &",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_escapes_a_stop_and_nothing_of_a_neighbour_is_hit() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    let neighbour = folder.path().join("neighbour");
    let away = format!("setsid env -i sh -c 'while :; do echo x >> {}; sleep 0.02; done' &", neighbour.display());
    let beside = bench.begin(sh(&format!("{away} while :; do sleep 0.05; done"), json!({}))).await;
    let length = |file: &std::path::Path| std::fs::metadata(file).map_or(0, |data| data.len());
    let grows = async |file: &std::path::Path| {
        let before = length(file);
        wait_for(|| async { if length(file) > before { Ok(()) } else { Err("it does not grow".to_owned()) } }).await;
    };
    for (number, escape) in ESCAPES.into_iter().enumerate() {
        for (shape, is_warm) in [("", false), ("echo '{\"ready\": true}'; read -r line;", true)] {
            let file = folder.path().join(format!("{number}-{is_warm}"));
            let writes = format!("while :; do echo x >> {}; sleep 0.02; done", file.display());
            // Every other one ignores SIGTERM, as do all that it starts, and is killed when its grace is over.
            let (ignores, grace) = if number % 2 == 0 { ("", "5m") } else { ("trap '' TERM;", "100ms") };
            let escape = escape.replace("{}", &writes);
            let script = format!("{ignores} {shape} {escape} while :; do sleep 0.05; done");
            let run = bench.begin(sh(&script, json!({"grace": grace, "warm": is_warm}))).await;
            grows(&file).await;
            bench.stop(&run, None, false).await;
            let ended = bench.run_ended(&run).await;
            let size = length(&file);
            assert!(ended.stop.unwrap().is_confirmed(), "{script}");
            grows(&neighbour).await;
            grows(&neighbour).await;
            assert_eq!(length(&file), size, "it writes on after a confirmed stop: {script}");
        }
    }
    bench.stop(&beside, None, true).await;
    assert!(bench.run_ended(&beside).await.stop.unwrap().is_confirmed());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_ended_at_its_deadline_or_when_it_is_silent_for_too_long() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    for (name, limit) in [("attempt_timeout", "attempt_timeout"), ("idle_timeout", "idle_timeout")] {
        let file = folder.path().join(name);
        let script =
            format!("echo $$ > {}; echo it dawdles >&2; echo '{{\"progress\": 1}}'; exec sleep 1000", file.display());
        // Long enough for the child to tell its number.
        let ended = outcome(&bench, sh(&script, json!({name: "2s"}))).await;
        let Outcome::TimedOut { limit: hit, failure } = &ended else { panic!("{ended:?}") };
        assert_eq!(hit.name(), limit);
        assert_eq!(failure.chain, ["its standard error: it dawdles"], "what had come is told");
        gone(pid_in(&file).await).await;
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_killed_in_the_middle_of_a_line_is_told_by_its_end_and_may_be_tried_again() {
    let (bench, running) = bench();
    let retry = json!({"retry": {"attempts": 2, "first": "1m"}});
    let run = bench.begin(sh("printf '{\"resu'; kill -9 $$", retry)).await;
    let delayed = bench.task_when(&run, |task| task.state == TaskState::Delayed).await;
    let told = delayed.last_failure.unwrap();
    assert!(told.message.contains("was ended by signal 9 (SIGKILL)"), "{told}");
    // One that ends well has to end its line well.
    let ended = outcome(&bench, sh("printf '{\"resu'", json!({}))).await;
    assert!(ended.failure().unwrap().message.contains("line 1 of its output is not JSON"), "{ended:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_of_a_worker_that_goes_is_ended_and_its_task_handed_back() {
    let (bench, running) = bench();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // It ends well when told to end, without having done its work.
    let script = format!("trap 'exit 0' TERM; echo $$ > {}; while :; do sleep 0.05; done", file.display());
    let run = bench.begin(sh(&script, json!({"grace": "5m"}))).await;
    let pid = pid_in(&file).await;
    running.drain().await;
    let task = bench.task(&run).await;
    assert_eq!((task.state, task.attempts), (TaskState::Queued, 0));
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_under_the_limits_of_the_worker_and_inherits_nothing_else() {
    let bench = Bench::new();
    let exec_limits = ExecLimits {
        memory: Some(2 << 30),
        processes: Some(4_000),
        file_size: Some(1 << 20),
        cpu_seconds: Some(77),
        files: Some(99),
    };
    let running = bench.start(Worker::builder(Config { exec_limits, ..Bench::config() }));
    // The fourth file is the pipe that this very script reads the list through.
    let script = r#"
        printf '{"text": "%s"}' "$(sh -c 'ulimit -v; ulimit -f; ulimit -t; ulimit -n; ulimit -c; umask' | tr '\n' ' ')$(ls /proc/$$/fd | tr '\n' ' ')"
    "#;
    let seen = written(&bench, sh(script, json!({}))).await;
    let blocks = (1 << 20) / 512;
    assert_eq!(seen["text"], json!(format!("2097152 {blocks} 77 99 0 0077 0 1 2 3 ")));
    let seen =
        written(&bench, sh(r#"printf '{"text": "%s"}' "$(grep processes /proc/self/limits | tr -s ' ')""#, json!({})))
            .await;
    assert_eq!(seen["text"], json!("Max processes 4000 4000 processes "));
    let told = failure(&bench, sh("head -c 2000000 /dev/zero > $TMPDIR/x", json!({"env": {"TMPDIR": "/tmp"}}))).await;
    assert!(told.message.contains("signal 25 (SIGXFSZ)") || told.message.contains("exited with code"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_cannot_trace_other_processes_whoever_it_runs_as() {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let (bench, running) = bench();
    let script = r#"printf '{"text": "%s"}' "$(grep -E 'Cap(Eff|Bnd)' /proc/self/status | tr -s '\t\n' '  ')""#;
    let seen = written(&bench, sh(script, json!({}))).await;
    let words: Vec<_> = seen["text"].as_str().unwrap().split_whitespace().collect();
    let held = |name: &str| {
        let at = words.iter().position(|word| *word == name).unwrap();
        u64::from_str_radix(words[at + 1], 16).unwrap()
    };
    assert_eq!(held("CapEff:") & CAP_SYS_PTRACE, 0, "{words:?}");
    running.drain().await;
}
