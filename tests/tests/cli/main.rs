//! The command `cox` from end to end: real processes over a store in a file, as a user has them on a laptop.

mod foreign;
mod graphs;
mod kills;
mod looks;
mod pools;
mod questions;
mod runaway;
mod settings;
mod troubles;

use std::path::Path;
use std::time::Duration;

use coxswain_tests::{Cox, Output, RedisOptions, RedisServer, Signal, wait_for, web};
use graphs::{BRANCHES, FAILING, HALF, HELLO, REVIEW, ROUNDS, SLOW, SPENDING, STUBBORN};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Enough for anything that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// A folder of a user, with graphs in it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("hello", HELLO),
            ("rounds", ROUNDS),
            ("branches", BRANCHES),
            ("spending", SPENDING),
            ("stubborn", STUBBORN),
            ("review", REVIEW),
            ("failing", FAILING),
            ("slow", SLOW),
        ] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Starts `cox` here, with words that are separated by spaces.
    fn start(&self, words: &str) -> Cox {
        Cox::program("cox").args(words.split(' ')).current_dir(self.path()).start()
    }

    async fn run(&self, words: &str) -> Output {
        Cox::program("cox").args(words.split(' ')).current_dir(self.path()).run(SOON).await
    }

    /// The JSON document that a command which ends well writes.
    async fn json(&self, words: &str) -> Value {
        let output = self.run(&format!("{words} --json")).await;
        assert_eq!(code(&output), 0, "cox {words}: {output:?}");
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    async fn wait_for_status(&self, run: &str, status: &str) {
        wait_for(&format!("run {run} to be {status}"), SOON, async || {
            let output = self.run(&format!("get {run} --json")).await;
            let seen = serde_json::from_str::<Value>(&output.stdout).map(|seen| seen["run"]["status"].clone());
            match seen {
                Ok(seen) if seen == status => Ok(()),
                _ => Err(format!("{seen:?} {}", output.stderr)),
            }
        })
        .await;
    }

    /// Waits until a task of a run is with a worker.
    async fn wait_for_work(&self, run: &str) {
        wait_for(&format!("work on run {run}"), SOON, async || {
            let output = self.run(&format!("get {run} --json")).await;
            let seen = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
            (seen["run"]["open_leases"] == 1).then_some(()).ok_or(output.stdout + &output.stderr)
        })
        .await;
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn a_run_prints_its_final_state_and_leaves_a_history() {
    let desk = Desk::new();
    let output = desk.run("run hello.yaml --input name=Ann --id a").await;
    assert_eq!(code(&output), 0, "{output:?}");
    let state: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(state, json!({"name": "Ann", "greeting": "Hello, Ann!"}));
    assert!(output.stderr.contains("greet") && output.stderr.contains("run a succeeded"), "{}", output.stderr);

    assert_eq!(desk.json("state a").await["values"], state);
    assert_eq!(desk.json("state a --step 0").await["values"], json!({"name": "Ann"}));
    let history = desk.json("history a").await;
    let last = &history["checkpoints"][1];
    assert_eq!((&last["step"], &last["ran"][0]["wrote"]), (&json!(1), &json!(["greeting"])));
    assert_eq!(desk.json("list --status succeeded").await["rows"][0]["id"], "a");
    let hidden = std::fs::read_to_string(desk.path().join(".cox/.gitignore")).unwrap();
    assert_eq!(hidden, "*\n");
}

#[tokio::test]
async fn with_json_a_run_writes_a_line_for_each_thing_that_happens() {
    let desk = Desk::new();
    let output = desk.run("run hello.yaml --json").await;
    let told = lines(&output.stdout);
    let last = told.last().unwrap();
    assert_eq!((&last["progress"], &last["status"]), (&json!("result"), &json!("succeeded")));
    assert_eq!(last["state"]["greeting"], "Hello, world!");
    assert!(told.iter().any(|line| line["progress"] == "checkpoint" && line["step"] == 1), "{}", output.stdout);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn every_command_has_json() {
    let desk = Desk::new();
    desk.run("run hello.yaml --id a").await;
    for words in ["get a", "list", "history a", "state a", "audit", "audit a", "workers", "exit-codes", "policy list"] {
        desk.json(words).await;
    }
    desk.json("graph check hello.yaml").await;
    desk.json("graph show hello.yaml").await;
    let schema = desk.json("graph schema").await;
    let committed = include_str!("../../../docs/graph.schema.json");
    assert_eq!(schema, serde_json::from_str::<Value>(committed).expect("the file is JSON"));
    desk.json("submit hello.yaml --id b").await;
    desk.json("cancel b").await;
    desk.json("resume a").await;
}

#[tokio::test]
async fn another_process_stops_an_endless_run_and_it_is_taken_up_with_another_bound() {
    let desk = Desk::new();
    let mut running = desk.start("run rounds.yaml --id a");
    desk.wait_for_work("a").await;
    let cancelled = desk.json("cancel a --wait --reason enough").await;
    assert_eq!((&cancelled["summary"]["stopped"], &cancelled["summary"]["confirmed"]), (&json!(1), &json!(1)));
    assert_eq!(running.wait_exit(SOON).await.code(), Some(3), "{}", running.tails());
    assert!(running.stderr().contains("enough"), "{}", running.tails());
    // The order may come just between two rounds.
    let is_told = ["confirmed", "nothing was under way"].iter().any(|words| running.stderr().contains(words));
    assert!(is_told, "{}", running.tails());
    let audit = desk.json("audit a").await;
    assert_eq!((&audit["rows"][0]["action"], &audit["rows"][0]["reason"]), (&json!("stop"), &json!("enough")));

    let before = desk.json("state a").await["values"]["rounds"].as_u64().unwrap();
    let bound = before + 2;
    let resumed = desk.run(&format!("resume a --update limit={bound} --id b --watch")).await;
    assert_eq!(code(&resumed), 0, "{resumed:?}");
    let state: Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!(state["rounds"], json!(bound));
    let start = desk.json("get b").await["run"]["spec"].clone();
    assert_eq!(start["run"], "a", "the new run knows its origin: {start}");
}

#[tokio::test]
async fn a_run_goes_on_from_an_earlier_step() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run("run rounds.yaml --id a --input limit=4").await), 0);
    let resumed = desk.run("resume a --from 2 --watch").await;
    let state: Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!(state["rounds"], 4, "{resumed:?}");
    assert_eq!(resumed.stderr.matches("succeeded").count(), 3, "two rounds and the run: {}", resumed.stderr);
    assert_eq!(code(&desk.run("resume a --from 9").await), 4);
}

#[tokio::test]
async fn ctrl_c_stops_the_run_and_shows_how() {
    let desk = Desk::new();
    let mut running = desk.start("run rounds.yaml --id a");
    desk.wait_for_work("a").await;
    running.kill(Signal::SIGINT);
    assert_eq!(running.wait_exit(SOON).await.code(), Some(3), "{}", running.tails());
    let told = running.stderr();
    assert!(told.contains("stop ordered") && told.contains("stopped after"), "{told}");
    assert_eq!(desk.json("get a").await["run"]["stop"]["order"]["reason"], "Ctrl-C");
}

#[tokio::test]
async fn ctrl_c_again_forces_what_will_not_stop() {
    let desk = Desk::new();
    let mut running = desk.start("run stubborn.yaml --id a");
    desk.wait_for_work("a").await;
    running.kill(Signal::SIGINT);
    desk.wait_for_status("a", "stopping").await;
    running.kill(Signal::SIGINT);
    assert_eq!(running.wait_exit(SOON).await.code(), Some(3), "{}", running.tails());
    assert!(running.stderr().contains("force ordered"), "{}", running.tails());
}

#[tokio::test]
async fn each_end_has_its_exit_code() {
    let desk = Desk::new();
    for (words, wanted) in [
        ("run failing.yaml", 1),
        ("run slow.yaml --run-timeout 300ms", 2),
        ("get nope", 4),
        ("history nope", 4),
        ("run review.yaml --id asks", 6),
        ("resume asks --from 1", 5),
        ("run hello.yaml --input nmae=Ann", 64),
        ("run nope.yaml", 64),
        ("cancel", 64),
        ("list --status sleeping", 64),
        ("frobnicate", 64),
        ("--store mysql://x list", 64),
        ("--store redis://127.0.0.1:1 list", 69),
    ] {
        let output = desk.run(words).await;
        assert_eq!(code(&output), wanted, "cox {words}: {output:?}");
        assert!(wanted < 4 || wanted == 6 || output.stderr.contains("error"), "cox {words}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "cox {words}: {output:?}");
    }
}

#[tokio::test]
async fn mistakes_come_with_their_place_and_remedy() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("bad.yaml"), "name: bad\nnodes:\n  a: { kind: exce }\nedges: [START -> b]\n")
        .unwrap();
    let checked = desk.run("graph check bad.yaml hello.yaml").await;
    assert_eq!(code(&checked), 64, "{checked:?}");
    assert!(checked.stdout.contains("bad.yaml:3") && checked.stdout.contains("exec"), "{checked:?}");
    assert!(checked.stdout.contains("hello.yaml: `hello` is good"), "{checked:?}");
    let refused = desk.run("run hello.yaml --input nmae=Ann").await;
    assert!(refused.stderr.contains("did you mean `name`?"), "{refused:?}");
    let document = desk.run("get nope --json").await;
    let error: Value = serde_json::from_str(&document.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 4, "{document:?}");
}

#[tokio::test]
async fn an_order_that_comes_before_the_run_stops_it() {
    let desk = Desk::new();
    let early = desk.json("cancel later").await;
    assert_eq!(early["runs"][0]["answer"], "early");
    let output = desk.run("run hello.yaml --id later").await;
    assert_eq!(code(&output), 3, "{output:?}");
    assert!(output.stderr.contains("a stop order had come before it"), "{output:?}");
}

#[tokio::test]
async fn branches_of_a_run_are_stopped_alone_and_the_rest_goes_on() {
    let desk = Desk::new();
    let mut running = desk.start("run branches.yaml --id a");
    wait_for("all branches to be at work", SOON, async || {
        let output = desk.run("get a --json").await;
        let seen = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
        (seen["run"]["open_leases"] == 3).then_some(()).ok_or(output.stdout + &output.stderr)
    })
    .await;
    let skipped = desk.json("cancel a --node nap --item 1 --skip --wait --reason enough").await["tasks"].clone();
    assert_eq!((&skipped["stopped"], &skipped["confirmed"]), (&json!(1), &json!(1)), "{skipped}");
    let seen = desk.json("get a").await;
    assert_eq!((&seen["run"]["status"], &seen["run"]["open_leases"]), (&json!("running"), &json!(2)), "{seen}");
    for (words, wanted, told) in [
        ("cancel a --node nap --item 1", 5, "has nothing that is queued or at work"),
        ("cancel a --node nip", 64, "did you mean `nap`?"),
        ("cancel a b --node nap", 64, "one run at a time"),
        ("cancel nope --node nap", 4, "there is no run"),
        ("cancel a --skip", 64, "--node"),
    ] {
        let output = desk.run(words).await;
        assert!(code(&output) == wanted && output.stderr.contains(told), "cox {words}: {output:?}");
    }
    let output = desk.run("cancel a --node nap --wait").await;
    assert!(output.stdout.contains("2 stopped at work, 2 of these confirmed"), "{output:?}");
    assert_eq!(running.wait_exit(SOON).await.code(), Some(0), "{}", running.tails());
    let state = desk.json("state a").await["values"]["out"].clone();
    assert_eq!(state, json!(["given up", "given up"]), "the one that was skipped wrote nothing");
    let history = desk.run("history a").await.stdout;
    assert!(history.contains("it was stopped by"), "{history}");
    let audit = desk.json("audit a").await;
    let rows: Vec<_> = audit["rows"].as_array().unwrap().iter().map(|row| row["result"].as_str().unwrap()).collect();
    assert_eq!(rows[0], "nap: 0 settled, 2 stopping, 0 already", "{rows:?}");
    assert_eq!(code(&desk.run("cancel a --node nap").await), 5);
}

#[tokio::test]
async fn a_run_that_was_stopped_in_the_middle_of_a_fan_out_shows_what_its_items_had_come_to() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("half.yaml"), HALF).unwrap();
    let mut running = desk.start("run half.yaml --id a");
    wait_for("two items to be done", SOON, async || {
        let output = desk.run("state a --json").await;
        let seen = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
        (seen["so_far"]["succeeded"] == 2).then_some(()).ok_or(output.stdout + &output.stderr)
    })
    .await;
    desk.run("cancel a --wait").await;
    assert_eq!(running.wait_exit(SOON).await.code(), Some(3), "{}", running.tails());
    let plain = desk.run("state a").await;
    assert!(plain.stderr.contains("2 of its 3 tasks have succeeded: --so-far"), "{plain:?}");
    assert_eq!(serde_json::from_str::<Value>(&plain.stdout).unwrap()["results"], Value::Null, "it is no state yet");
    let shown: Value = serde_json::from_str(&desk.run("state a --so-far").await.stdout).unwrap();
    let entries = json!([
        {"item": 0, "outcome": "succeeded", "value": 10},
        {"item": 1, "outcome": "succeeded", "value": 11},
        {"item": 2, "outcome": "stopped"},
    ]);
    assert_eq!(shown["results"], entries);
}

#[tokio::test]
async fn a_dry_run_shows_what_is_meant_and_does_nothing() {
    let desk = Desk::new();
    for id in ["a", "b"] {
        desk.run(&format!("submit slow.yaml --id {id} --label team={id}")).await;
    }
    let meant = desk.json("cancel --label team=a --dry-run").await;
    assert_eq!((meant.as_array().unwrap().len(), &meant[0]["id"]), (1, &json!("a")));
    assert_eq!(desk.json("get a").await["run"]["status"], "queued");
    let summary = desk.json("cancel --all").await["summary"].clone();
    assert_eq!((&summary["asked"], &summary["confirmed"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn the_caller_chooses_what_happens_to_the_run_in_flight_on_a_thread() {
    let desk = Desk::new();
    let submit = async |id: &str, strategy: &str| {
        desk.run(&format!("submit slow.yaml --thread t --id {id} --on-conflict {strategy}")).await
    };
    assert_eq!(code(&submit("a", "enqueue").await), 0);
    assert_eq!(code(&submit("refused", "reject").await), 5);
    assert_eq!(code(&submit("b", "enqueue").await), 0);
    assert_eq!(desk.json("get a").await["thread"]["queue"], json!(["b"]));
    assert_eq!(code(&submit("c", "interrupt").await), 0);
    for superseded in ["a", "b"] {
        let run = desk.json(&format!("get {superseded}")).await["run"].clone();
        assert_eq!((&run["status"], &run["stop"]["order"]["cause"]), (&json!("cancelled"), &json!("superseded")));
    }
    assert_eq!(code(&submit("d", "rollback").await), 0);
    assert_eq!(desk.json("get d").await["thread"]["active"], "d");
}

#[tokio::test]
async fn a_human_answers_and_the_run_goes_on() {
    let desk = Desk::new();
    let asked = desk.run("run review.yaml --id a").await;
    assert!(asked.stderr.contains("asks") && asked.stderr.contains("text"), "{asked:?}");
    assert_eq!(code(&desk.run("resume a").await), 64, "an answer is missing");
    let answered = desk.run("resume a --answer yes --watch").await;
    assert_eq!(code(&answered), 0, "{answered:?}");
    assert_eq!(serde_json::from_str::<Value>(&answered.stdout).unwrap()["verdict"], "yes");
}

#[tokio::test]
async fn one_process_works_on_what_others_submit_and_watch() {
    let desk = Desk::new();
    let mut up = desk.start("up --http 127.0.0.1:0");
    let address = wait_for("the address of the metrics", SOON, async || {
        let told = up.stderr();
        told.split_once("metrics at ").and_then(|(_, rest)| Some(rest.lines().next()?.to_owned()))
    })
    .await;
    assert_eq!(desk.run("submit rounds.yaml --id a --input limit=5 --quiet").await.stdout, "a\n");
    let watched = desk.run("watch a").await;
    assert_eq!(code(&watched), 0, "{watched:?}\n{}", up.tails());
    assert_eq!(serde_json::from_str::<Value>(&watched.stdout).unwrap()["rounds"], 5);
    let listed = desk.json("workers").await;
    assert_eq!(listed.as_array().unwrap().iter().filter(|one| one["role"] == "worker").count(), 1, "{listed}");
    let metrics = web::page(&address).await.unwrap();
    assert!(metrics.contains("cox_"), "{metrics}");
    up.kill(Signal::SIGTERM);
    assert_eq!(up.wait_exit(SOON).await.code(), Some(0), "{}", up.tails());
}

#[tokio::test]
async fn who_submits_to_a_store_on_which_nobody_works_is_told_what_to_start() {
    let desk = Desk::new();
    let submitted = desk.run("submit hello.yaml --id a").await;
    assert_eq!((code(&submitted), submitted.stdout.as_str()), (0, "a\n"));
    assert!(
        submitted.stderr.contains("no worker of the pool default") && submitted.stderr.contains("cox up"),
        "{submitted:?}"
    );
    let _up = desk.start("up");
    assert_eq!(code(&desk.run("watch a").await), 0);
    let submitted = desk.run("submit hello.yaml --id b").await;
    assert!(!submitted.stderr.contains("no worker"), "{submitted:?}");
}

#[tokio::test]
async fn who_stays_with_a_run_of_a_fleet_that_is_not_there_is_told_too() {
    let (desk, redis) = (Desk::new(), RedisServer::start(RedisOptions::default()).await);
    let run = Cox::program("cox").args(["run", "hello.yaml", "--id", "a"]).current_dir(desk.path());
    let mut run = run.env("COX_STORE", redis.url()).start();
    wait_for("words on what is missing", SOON, async || {
        let told = run.stderr();
        if told.contains("no worker of the pool default") { Ok(()) } else { Err(told) }
    })
    .await;
    run.kill(Signal::SIGTERM);
    assert_eq!(run.wait_exit(SOON).await.code(), Some(3), "{}", run.tails());
}

#[tokio::test]
async fn a_run_outlives_the_process_that_worked_on_it() {
    let desk = Desk::new();
    let mut first = desk.start("run rounds.yaml --id a --input limit=20");
    desk.wait_for_work("a").await;
    first.kill(Signal::SIGKILL);
    first.wait_exit(SOON).await;
    let _up = desk.start("up");
    let watched = desk.run("watch a").await;
    assert_eq!(code(&watched), 0, "{watched:?}");
    assert_eq!(serde_json::from_str::<Value>(&watched.stdout).unwrap()["rounds"], 20);
}

#[tokio::test]
async fn what_was_queued_in_a_process_that_was_killed_is_begun_at_once_by_the_next() {
    let desk = Desk::new();
    // One slot, which the first run holds; a task that was sent once is not looked at again by time.
    let start = || {
        let up = Cox::program("cox").args(["up", "--http", "127.0.0.1:0"]).current_dir(desk.path());
        up.env("COX_SLOTS", "1").env("COX_RESEND_AFTER", "10m").start()
    };
    let mut first = start();
    assert_eq!(code(&desk.run("submit stubborn.yaml --id holds").await), 0);
    desk.wait_for_work("holds").await;
    assert_eq!(code(&desk.run("submit rounds.yaml --id waits --input limit=1").await), 0);
    // More of them if the store is slow to note that they were sent.
    figure(&first, r#"cox_backlog{pool="default",priority="normal"}"#, 1).await;
    figure(&first, r#"cox_tasks_sent_total{result="confirmed"}"#, 2).await;
    // Meanwhile it is noted as sent.
    std::fs::write(desk.path().join("brief.yaml"), SLOW.replace("1h", "1s")).unwrap();
    assert_eq!(code(&desk.run("submit brief.yaml --id brief").await), 0);
    desk.wait_for_status("brief", "succeeded").await;
    first.kill(Signal::SIGKILL);
    first.wait_exit(SOON).await;

    let second = start();
    desk.wait_for_status("waits", "succeeded").await;
    drop(second);
}

#[tokio::test]
async fn a_shell_completes_commands_and_flags() {
    let desk = Desk::new();
    let script = desk.run("completions bash").await;
    assert_eq!(code(&script), 0, "{script:?}");
    let file = desk.path().join("cox.bash");
    std::fs::write(&file, script.stdout).unwrap();
    for (words, completed) in [("cox exit", "exit-codes"), ("cox cancel --rea", "--reason"), ("cox graph sho", "show")]
    {
        let words: Vec<&str> = words.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            ". {}; COMP_WORDS=({}) COMP_CWORD={}; _cox cox '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            file.display(),
            words.join(" "),
            words.len() - 1,
        );
        let answer = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), completed, "{answer:?}");
    }
}

/// Waits until `cox up --http` shows at least so much for this figure.
async fn figure(up: &Cox, name: &str, least: u64) {
    wait_for(&format!("{name} {least}"), SOON, async || {
        let told = up.stderr();
        let address = told.split_once("metrics at ").and_then(|(_, rest)| rest.lines().next()).ok_or("no address")?;
        let page = web::page(address).await.map_err(|error| error.to_string())?;
        let shown = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        shown.is_some_and(|shown| shown >= least).then_some(()).ok_or(page)
    })
    .await;
}
