//! What a random client of a store does: operations without names, which the driver fits to what is there.
//!
//! Most are sensible (a queued task is claimed, a leased one settled under its fence), some are not (another task, a wrong fence,
//! an old revision, the call before once more).

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use crate::stop::Cause;
use crate::store::OnConflict;

/// Which of several things: the n-th of the sensible ones, or of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) number: u8,
    pub(super) sensible: bool,
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create {
        run: u8,
        thread: u8,
        on_conflict: OnConflict,
        run_timeout: Duration,
        from: bool,
    },
    Stop {
        run: u8,
        cause: Cause,
        grace: Option<Duration>,
        force: bool,
    },
    Shed {
        run: u8,
    },
    /// Of the node of this task; with or without its other items.
    StopTasks {
        task: Pick,
        alone: bool,
        skip: bool,
        grace: Option<Duration>,
        force: bool,
    },
    TakeReady {
        thread: u8,
        limit: usize,
        hold: Duration,
    },
    HoldReady {
        run: Pick,
        right: bool,
        hold: Duration,
        given_back: bool,
    },
    Advance {
        run: Pick,
        right: bool,
        checkpoint: bool,
        then: Next,
    },
    Claim {
        task: Pick,
        worker: u8,
        ttl: Duration,
        takeover_after: Option<Duration>,
        alone: bool,
    },
    Renew {
        tokens: u64,
        tasks: Vec<(Pick, bool)>,
        ttl: Duration,
    },
    Settle {
        task: Pick,
        right: bool,
        verdict: Judgement,
        tokens: u64,
    },
    Release {
        task: Pick,
        right: bool,
        how: Letting,
        tokens: u64,
    },
    MarkSent {
        tasks: Vec<Pick>,
        resend_after: Duration,
    },
    Sweep {
        thread: u8,
        resend_after: Duration,
        ahead: Duration,
    },
    Resume {
        run: Pick,
        answers: Answers,
    },
    Emit {
        run: Pick,
    },
    Pass(Duration),
    Repeat(u8),
}

/// What comes after a step.
#[derive(Debug, Clone)]
pub(super) enum Next {
    Step(Vec<Wish>, Option<Together>),
    Pause,
    Succeed,
    Fail { order: Option<Cause> },
}

/// The tasks of workers and child runs of a step as one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Together {
    pub(super) at_once: usize,
    pub(super) need: Option<u32>,
    pub(super) may_fail: Option<u32>,
}

/// A task to be made.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) kind: Kind,
    pub(super) timeout: Duration,
    pub(super) queue_timeout: Duration,
    pub(super) grace: Duration,
    pub(super) max_crashes: u32,
    pub(super) fails_run: bool,
}

/// How it gets done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Queue,
    Wait(Duration),
    Human,
    Child(Duration),
    /// A child with an id that somebody may have.
    Taken(u8),
    Settled {
        well: bool,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Judgement {
    Done { well: bool },
    Retry { after: Duration },
    PutOff { after: Duration },
}

/// How a lease is let go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Letting {
    Stopped { confirmed: bool },
    HandedBack,
}

/// How a human answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answers {
    All { well: bool },
    OneMissing,
    OneTooMany,
}

fn span() -> impl Strategy<Value = Duration> + Clone {
    select(vec![0, 100, 1_000, 2_000, 5_000, 12_000]).prop_map(Duration::from_millis)
}

/// The time of a run or a task: mostly one that is not reached.
fn life() -> impl Strategy<Value = Duration> + Clone {
    select(vec![3_000, 15_000, 3_600_000, 3_600_000, 3_600_000]).prop_map(Duration::from_millis)
}

/// What an attempt spends.
fn tokens() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![2 => Just(0), 1 => 1..4_u64]
}

fn pick() -> impl Strategy<Value = Pick> + Clone {
    (any::<u8>(), prop::bool::weighted(0.85)).prop_map(|(number, sensible)| Pick { number, sensible })
}

fn mostly() -> impl Strategy<Value = bool> + Clone {
    prop::bool::weighted(0.85)
}

fn kind() -> impl Strategy<Value = Kind> + Clone {
    prop_oneof![
        8 => Just(Kind::Queue),
        1 => span().prop_map(Kind::Wait),
        1 => Just(Kind::Human),
        3 => life().prop_map(Kind::Child),
        1 => (0..6_u8).prop_map(Kind::Taken),
        1 => any::<bool>().prop_map(|well| Kind::Settled { well }),
    ]
}

fn wish() -> impl Strategy<Value = Wish> + Clone {
    (kind(), life(), life(), span(), 1..4_u32, any::<bool>()).prop_map(
        |(kind, timeout, queue_timeout, grace, max_crashes, fails_run)| Wish {
            kind,
            timeout,
            queue_timeout,
            grace,
            max_crashes,
            fails_run,
        },
    )
}

/// One of a worker or a child run: what groups are for.
fn grouped() -> impl Strategy<Value = Wish> + Clone {
    let kind = prop_oneof![2 => Just(Kind::Queue), 1 => life().prop_map(Kind::Child)];
    (wish(), kind).prop_map(|(wish, kind)| Wish { kind, ..wish })
}

fn together() -> impl Strategy<Value = Together> + Clone {
    (1..4_usize, prop::option::of(1..3_u32), prop::option::of(0..2_u32))
        .prop_map(|(at_once, need, may_fail)| Together { at_once, need, may_fail })
}

fn next() -> impl Strategy<Value = Next> + Clone {
    prop_oneof![
        10 => (prop::collection::vec(wish(), 1..4), prop::option::weighted(0.3, together()))
            .prop_map(|(wishes, together)| Next::Step(wishes, together)),
        4 => (prop::collection::vec(grouped(), 2..6), together().prop_map(Some))
            .prop_map(|(wishes, together)| Next::Step(wishes, together)),
        2 => Just(Next::Pause),
        2 => Just(Next::Succeed),
        1 => prop::option::of(select(vec![Cause::Loop, Cause::Budget])).prop_map(|order| Next::Fail { order }),
    ]
}

fn calls_about_runs() -> impl Strategy<Value = Operation> {
    let strategy = select(vec![OnConflict::Reject, OnConflict::Enqueue, OnConflict::Interrupt, OnConflict::Rollback]);
    let create = (0..6_u8, 0..2_u8, strategy, life(), prop::bool::weighted(0.2));
    let stop = (0..12_u8, select(Cause::ALL.to_vec()), prop::option::of(span()), prop::bool::weighted(0.3));
    prop_oneof![
        4 => create.prop_map(|(run, thread, on_conflict, run_timeout, from)| {
            Operation::Create { run, thread, on_conflict, run_timeout, from }
        }),
        2 => stop.prop_map(|(run, cause, grace, force)| Operation::Stop { run, cause, grace, force }),
        1 => (0..12_u8).prop_map(|run| Operation::Shed { run }),
        3 => (0..2_u8, 1..4_usize, span())
            .prop_map(|(thread, limit, hold)| Operation::TakeReady { thread, limit, hold }),
        2 => (pick(), mostly(), span(), any::<bool>())
            .prop_map(|(run, right, hold, given_back)| Operation::HoldReady { run, right, hold, given_back }),
        10 => (pick(), mostly(), any::<bool>(), next())
            .prop_map(|(run, right, checkpoint, then)| Operation::Advance { run, right, checkpoint, then }),
        2 => (pick(), select(vec![
                Answers::All { well: true }, Answers::All { well: true }, Answers::All { well: false },
                Answers::OneMissing, Answers::OneTooMany
            ]))
            .prop_map(|(run, answers)| Operation::Resume { run, answers }),
        2 => (pick(), any::<bool>(), any::<bool>(), prop::option::of(span()), prop::bool::weighted(0.3))
            .prop_map(|(task, alone, skip, grace, force)| Operation::StopTasks { task, alone, skip, grace, force }),
        1 => pick().prop_map(|run| Operation::Emit { run }),
    ]
}

fn calls_about_tasks() -> impl Strategy<Value = Operation> {
    let verdict = prop_oneof![
        3 => mostly().prop_map(|well| Judgement::Done { well }),
        1 => span().prop_map(|after| Judgement::Retry { after }),
        1 => span().prop_map(|after| Judgement::PutOff { after }),
    ];
    let letting = prop_oneof![
        3 => mostly().prop_map(|confirmed| Letting::Stopped { confirmed }),
        2 => Just(Letting::HandedBack),
    ];
    let takeover = prop_oneof![2 => Just(None), 1 => span().prop_map(Some)];
    prop_oneof![
        8 => (pick(), 0..3_u8, span(), takeover, any::<bool>()).prop_map(
            |(task, worker, ttl, takeover_after, alone)| Operation::Claim { task, worker, ttl, takeover_after, alone },
        ),
        2 => (prop::collection::vec((pick(), mostly()), 0..3), span(), tokens())
            .prop_map(|(tasks, ttl, tokens)| Operation::Renew { tasks, ttl, tokens }),
        6 => (pick(), mostly(), verdict, tokens())
            .prop_map(|(task, right, verdict, tokens)| Operation::Settle { task, right, verdict, tokens }),
        4 => (pick(), mostly(), letting, tokens())
            .prop_map(|(task, right, how, tokens)| Operation::Release { task, right, how, tokens }),
        1 => (prop::collection::vec(pick(), 0..3), span())
            .prop_map(|(tasks, resend_after)| Operation::MarkSent { tasks, resend_after }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let ahead = prop_oneof![4 => Just(Duration::ZERO), 1 => span()];
    prop_oneof![
        20 => calls_about_runs(),
        22 => calls_about_tasks(),
        4 => (0..2_u8, span(), ahead)
            .prop_map(|(thread, resend_after, ahead)| Operation::Sweep { thread, resend_after, ahead }),
        4 => span().prop_map(Operation::Pass),
        4 => (0..8_u8).prop_map(Operation::Repeat),
    ]
}

/// A client's life.
pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..80)
}
