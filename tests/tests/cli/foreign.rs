//! Texts of others: whatever a graph, a process or a user puts into them, no command shows them so that they steer a terminal.

use coxswain_shared::printable::{self, NASTY};
use coxswain_tests::{Cox, Output};
use serde_json::{Value, json};

use crate::{Desk, SOON, code};

/// Texts that a process can be started with.
fn nasty() -> String {
    NASTY.iter().filter(|text| !text.contains('\0')).copied().collect::<Vec<_>>().join(" ")
}

/// A graph whose every text is nasty: its events, its results, its failures, and what it asks.
fn graph() -> Value {
    let nasty = nasty();
    let event = json!({"event": "said", "value": {nasty.as_str(): nasty}}).to_string();
    let progress = json!({"progress": nasty}).to_string();
    let result = json!({ "result": nasty }).to_string();
    json!({
        "name": "nasty",
        "description": nasty,
        "state": {"text": {}, "question": {"default": nasty}, "answer": {}},
        "nodes": {
            "say": {"kind": "exec", "command": ["sh", "-c", "printf '%s\\n' \"$@\"", nasty, event, progress, result], "into": "text"},
            "fail": {
                "kind": "exec",
                "command": ["sh", "-c", "printf '%s' \"$0\" >&2; exit 3", nasty],
                "retry": {"attempts": 2, "first": "10ms"},
                "on_failure": {"continue": {}}
            },
            "ask": {"kind": "interrupt", "show": "question", "into": "answer"},
            "end": {"kind": "exec", "command": ["sh", "-c", "printf '%s' \"$0\" >&2; exit 4", nasty]}
        },
        "edges": ["START -> say -> fail -> ask -> end -> END"]
    })
}

async fn cox(desk: &Desk, words: &[&str]) -> Output {
    Cox::program("cox").args(words).current_dir(desk.path()).run(SOON).await
}

fn is_plain(words: &[&str], output: &Output) {
    for shown in [&output.stdout, &output.stderr] {
        assert_eq!(&printable::lines(shown), shown, "cox {words:?}");
    }
}

#[tokio::test]
async fn no_command_shows_what_would_steer_a_terminal() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("nasty.json"), graph().to_string()).unwrap();
    let run = ["run", "nasty.json", "--id", "a", "--label", "team=search"];
    let output = cox(&desk, &run).await;
    is_plain(&run, &output);
    assert_eq!(code(&output), 6, "it waits: {output:?}");
    let shown = &output.stderr;
    assert!(shown.contains("said") && shown.contains(r"\u{1b}[2J") && shown.contains("asks"), "{shown}");
    let again = ["--json", "run", "nasty.json", "--id", "b"];
    is_plain(&again, &cox(&desk, &again).await);
    let resumed = ["resume", "a", "--answer", "yes", "--watch"];
    let output = cox(&desk, &resumed).await;
    is_plain(&resumed, &output);
    assert_eq!(code(&output), 1, "{output:?}");
    for words in [
        &["get", "a"][..],
        &["get", "b"],
        &["list"],
        &["history", "a"],
        &["state", "a"],
        &["state", "a", "--so-far"],
        &["audit"],
        &["watch", "a"],
        &["workers"],
        &["cancel", "b", "--dry-run"],
        &["graph", "check", "nasty.json"],
        &["graph", "show", "nasty.json"],
        &["graph", "show", "nasty.json", "--mermaid"],
        &["policy", "list"],
    ] {
        for json in [false, true] {
            let words: Vec<_> = words.iter().copied().chain(json.then_some("--json")).collect();
            let output = cox(&desk, &words).await;
            is_plain(&words, &output);
            assert!(code(&output) <= 1, "cox {words:?}: {output:?}");
            if json && words[0] != "watch" {
                serde_json::from_str::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            }
        }
    }
    let failure = cox(&desk, &["get", "a"]).await.stdout;
    assert_eq!(failure.lines().filter(|line| line.starts_with("failure")).count(), 1, "{failure}");
    assert!(!failure.lines().any(|line| line.starts_with("lines")), "a line break in a text makes no line: {failure}");
}

#[tokio::test]
async fn names_and_reasons_that_would_steer_a_terminal_are_refused_everywhere() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run("run hello.yaml --id a").await), 0);
    for text in NASTY.iter().filter(|text| text.chars().any(printable::is_control) && !text.contains('\0')) {
        let label = format!("{text}=x");
        let value = format!("x={text}");
        let file = format!("{text}.yaml");
        for words in [
            &["submit", "hello.yaml", "--id", text][..],
            &["submit", "hello.yaml", "--thread", text],
            &["submit", "hello.yaml", "--actor", text],
            &["submit", "hello.yaml", "--label", &label],
            &["submit", "hello.yaml", "--label", &value],
            &["submit", "hello.yaml", "--input", &label],
            &["submit", &file],
            &["run", "hello.yaml", "--label", &value],
            &["cancel", "a", "--reason", text],
            &["cancel", "a", "--actor", text],
            &["resume", "a", "--from", "0", "--reason", text],
            &["resume", "a", "--from", "0", "--label", &value],
            &["get", text],
            &["list", "--graph", text],
            &["policy", "remove", text],
            &["graph", "check", &file],
            &[text],
        ] {
            let output = cox(&desk, words).await;
            is_plain(words, &output);
            assert_eq!(code(&output), 64, "cox {words:?}: {output:?}");
        }
    }
    let refused = cox(&desk, &["cancel", "a", "--reason", "\u{1b}[2J"]).await.stderr;
    assert!(refused.contains("the reason has the control character U+001B"), "{refused}");
    let runs = desk.json("list").await;
    assert_eq!(runs["rows"].as_array().map(Vec::len), Some(1), "nothing was made: {runs}");
}
