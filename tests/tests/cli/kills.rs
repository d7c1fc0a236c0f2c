//! The processes of `cox run`: what they may see of it, what becomes of them when it is killed, and what happens where
//! the machine has no more to give.

use serde_json::json;

use super::{Desk, SOON, code};
use coxswain_tests::{Cox, Signal, wait_for};

/// Writes on in a pipeline, and from a session of its own without its environment.
const WRITING: &str = r"
name: writing
state: {}
nodes:
  write:
    kind: exec
    command:
      - sh
      - -c
      - |
        (while :; do echo a; sleep 0.02; done | cat >> piped) &
        setsid env -i sh -c 'while :; do echo b >> away; sleep 0.02; done' &
        sleep 1000
edges: [START -> write, write -> END]
";

#[tokio::test]
async fn what_a_killed_cox_run_has_started_ends_with_it() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("writing.yaml"), WRITING).unwrap();
    let length = |name: &str| std::fs::metadata(desk.path().join(name)).map_or(0, |data| data.len());
    let mut cox = desk.start("run writing.yaml --id a");
    wait_for("both to write", SOON, async || length("piped") > 4 && length("away") > 4).await;
    cox.kill(Signal::SIGKILL);
    cox.wait_exit(SOON).await;
    // A whole program starts and ends meanwhile, and it takes far longer than the supervisor may.
    assert_eq!(code(&desk.run("run hello.yaml --id b").await), 0);
    let lengths = [length("piped"), length("away")];
    assert_eq!(code(&desk.run("run hello.yaml --id c").await), 0);
    assert_eq!([length("piped"), length("away")], lengths, "something writes on");
    assert_eq!(desk.json("get a").await["run"]["id"], json!("a"));
}

/// Tells all that can be read of the environments, the memory and the files of the processes above it.
const PRYING: &str = r#"
name: prying
state: {seen: {}}
nodes:
  pry:
    kind: exec
    into: seen
    command:
      - sh
      - -c
      - |
        id=$PPID found=none above=
        while [ "$id" -gt 1 ]; do
          above="$above$(cat /proc/$id/comm) "
          cat /proc/$id/environ /proc/$id/cmdline 2>/dev/null | grep -aq hunter2 && found="environment of $id"
          cat /proc/$id/maps 2>/dev/null | grep -q . && found="maps of $id"
          ls -l /proc/$id/fd/ 2>/dev/null | grep -q -- '->' && found="files of $id"
          [ "$(cat /proc/$id/comm)" = cox ] && break
          id=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$id/status)
        done
        printf '"%s; above: %s"' "$found" "$above"
edges: [START -> pry, pry -> END]
"#;

#[tokio::test]
async fn a_command_reads_no_secret_of_its_worker() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("prying.yaml"), PRYING).unwrap();
    let cox = Cox::program("cox").args(["run", "prying.yaml", "--json"]).current_dir(desk.path());
    let cox = cox.env("OPENAI_API_KEY", "sk-hunter2").env("COX_LOG", "error").env("AWS_SECRET", "hunter2");
    let output = cox.run(SOON).await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(output.stdout.contains("none; above: cox-supervise cox "), "{output:?}");
}

/// Thirty commands, each of which takes several files of the worker while it runs.
const CROWD: &str = r#"
name: crowd
state: {all: {reducer: append}, items: {}}
nodes:
  list: {kind: exec, into: items, command: [sh, -c, "echo [$(seq -s, 30)]"]}
  one: {kind: exec, into: all, command: [sh, -c, "sleep 0.3; echo 1"]}
edges:
  - START -> list
  - {from: list, to: one, for_each: items}
  - one -> END
"#;

#[tokio::test]
async fn commands_that_find_no_files_left_are_put_off_and_none_has_failed() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("crowd.yaml"), CROWD).unwrap();
    let cox = Cox::program("cox").args(["run", "crowd.yaml", "--json"]).current_dir(desk.path()).limit_files(72);
    let output = cox.env("COX_SLOTS", "30").run(SOON * 2).await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(output.stderr.contains("open files (raise `ulimit -n`)"), "the limit was not reached: {output:?}");
}
