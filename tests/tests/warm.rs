//! Warm processes from end to end: the Python module of the examples under a real `cox`, on a machine with `python3`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use coxswain_tests::{Cox, Output, Signal, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Enough for anything that takes a second on an idle machine.
const SOON: Duration = Duration::from_mins(1);

/// Functions that misbehave, and some that tell what they are given.
const TOOLS: &str = r#"
import os, signal, subprocess, sys, threading, time
from coxswain import Fatal, Stopped, node, run

def note(name, text):
    with open(name + ".new", "w") as file:
        file.write(str(text))
    os.rename(name + ".new", name)

@node
def pid():
    os.write(1, b"not for the worker\n")
    print("neither is this")
    subprocess.run(["echo", "nor this"])
    assert sys.stdin.read() == "", "the tasks are not for functions"
    return os.getpid()

@node
def hang(state):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("hangs", os.getpid())
    while True:
        time.sleep(1)

@node
def clean(state, ctx):
    @ctx.on_cleanup
    def last():
        note("cleaned", open("finally").read() + " hook")
    child = subprocess.Popen(["sleep", "1000"])
    ctx.partial({"half": True})
    note("works", f"{os.getpid()} {child.pid}")
    try:
        threading.Event().wait()
    finally:
        note("finally", "finally")

@node
async def later(state, ctx):
    import asyncio
    note("works", f"{os.getpid()} {os.getpid()}")
    try:
        await asyncio.sleep(1000)
    finally:
        note("cleaned", "async")

@node
def stream(state, ctx):
    ctx.progress({"of": 2})
    ctx.emit("mine", ctx.idempotency_key)
    threading.Thread(target=lambda: (time.sleep(0.2), ctx.progress("too late"))).start()
    yield "a"
    yield "b"

@node
async def drip(state, *, pause=0.01):
    import asyncio
    yield "ü"
    await asyncio.sleep(pause)
    yield "d"

@node
def odd():
    return "\ud800"

@node
def flaky(state, ctx):
    if ctx.attempt == 1:
        raise ValueError("once more")
    return [ctx.attempt, ctx.fence, round(ctx.grace), 0 < ctx.remaining() <= 120]

@node(name="no-use")
def fails():
    raise Fatal("no use")

run()
"#;

/// A folder with the module, the functions above, and graphs of one node after another.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(root().join("examples/python/coxswain.py"), folder.path().join("coxswain.py")).unwrap();
        std::fs::write(folder.path().join("tools.py"), TOOLS).unwrap();
        Self(folder)
    }

    /// Writes a graph of nodes in a row, each a function with more fields.
    fn graph(&self, nodes: &[(&str, &str)]) {
        let chain: Vec<_> = (0..nodes.len()).map(|index| format!("n{index}")).collect();
        let nodes = nodes.iter().enumerate().map(|(index, (call, more))| {
            format!(
                "  n{index}: {{ kind: exec, command: [python3, -B, tools.py], warm: true, call: {call}, into: out{more} }}\n"
            )
        });
        let nodes: String = nodes.collect();
        let text = format!(
            "name: g\nstate: {{ out: append }}\nnodes:\n{nodes}edges: [START -> {} -> END]\n",
            chain.join(" -> ")
        );
        std::fs::write(self.path().join("g.yaml"), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn start(&self, words: &str) -> Cox {
        Cox::program("cox").args(words.split(' ')).env("COX_SLOTS", "1").current_dir(self.path()).start()
    }

    async fn run(&self, words: &str) -> Output {
        let mut cox = self.start(words);
        let status = cox.wait_exit(SOON).await;
        Output { status, stdout: cox.stdout(), stderr: cox.stderr() }
    }

    /// Runs the graph, and gives what its nodes returned.
    async fn results(&self) -> Vec<Value> {
        let output = self.run("run g.yaml --id a").await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let state: Value = serde_json::from_str(&output.stdout).unwrap();
        state["out"].as_array().unwrap().clone()
    }

    /// Waits until a function has noted this.
    async fn note(&self, name: &str) -> String {
        wait_for(name, SOON, async || std::fs::read_to_string(self.path().join(name))).await
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Waits until a process is gone; a zombie is.
async fn gone(pid: &str) {
    wait_for(&format!("the end of process {pid}"), SOON, async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
    })
    .await;
}

#[tokio::test]
async fn the_python_example_gives_its_report_and_its_tasks_share_processes() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cox.db").display());
    let cox = Cox::program("cox").args(["--store", &store, "run", "examples/python.yaml"]).current_dir(root());
    let output = cox.env("COX_SLOTS", "1").env("COX_EXEC_ENV", "PYTHONDONTWRITEBYTECODE");
    let output = output.env("PYTHONDONTWRITEBYTECODE", "1").run(SOON).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let state: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(state["report"], json!(["4 sentences, 23 words", "the longest word: steers", "processes: 1"]));
    assert!(output.stderr.contains("value  \"the longest word: steers\""), "it is streamed: {}", output.stderr);
    gone(&state["measured"][0]["process"].to_string()).await;
}

#[tokio::test]
async fn a_function_finds_its_process_warm_and_its_prints_do_no_harm() {
    let desk = Desk::new();
    desk.graph(&[("pid", ""); 3]);
    let pids = desk.results().await;
    assert!(pids.len() == 3 && pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    gone(&pids[0].to_string()).await;
}

#[tokio::test]
async fn a_function_that_hangs_is_killed_at_its_time_limit_and_the_next_one_gets_a_fresh_process() {
    let desk = Desk::new();
    let limits = ", attempt_timeout: 2s, grace: 200ms, on_failure: { continue: { out: hung } }";
    desk.graph(&[("pid", ""), ("hang", limits), ("pid", "")]);
    let results = desk.results().await;
    let hung = desk.note("hangs").await;
    assert_eq!((results[0].to_string(), &results[1]), (hung.clone(), &json!("hung")));
    assert_ne!(results[2], results[0]);
    gone(&hung).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_no_warm_process_behind() {
    let desk = Desk::new();
    desk.graph(&[("pid", "")]);
    let mut up = desk.start("up");
    assert_eq!(desk.run("submit g.yaml --id a").await.status.code(), Some(0));
    let watched = desk.run("watch a").await;
    let state: Value = serde_json::from_str(&watched.stdout).unwrap();
    let pid = state["out"][0].to_string();
    assert!(Path::new("/proc").join(&pid).exists(), "it waits for another task");
    up.kill(Signal::SIGKILL);
    up.wait_exit(SOON).await;
    gone(&pid).await;
}

#[tokio::test]
async fn ctrl_c_lets_a_function_clean_up_and_leaves_no_process_behind() {
    for (call, cleaned) in [("clean", "finally hook"), ("later", "async")] {
        let desk = Desk::new();
        desk.graph(&[(call, ", grace: 30s")]);
        let mut running = desk.start("run g.yaml --id a");
        let pids = desk.note("works").await;
        running.kill(Signal::SIGINT);
        assert_eq!(running.wait_exit(SOON).await.code(), Some(3), "{}", running.tails());
        assert!(running.stderr().contains("confirmed"), "{}", running.tails());
        assert_eq!(desk.note("cleaned").await, cleaned);
        for pid in pids.split(' ') {
            gone(pid).await;
        }
        if call == "clean" {
            let shown = desk.run("get a --json").await;
            assert!(shown.stdout.contains(r#""half""#), "the partial output is kept: {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_function_streams_is_tried_again_and_says_what_is_wrong() {
    let desk = Desk::new();
    let flaky = ("flaky", ", retry: { attempts: 2, first: 10ms }, grace: 3s");
    desk.graph(&[("stream", ""), flaky, ("drip", ""), ("pid", "")]);
    let output = desk.run("run g.yaml --id a --json").await;
    let lines: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.last().unwrap()["state"]["out"].as_array().map(|out| json!([
            out[..2],
            out[2..out.len() - 3],
            out[out.len() - 3..out.len() - 1]
        ])),
        Some(json!([["a", "b"], [2, 3, 3, true], ["ü", "d"]])),
        "{output:?}"
    );
    for told in [r#"{"of":2}"#, r#""a:1:n0:0""#, r#""value":"b""#, r#""value":"ü""#] {
        assert!(output.stdout.contains(told), "{told} is missing: {}", output.stdout);
    }
    assert!(!output.stdout.contains("too late"), "{}", output.stdout);

    for (call, words) in [("no-use", "no use"), ("steam", "did you mean `stream`?"), ("odd", "surrogates not allowed")]
    {
        let desk = Desk::new();
        let retry = if call == "odd" { "" } else { ", retry: { attempts: 9, first: 1h, max: 1h }" };
        desk.graph(&[(call, retry)]);
        let output = desk.run("run g.yaml --id a").await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.contains(words), "{output:?}");
    }
}
