//! Questions to humans, and joins that nobody comes to.

use serde_json::{Value, json};

use super::{Desk, code};

const SURVEY: &str = "
name: survey
state: { items: { default: [a, b, c] }, ans: append }
nodes:
  ask: { kind: interrupt, show: item, into: ans }
edges:
  - { from: START, to: ask, for_each: items }
  - ask -> END
";

const EITHER: &str = "
name: either
state: { is_left: { default: true }, seen: append }
nodes:
  begin: { kind: set, set: { seen: \"['begin']\" } }
  left: { kind: set, set: { seen: \"['left']\" } }
  right: { kind: set, set: { seen: \"['right']\" } }
  both: { kind: set, set: { seen: \"['both']\" } }
edges:
  - START -> begin
  - { from: begin, to: left, when: is_left }
  - { from: begin, to: right, otherwise: true }
  - left & right -> both
  - both -> END
";

#[tokio::test]
async fn each_item_of_a_fan_out_is_answered_by_its_id_in_any_number_and_order() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("survey.yaml"), SURVEY).unwrap();
    let output = desk.run("run survey.yaml --id a").await;
    assert_eq!(code(&output), 6, "{output:?}");
    assert!(output.stderr.contains("ask[0], ask[1], ask[2] are open"), "{output:?}");
    let questions = desk.json("get a").await["questions"].clone();
    assert_eq!(questions[1], json!({"id": "1:ask:1", "name": "ask[1]", "asks": "b"}), "{questions}");
    for (words, wanted, told) in [
        ("resume a --answer x", 64, "waits for 3 answers"),
        ("resume a --answer-to ask=x", 64, "`ask[*]`"),
        ("resume a --answer-to ask[9]=x", 64, "these are open: `ask[0]`"),
        ("resume a --answer-to ask[1]=x --answer-to ask[1]=y", 64, "given two answers"),
        ("resume a --answer-to 1:ask:1=x --answer-to ask[1]=y", 64, "given two answers"),
        ("resume a --answer-to 1:ask:2=z", 0, "ask[0], ask[1] are open"),
        ("resume a --answer-to ask[2]=z", 64, "these are open: `ask[0]`, `ask[1]`"),
    ] {
        let output = desk.run(words).await;
        assert!(code(&output) == wanted && output.stderr.contains(told), "cox {words}: {output:?}");
    }
    let output = desk.run("resume a --answer-to ask[0]=x --watch --json").await;
    assert_eq!(code(&output), 6, "{output:?}");
    let output = desk.run("resume a --answer y --watch").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(serde_json::from_str::<Value>(&output.stdout).unwrap()["ans"], json!(["x", "y", "z"]));
    let rows = desk.json("audit a").await["rows"].clone();
    let told: Vec<_> = rows.as_array().unwrap().iter().filter_map(|row| row["reason"].as_str()).collect();
    assert!(told.contains(&"answered ask[2] = \"z\""), "{rows}");
}

#[tokio::test]
async fn a_run_that_ends_while_a_join_waits_says_so_and_the_check_has_warned_of_it() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("either.yaml"), EITHER).unwrap();
    let checked = desk.run("graph check either.yaml").await;
    assert!(code(&checked) == 0 && checked.stdout.contains("`begin` leads to only one of them"), "{checked:?}");
    let output = desk.run("run either.yaml --id a").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(output.stderr.contains("warning: the edge `left & right -> both` still waited at the end"), "{output:?}");
    let warning = desk.json("get a").await["warnings"][0].clone();
    assert!(warning.as_str().unwrap().contains("`left` had arrived, `right` had not"), "{warning}");
}
