//! What a user sees: what holds a run up, times, one channel alone, items by their numbers, who answered what.

use coxswain_tests::wait_for;
use serde_json::{Value, json};

use crate::{Desk, SOON, code};

/// A task for a pool that nobody serves.
const UNSERVED: &str = "
name: unserved
nodes: { work: { kind: exec, command: ['true'], pool: gpu, queue_timeout: 30m } }
edges: [START -> work -> END]
";

/// Two items that say something in pieces, in turns.
const TALK: &str = "
name: talk
state: { items: { default: [0, 1] }, answers: }
nodes:
  say:
    kind: exec
    command: [sh, -c, 'for word in one two three; do echo \"{\\\"event\\\": \\\"token\\\", \\\"value\\\": \\\"$word \\\"}\"; sleep 0.2; done; echo \"{\\\"result\\\": \\\"said $COX_ITEM\\\"}\"']
edges:
  - { from: START, to: say, for_each: items, policy: collect, results: answers }
  - say -> END
";

/// Fails with more words than a narrow terminal has room for.
const WORDY: &str = "
name: wordy
nodes:
  work: { kind: exec, command: [sh, -c, 'printf \"%0200d the-end\" 0 >&2; exit 1'], retry: { attempts: 1 } }
edges: [START -> work -> END]
";

#[tokio::test]
async fn a_pool_that_nobody_serves_is_named_where_people_look() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("unserved.yaml"), UNSERVED).unwrap();
    desk.run("submit unserved.yaml --id a").await;
    let _up = desk.start("up");
    wait_for("the list to name the pool", SOON, async || {
        let listed = desk.run("list").await.stdout;
        listed.contains("no worker for pool gpu").then_some(()).ok_or(listed)
    })
    .await;
    let shown = desk.run("get a").await.stdout;
    assert!(shown.contains("waits for") && shown.contains("a worker of the pool gpu"), "{shown}");
    assert_eq!(desk.json("get a").await["unserved"], json!(["gpu"]));
    assert_eq!(desk.json("list").await["unserved"]["a"], json!(["gpu"]));
    wait_for("both programs to be listed", SOON, async || {
        let listed = desk.json("workers").await;
        let mut seen: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| format!("{} {}", one["role"], one["state"])).collect();
        seen.sort();
        (seen == [r#""scheduler" "taking_work""#, r#""worker" "taking_work""#]).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
}

#[tokio::test]
async fn one_channel_alone_is_printed_as_it_is() {
    let desk = Desk::new();
    let output = desk.run("run hello.yaml --output greeting --input name=Ann").await;
    assert_eq!((code(&output), output.stdout.as_str()), (0, "Hello, Ann!\n"));
    let output = desk.run("run hello.yaml --output greeting --input name=Ann --json").await;
    let last: Value = serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["state"], json!({"greeting": "Hello, Ann!"}));
    let refused = desk.run("run hello.yaml --output greting --id never").await;
    assert_eq!(code(&refused), 64, "{refused:?}");
    assert!(refused.stderr.contains("did you mean `greeting`?"), "{}", refused.stderr);
    assert_eq!(code(&desk.run("get never").await), 4, "nothing was submitted");
}

#[tokio::test]
async fn items_have_numbers_from_0_and_each_speaks_on_a_line_of_its_own() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("talk.yaml"), TALK).unwrap();
    let output = desk.run("run talk.yaml --id a --output answers").await;
    assert_eq!(code(&output), 0, "{output:?}");
    for item in ["say[0]", "say[1]"] {
        let lines: Vec<_> =
            output.stderr.lines().filter(|line| line.contains(item) && line.contains("token")).collect();
        assert!(lines.len() == 1 && lines[0].contains("one two three"), "{}", output.stderr);
    }
    let answers: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!([&answers[0]["value"], &answers[1]["value"]], ["said 0", "said 1"], "the node needs no `into`");
    let history = desk.run("history a").await.stdout;
    assert!(history.contains("say[0]") && history.contains("say[1]"), "{history}");
}

#[tokio::test]
async fn times_are_texts_in_whatever_a_command_tells_as_json() {
    let desk = Desk::new();
    let output = desk.run("run hello.yaml --id a --json").await;
    for line in output.stdout.lines() {
        only_texts(&serde_json::from_str(line).unwrap(), line);
    }
    desk.run("submit slow.yaml --id b").await;
    desk.run("cancel b").await;
    for words in ["get a", "get b", "list", "history a", "state a", "audit", "workers"] {
        let document = desk.json(words).await;
        only_texts(&document, words);
        if words == "get a" {
            let made = document["run"]["created_at"].as_str().unwrap();
            assert!(made.len() == 24 && made.ends_with('Z') && made.contains('T'), "{made}");
        }
    }
}

/// Fails if anything that is a time by its name is a number.
fn only_texts(document: &Value, place: &str) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_time = name == "at" || name.ends_with("_at");
                assert!(!(is_time && value.is_number()), "{place}: {name} is {value}");
                only_texts(value, place);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| only_texts(item, place)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_audit_trail_tells_what_was_answered_and_a_note_is_whole_on_a_pipe() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run("run review.yaml --id a").await), 6);
    desk.run("resume a --answer yes --actor ann --reason checked").await;
    let audit = desk.run("audit a").await.stdout;
    assert!(audit.contains("ann") && audit.contains("checked; answered approve = \"yes\""), "{audit}");

    std::fs::write(desk.path().join("wordy.yaml"), WORDY).unwrap();
    desk.run("run wordy.yaml --id w").await;
    let shown = desk.run("get w").await.stdout;
    let row = shown.lines().find(|line| line.starts_with("work ")).unwrap_or_else(|| panic!("{shown}"));
    assert!(row.contains("the-end"), "{shown}");
}
