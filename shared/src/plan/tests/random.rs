//! Random small graphs, with loops, conditions, joins and fan-outs, and random outcomes: what holds for all of them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::case::{Case, edge_list, failed, graph, settled, unsettled, values};
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Due, Source, Values};
use crate::graph::Graph;
use crate::id::{NodeName, RunId, Step, TaskId};
use crate::outcome::Outcome;
use crate::plan::{Base, Planned, Then};
use crate::rounds::Rounds;
use crate::run::RunStatus;
use crate::submission::Start;
use crate::task::{Dispatch, NewTask, Task, TaskState};

const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Steps that a random run is followed for; its graph's limit is often lower.
const STEPS: u64 = 8;

/// A node's name, mostly one that there is.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::sample::select(NODES.to_vec()).prop_map(str::to_owned),
        1 => Just("nowhere".to_owned()),
    ]
}

fn some_name() -> impl Strategy<Value = String> {
    prop::sample::select(NODES.to_vec()).prop_map(str::to_owned)
}

/// An edge as `edge_list` reads it. With `wild`, it may lead to nowhere and ask for nonsense.
fn any_edge(wild: bool) -> impl Strategy<Value = Value> {
    let conditions = ["n % 2 == 0", "n > 3", "log | length < 4", "list"];
    let lists = ["few", "list", "range(n % 3)", "n"];
    let (sane_conditions, sane_lists) = if wild { (4, 4) } else { (3, 3) };
    let name = if wild { any_name().boxed() } else { some_name().boxed() };
    let from = prop_oneof![
        1 => Just(Value::Null),
        4 => name.clone().prop_map(Value::from),
        1 => prop::collection::vec(name.clone(), 2..4).prop_map(Value::from),
    ];
    let to = prop_oneof![6 => name.prop_map(Value::from), 1 => Just(Value::Null)];
    let when = prop_oneof![
        3 => Just(json!({})),
        2 => prop::sample::select(conditions[..sane_conditions].to_vec()).prop_map(|text| json!({"when": {"if": text}})),
        1 => Just(json!({"when": "otherwise"})),
    ];
    let for_each = prop_oneof![
        3 => Just(None),
        1 => prop::sample::select(lists[..sane_lists].to_vec()).prop_map(Some),
    ];
    let fan_out = prop_oneof![
        2 => Just(json!({})),
        1 => Just(json!({"concurrency": 1})),
        1 => Just(json!({"policy": "collect", "results": "log"})),
        1 => Just(json!({"policy": "fail_fast"})),
        1 => Just(json!({"policy": "race", "results": "log"})),
        1 => Just(json!({"policy": {"quorum": 2}, "concurrency": 2})),
    ];
    (from, to, when, for_each, fan_out).prop_map(|(from, to, mut more, for_each, fan_out)| {
        if let Some(list) = for_each.filter(|_| !to.is_null()) {
            more["for_each"] = json!(list);
            more["fan_out"] = fan_out;
        }
        json!([from, to, more])
    })
}

fn any_node(wild: bool) -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        5 => Just(json!({"kind": "rust", "handler": "h"})),
        1 => Just(json!({"kind": "rust", "handler": "h", "reads": ["few"]})),
        1 => Just(json!({"kind": "set", "set": {"n": "n + 1"}})),
        1 => Just(json!({"kind": "wait", "for": "1s"})),
        1 => Just(json!({"kind": "interrupt", "show": if wild { "missing.part" } else { "n" }})),
        1 => Just(json!({"kind": "graph", "graph": {"name": "child", "state": {"n": {}}, "nodes": {}, "edges": []}})),
    ];
    let on_failure = prop_oneof![
        Just(json!("fail")),
        Just(json!({"continue": {"log": "fallback"}})),
        any_name().prop_map(move |name| json!({"goto": if wild { name } else { "a".to_owned() }})),
    ];
    (kind, on_failure).prop_map(|(mut node, on_failure)| {
        node["on_failure"] = on_failure;
        node
    })
}

fn any_graph(wild: bool) -> impl Strategy<Value = Graph> {
    let nodes = prop::collection::vec(any_node(wild), NODES.len());
    let edges = prop::collection::vec(any_edge(wild), 2..12);
    (nodes, edges, 0..2 * STEPS, 0_u64..40, 2_u64..5).prop_map(
        |(nodes, mut edges, max_steps, node_runs, max_repeats)| {
            edges.push(json!([null, "a"]));
            let nodes: Value = NODES.iter().map(|name| (*name).to_owned()).zip(nodes).collect();
            graph(json!({
                "name": "g",
                "state": {
                    "n": {"reducer": "add"}, "log": {"reducer": "append"}, "few": {"default": [7, 8]},
                    "list": {"default": []}, "failure": {"reducer": "append"}, "last": {}, "map": {"reducer": "merge"},
                },
                "nodes": nodes,
                "edges": edge_list(&json!(edges)),
                "limits": {"max_steps": max_steps, "node_runs": node_runs, "max_repeats": max_repeats},
            }))
        },
    )
}

/// What a task does, by a number: the same for the same number, so that a replay finds the same world.
fn outcome_of(task: &NewTask, seed: u64, failures: bool) -> Outcome {
    let number = task
        .id
        .to_string()
        .bytes()
        .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23));
    if let Dispatch::Child { run } = &task.dispatch {
        return Outcome::ChildEnded { run: run.id.clone(), status: RunStatus::Succeeded, failure: None };
    }
    if failures && number.is_multiple_of(11) {
        return failed("it was its turn");
    }
    let mut writes = json!({"n": number % 5, "log": task.id.to_string()});
    if task.id.node.as_str() == "a" && task.id.item == 0 {
        writes["list"] = json!(vec![number % 3; usize::try_from(number % 4).unwrap()]);
    }
    let goto = if number.is_multiple_of(13) { vec!["b".to_owned()] } else { Vec::new() };
    Outcome::Succeeded { writes: values(writes), goto }
}

/// Settles every task that is not settled yet, as a fleet would.
fn work(case: &mut Case, seed: u64, failures: bool) {
    let outcomes = |task: &Task, new: &NewTask| match &task.outcome {
        Some(done) => settled(&task.id, done.clone()),
        None => settled(&task.id, outcome_of(new, seed, failures)),
    };
    case.tasks = case.tasks.iter().zip(&case.new_tasks).map(|(task, new)| outcomes(task, new)).collect();
    for task in &case.tasks {
        if let Some(Outcome::ChildEnded { .. }) = task.outcome {
            case.children.insert(task.id.clone(), values(json!({"n": 1})));
        }
    }
}

fn bytes(planned: &Planned) -> String {
    serde_json::to_string(planned).unwrap()
}

/// The same records, as a store would give them back.
fn stored(case: &Case) -> Case {
    fn back<T: serde::Serialize + serde::de::DeserializeOwned>(record: &T) -> T {
        serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
    }
    let mut same = case.clone();
    same.graph = back(&case.graph);
    same.checkpoint = back(&case.checkpoint);
    same.values = back(&case.values);
    same.tasks = back(&case.tasks);
    same
}

/// What holds for every checkpoint that is written.
fn check_checkpoint(planned: &Planned, before: Option<&Checkpoint>, values: &Values) {
    let Some(checkpoint) = &planned.checkpoint else { return };
    let mut all = values.clone();
    all.extend(planned.changed.clone());
    assert!(checkpoint.versions.keys().eq(all.keys()), "each channel with a value has a version, and no other");
    let fresh = checkpoint.versions.iter().filter(|(_, step)| **step == checkpoint.step).map(|(name, _)| name);
    assert!(fresh.eq(planned.changed.keys()), "what changed has this step's version, and nothing else has");
    let due = |node: &NodeName| before.is_some_and(|before| before.next.iter().any(|due| due.node == *node));
    for ran in &checkpoint.ran {
        assert!(due(&ran.task.node), "{} ran, but was not due", ran.task);
        assert_eq!(ran.task.step, checkpoint.step);
    }
    if let Some(before) = before {
        assert_eq!(checkpoint.step, before.step.next());
        assert_eq!(checkpoint.node_runs, before.node_runs + checkpoint.ran.len() as u64);
    }
}

/// What holds for every step that is started.
fn check_limits(case: &Case, then: &Then, node_runs: u64) {
    if let Then::Step { step, tasks, .. } = then {
        assert!(step.get() <= case.graph.limits.max_steps);
        assert!(!tasks.is_empty() && node_runs + tasks.len() as u64 <= case.graph.limits.node_runs);
        let rounds = &case.last().rounds;
        assert!(rounds.state.as_ref().is_none_or(|round| round.times < case.graph.limits.max_repeats));
        assert!(tasks.iter().all(|task| task.id.step == *step));
        assert!(tasks.windows(2).all(|pair| pair[0].id < pair[1].id), "in order, and none twice");
    }
}

/// Runs a case until it ends or has planned so many steps; gives what was planned.
fn drive(case: &mut Case, seed: u64, failures: bool, plans: u64) -> Vec<Planned> {
    let mut story = Vec::new();
    for _ in 0..plans {
        let planned = case.planned().expect("the records fit");
        check_checkpoint(&planned, case.checkpoint.as_ref(), &case.values);
        let then = case.advance();
        check_limits(case, &then, case.last().node_runs);
        story.push(planned);
        match then {
            Then::Step { .. } => work(case, seed, failures),
            Then::Pause { .. } => case.resumed = true,
            Then::Succeed | Then::Fail { .. } => break,
        }
    }
    story
}

proptest! {
    #[test]
    fn the_order_of_the_tasks_never_matters_and_a_replay_gives_the_same_bytes(
        graph in any_graph(false), seed in any::<u64>(), turn in 0_usize..5,
    ) {
        let mut case = Case::new(graph);
        for _ in 0..STEPS {
            let planned = bytes(&case.planned().unwrap());
            let mut turned = stored(&case);
            let count = turned.tasks.len().max(1);
            turned.tasks.rotate_left(turn % count);
            prop_assert_eq!(&bytes(&turned.planned().unwrap()), &planned);
            turned.tasks.reverse();
            prop_assert_eq!(&bytes(&turned.planned().unwrap()), &planned);
            if !matches!(case.advance(), Then::Step { .. }) {
                break;
            }
            work(&mut case, seed, true);
        }
    }

    #[test]
    fn every_run_ends_within_its_limits_and_its_checkpoints_fit_together(
        graph in any_graph(false), seed in any::<u64>(), failures in any::<bool>(),
    ) {
        let most = graph.limits.max_steps + 2;
        let mut case = Case::new(graph);
        case.spec.interrupt_before = vec!["c".parse().unwrap()];
        let story = drive(&mut case, seed, failures, 2 * most);
        let last = &story.last().unwrap().then;
        prop_assert!(matches!(last, Then::Succeed | Then::Fail { .. }), "{:?}", last);
    }

    #[test]
    fn a_run_that_goes_on_from_any_checkpoint_comes_to_the_same_state(
        mut graph in any_graph(false), seed in any::<u64>(), cut in 1..STEPS, undone in prop::collection::vec(any::<bool>(), 40),
    ) {
        graph.limits.max_steps = 100;
        graph.limits.node_runs = 1_000_000;
        // What has been met before is not taken over: a run that goes on counts anew, as it does its steps.
        graph.limits.max_repeats = 100;
        let mut origin = Case::new(graph.clone());
        drive(&mut origin, seed, false, cut);
        let Some(checkpoint) = origin.checkpoint.clone() else { return Ok(()) };
        if origin.tasks.is_empty() {
            return Ok(());
        }
        let settled = origin.tasks.iter().zip(&undone).filter(|(_, undone)| !**undone).map(|(task, _)| task.clone());
        let mut next = Case::new(graph);
        next.run = RunId::new("r2").unwrap();
        next.spec.start = Start::From { run: origin.run.clone(), step: checkpoint.step, update: Values::new() };
        next.base = Some(Base {
            run: origin.run.clone(), checkpoint, values: origin.values.clone(), settled: settled.collect(),
        });
        next.advance();
        // The same world: every task does what it did, or would have done, in the origin.
        next.tasks = origin.tasks.iter().zip(&next.tasks).map(|(old, new)| {
            super::case::settled(&new.id, old.outcome.clone().unwrap())
        }).collect();
        next.children = next.tasks.iter().map(|task| (task.id.clone(), values(json!({"n": 1})))).collect();
        let (one, two) = (origin.advance(), next.advance());
        prop_assert_eq!(std::mem::discriminant(&one), std::mem::discriminant(&two));
        prop_assert_eq!(origin.values, next.values);
        let (one, two) = (origin.checkpoint.unwrap(), next.checkpoint.unwrap());
        prop_assert_eq!((one.next, one.joins), (two.next, two.joins));
    }

    #[test]
    fn no_records_make_the_planner_panic(
        graph in any_graph(true),
        next in prop::collection::vec((any_name(), prop::collection::vec(0_usize..15, 0..3)), 0..4),
        joins in prop::collection::btree_map(0_usize..15, prop::collection::btree_set(any_name(), 0..3), 0..3),
        step in prop_oneof![0_u64..3, Just(u64::MAX)],
        node_runs in prop_oneof![0_u64..50, Just(u64::MAX)],
        tasks in prop::collection::vec((any_task(), any_name(), 0_u32..3), 0..5),
        state in any_state(),
        (is_first, resumed, based, depth) in (any::<bool>(), any::<bool>(), any::<bool>(), 0_u32..12),
    ) {
        let name = |name: &String| NodeName::new(name).unwrap();
        let checkpoint = Checkpoint {
            format: CHECKPOINT_FORMAT,
            step: Step::new(step),
            source: Source::Step,
            versions: std::collections::BTreeMap::new(),
            ran: Vec::new(),
            next: next.iter().map(|(node, for_each)| Due { node: name(node), for_each: for_each.clone() }).collect(),
            joins: joins.iter().map(|(place, nodes)| (*place, nodes.iter().map(name).collect())).collect(),
            node_runs,
            rounds: Rounds::default(),
        };
        let mut case = Case::new(graph);
        case.values = values(state);
        case.depth = depth;
        case.resumed = resumed;
        case.tasks = tasks.into_iter().map(|(task, node, item)| {
            let id = TaskId { step: Step::new(step.saturating_add(1)), node: name(&node), item };
            Task { id, ..task }
        }).collect();
        let base = Base {
            run: RunId::new("r0").unwrap(),
            checkpoint: checkpoint.clone(),
            values: case.values.clone(),
            settled: case.tasks.clone(),
        };
        if based {
            case.spec.start = Start::From { run: base.run.clone(), step: base.checkpoint.step, update: Values::new() };
            case.base = Some(base);
        }
        case.checkpoint = (!is_first).then_some(checkpoint);
        let once = case.planned();
        prop_assert_eq!(once.as_ref().map(bytes).ok(), case.planned().as_ref().map(bytes).ok());
        if let Ok(Planned { then: Then::Step { tasks, .. }, .. }) = &once {
            prop_assert!(!tasks.is_empty());
        }
    }
}

/// A task in any state, with any outcome.
fn any_task() -> impl Strategy<Value = Task> {
    let id: TaskId = "1:a:0".parse().unwrap();
    let writes = any_state().prop_map(|writes| Outcome::wrote(values(writes)));
    let outcome = prop_oneof![
        4 => writes,
        1 => Just(failed("no")),
        1 => Just(Outcome::stopped(None)),
        1 => any_name().prop_map(|name| Outcome::Succeeded { writes: Values::new(), goto: vec![name, "no name!".to_owned()] }),
        1 => prop::sample::select(RunStatus::ALL.to_vec())
            .prop_map(|status| Outcome::ChildEnded { run: RunId::new("child").unwrap(), status, failure: None }),
    ];
    let open = prop::sample::select(TaskState::ALL.to_vec());
    (prop::option::weighted(0.8, outcome), open).prop_map(move |(outcome, open)| match outcome {
        Some(outcome) => settled(&id, outcome),
        None => unsettled(&id, open),
    })
}

/// Values of any shape in channels that there are, and in one that there is not.
fn any_state() -> impl Strategy<Value = Value> {
    let shapes =
        [json!(1), json!(-0.5), json!("x"), json!(null), json!([1, [2]]), json!({"id": 1}), json!([]), json!(u64::MAX)];
    let channels = ["n", "log", "few", "list", "failure", "last", "map", "strange"];
    let channel = prop::sample::select(channels.to_vec()).prop_map(str::to_owned);
    prop::collection::btree_map(channel, prop::sample::select(shapes.to_vec()), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}
