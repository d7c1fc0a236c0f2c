//! The calls of a random walk over a store, and what their choices stand for.

use std::time::Duration;

use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::plan::Then;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::conformance::make;
use coxswain_shared::store::{NewRun, OnConflict, RunSpec, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::rig::values;

/// One call, with its choices as small numbers.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { run: u8, thread: u8, strategy: u8, from: Option<u8>, timeout: u8 },
    Stop { run: u8, cause: u8, is_forced: bool, grace: Option<u8> },
    Take { partition: u8, limit: u8 },
    Step { run: u8, tasks: Vec<(u8, u8)>, has_checkpoint: bool, is_stale: bool },
    Pause { run: u8, has_checkpoint: bool },
    End { run: u8, how: u8, has_checkpoint: bool },
    Repeat,
    Claim { task: u8, takeover: Option<u8>, is_repeat: bool, alone: bool },
    Settle { lease: u8, how: u8 },
    Release { lease: u8, how: u8 },
    Renew { leases: Vec<u8> },
    MarkSent { tasks: Vec<u8>, after: u8 },
    Sweep { partition: u8, tasks: u8, runs: u8, ahead: bool },
    Resume { run: u8, answers: u8 },
    Emit { run: u8, count: u8 },
    Pass { time: u8 },
}
pub(crate) fn op() -> impl Strategy<Value = Op> {
    let small = 0..8_u8;
    let tasks = prop::collection::vec((0..6_u8, 0..4_u8), 1..4);
    prop_oneof![
        4 => (0..8_u8, 0..3_u8, 0..4_u8, prop::option::weighted(0.2, 0..8_u8), 0..3_u8)
            .prop_map(|(run, thread, strategy, from, timeout)| Op::Create { run, thread, strategy, from, timeout }),
        2 => (0..12_u8, 0..8_u8, any::<bool>(), prop::option::of(0..3_u8))
            .prop_map(|(run, cause, is_forced, grace)| Op::Stop { run, cause, is_forced, grace }),
        3 => (0..2_u8, 0..4_u8).prop_map(|(partition, limit)| Op::Take { partition, limit }),
        8 => (0..12_u8, tasks, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(run, tasks, has_checkpoint, is_stale)| Op::Step { run, tasks, has_checkpoint, is_stale }),
        2 => (0..12_u8, any::<bool>()).prop_map(|(run, has_checkpoint)| Op::Pause { run, has_checkpoint }),
        2 => (0..12_u8, 0..4_u8, any::<bool>())
            .prop_map(|(run, how, has_checkpoint)| Op::End { run, how, has_checkpoint }),
        1 => Just(Op::Repeat),
        8 => (0..16_u8, prop::option::of(0..3_u8), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(task, takeover, is_repeat, alone)| Op::Claim { task, takeover, is_repeat, alone }),
        7 => (small.clone(), 0..7_u8).prop_map(|(lease, how)| Op::Settle { lease, how }),
        4 => (small.clone(), 0..4_u8).prop_map(|(lease, how)| Op::Release { lease, how }),
        2 => prop::collection::vec(small.clone(), 0..4).prop_map(|leases| Op::Renew { leases }),
        2 => (prop::collection::vec(0..16_u8, 0..4), 0..3_u8).prop_map(|(tasks, after)| Op::MarkSent { tasks, after }),
        5 => (0..2_u8, 0..4_u8, 0..3_u8, prop::bool::weighted(0.2))
            .prop_map(|(partition, tasks, runs, ahead)| Op::Sweep { partition, tasks, runs, ahead }),
        3 => (0..12_u8, 0..4_u8).prop_map(|(run, answers)| Op::Resume { run, answers }),
        1 => (0..12_u8, 0..3_u8).prop_map(|(run, count)| Op::Emit { run, count }),
        6 => (0..6_u8).prop_map(|time| Op::Pass { time }),
    ]
}
pub(crate) fn seconds(choice: u8) -> Duration {
    Duration::from_secs([0, 1, 3, 11, 40, 200][usize::from(choice) % 6])
}
pub(crate) fn new_run(run: u8, thread: u8, timeout: u8) -> NewRun {
    NewRun {
        run_timeout: [Duration::from_mins(10), Duration::from_secs(30), Duration::from_secs(5)]
            [usize::from(timeout) % 3],
        spec: RunSpec { actor: "ann".into(), ..RunSpec::default() },
        ..make::run_on(&format!("r{run}"), &format!("t{thread}"), OnConflict::Enqueue)
    }
}
pub(crate) fn end(how: u8) -> Then {
    let failure = Failure::new(FailureKind::Exhausted, "the plan said so");
    let order = NewOrder {
        cause: Cause::Budget,
        reason: Some("said so".into()),
        actor: "plan".into(),
        grace: None,
        force: false,
    };
    match how {
        0 | 1 => Then::Succeed,
        2 => Then::Fail { failure, order: None },
        _ => Then::Fail { failure, order: Some(order) },
    }
}
pub(crate) fn verdict(how: u8) -> Verdict {
    let failure = Failure::new(FailureKind::Handler, "the worker said so");
    match how {
        0..=2 => Verdict::Done(Outcome::wrote(values(&[("a", json!(how))]))),
        3 => Verdict::Done(Outcome::Failed { failure }),
        4 => Verdict::Done(Outcome::stopped(None)),
        5 => Verdict::PutOff { failure, after: seconds(how) },
        _ => Verdict::Retry { failure, after: seconds(how) },
    }
}
