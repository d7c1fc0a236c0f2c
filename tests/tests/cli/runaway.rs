//! Runs that are ended though nobody cancels them: by a budget, a policy, or because they go round.

use serde_json::json;

use super::graphs::STUCK;
use super::{Desk, code};

#[tokio::test]
async fn a_run_ends_once_it_has_spent_its_budget_and_goes_on_with_another() {
    let desk = Desk::new();
    let output = desk.run("run spending.yaml --id a").await;
    assert_eq!(code(&output), 1, "{output:?}");
    let why = "its budget of 25 tokens is used up: it has spent 30 tokens (0 in, 30 out)";
    assert!(output.stderr.contains(why) && output.stderr.contains("spent 30 tokens"), "{output:?}");
    let run = desk.json("get a").await["run"].clone();
    assert_eq!((&run["stop"]["order"]["cause"], &run["spent"]["output_tokens"]), (&json!("budget"), &json!(30)));
    assert_eq!(desk.json("state a").await["values"]["rounds"], 2, "the third round is kept beside it");
    let output = desk.run("resume a --max-tokens 15 --id b --watch").await;
    assert_eq!(code(&output), 1, "{output:?}");
    assert_eq!(desk.json("get b").await["run"]["spent"]["output_tokens"], 20, "what it took over is not spent again");
    assert_eq!(desk.json("state b").await["values"]["rounds"], 4);
}

#[tokio::test]
async fn policies_refuse_stop_and_are_told_to_who_asks() {
    let desk = Desk::new();
    let file = desk.path().join("policies.yaml");
    std::fs::write(&file, "few: {window: 1h, limits: {runs: 1}, then: explode}").unwrap();
    let output = desk.run("policy apply policies.yaml").await;
    assert_eq!(code(&output), 64, "{output:?}");
    assert!(output.stderr.contains("`few`: then: unknown variant `explode`"), "{output:?}");

    let policies = "
few: {graph: hello, window: 1h, limits: {runs: 1}, then: refuse}
dear: {graph: spend*, per: thread, window: 1h, limits: {tokens: 15}, then: stop}";
    std::fs::write(&file, policies).unwrap();
    let set = desk.json("policy apply policies.yaml --reason month").await;
    assert_eq!(set, json!([{"name": "dear", "answer": "set"}, {"name": "few", "answer": "set"}]));
    assert_eq!(code(&desk.run("run hello.yaml --id a").await), 0);
    let output = desk.run("run hello.yaml --id b").await;
    let why = "the run is refused: policy `few` allows 1 run in 1h, and it has come to 1 run: there is room again in";
    assert!(code(&output) == 5 && output.stderr.contains(why), "{output:?}");
    assert_eq!(code(&desk.run("get b").await), 4, "it was not made");

    let output = desk.run("run spending.yaml --id c --thread t").await;
    assert_eq!(code(&output), 1, "{output:?}");
    let order = desk.json("get c").await["run"]["stop"]["order"].clone();
    assert_eq!((&order["cause"], &order["actor"]), (&json!("budget"), &json!("policy dear")));
    let shown = desk.run("policy show dear t").await;
    assert!(shown.stdout.contains("used for thread t: 20 tokens of 15 tokens"), "{shown:?}");
    assert!(desk.run("policy list").await.stdout.contains("spend*"));

    std::fs::write(&file, "few: {graph: hello, window: 1h, limits: {runs: 9}, then: refuse}").unwrap();
    let set = desk.json("policy apply policies.yaml --prune").await;
    assert_eq!(set, json!([{"name": "dear", "answer": "removed"}, {"name": "few", "answer": "set"}]));
    assert_eq!(code(&desk.run("run hello.yaml --id b").await), 0, "there is room now");
    let output = desk.run("policy remove fwe").await;
    assert!(code(&output) == 4 && output.stderr.contains("did you mean `few`?"), "{output:?}");
    let trail = desk.json("audit policies").await;
    assert_eq!(trail["rows"].as_array().unwrap().len(), 4, "{trail}");
}

#[tokio::test]
async fn an_agent_that_goes_round_is_ended_long_before_its_bound_of_steps_and_told_of_its_round() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("stuck.yaml"), STUCK).unwrap();
    let output = desk.run("run stuck.yaml --id a").await;
    let words =
        "node `search` has run with the same input 100 times since step 3: it goes round through `think`, `search`";
    assert!(code(&output) == 1 && output.stderr.contains(words), "{output:?}");
    assert_eq!(desk.json("get a").await["run"]["stop"]["order"]["cause"], "loop");
}
