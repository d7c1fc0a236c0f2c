//! Fits an operation to what is there: makes a call of it, with ids, fences and revisions that the model knows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::Call;
use super::operation::{Answers, Judgement, Kind, Letting, Next, Operation, Pick, Together, Wish};
use super::state::{Model, RunState};
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Source, Values};
use crate::id::{
    ChannelName, Fence, NodeName, Nonce, PoolName, Revision, RunId, RunKey, Step, TaskId, TaskKey, ThreadId, WorkerId,
};
use crate::outcome::{Failure, FailureKind, Outcome, Writes};
use crate::plan::Then;
use crate::priority::Priority;
use crate::rounds::Rounds;
use crate::run::RunStatus;
use crate::spend::{Budget, Spend};
use crate::stop::{Cause, NewOrder, StopProof};
use crate::store::conformance::make;
use crate::store::{
    Advance, Claim, Held, NewEvent, NewRun, Parent, Release, Renewal, Resume, RunSpec, Settle, Start, StopTasks,
    SweepLimits, Taken, Verdict,
};
use crate::task::{Dispatch, Group, NewTask, TaskState};

/// A revision that no run of a walk reaches.
const NEVER: u64 = 1_000_000;
/// How deep children have children.
const DEPTH_MAX: u32 = 2;

/// Makes calls; counts, so that no two nonces are the same.
#[derive(Debug, Default)]
pub(super) struct Fitter {
    count: u64,
}

impl Fitter {
    /// The call that an operation comes to; none where there is nothing to do it to.
    pub(super) fn fit(&mut self, operation: Operation, model: &Model) -> Option<Call> {
        Some(match operation {
            Operation::Create { run, thread, on_conflict, run_timeout, from } => {
                let priority = Priority::ALL[usize::from(run) % Priority::ALL.len()];
                let spec = RunSpec { start: start(from, model), budget: budget(run), priority, ..RunSpec::default() };
                let new = make::run_on(&format!("r{run}"), thread_id(thread).as_str(), on_conflict);
                Call::Create(unless_reserved(NewRun { run_timeout, spec, ..new }, model)?)
            }
            Operation::Stop { run, cause, grace, force } => {
                let reason = force.then(|| "now".to_owned());
                let order = NewOrder { cause, reason, actor: "ann@host".to_owned(), grace, force };
                Call::Stop(any_run(run, model), order)
            }
            Operation::Shed { run } => shed(&any_run(run, model), model),
            Operation::StopTasks { task, alone, skip, grace, force } => {
                let (TaskKey { run, task }, _) = pick_task(task, model, TaskState::Leased)?;
                let reason = alone.then(|| "not needed".to_owned());
                let order = NewOrder { cause: Cause::Cancelled, reason, actor: "ann@host".to_owned(), grace, force };
                let items = if alone { vec![task.item] } else { Vec::new() };
                Call::StopTasks(StopTasks { run: run.id, node: task.node, items, skip, order })
            }
            Operation::TakeReady { thread, limit, hold } => {
                Call::TakeReady(model.partition_of(&thread_id(thread)), limit, hold)
            }
            Operation::HoldReady { run, right, hold, given_back } => {
                let run = pick_run(run, model, |run| run.ready_at.is_some())?;
                hold_ready(run, model, right, hold, given_back)
            }
            Operation::Advance { run, right, checkpoint, then } => {
                self.advance(pick_run(run, model, |run| run.ready_at.is_some())?, right, checkpoint, then)
            }
            Operation::Claim { task, worker, ttl, takeover_after, alone } => {
                let wanted = if takeover_after.is_some() { TaskState::Leased } else { TaskState::Queued };
                let (task, _) = pick_task(task, model, wanted)?;
                let worker = WorkerId::new(format!("w{worker}")).expect("a name");
                Call::Claim(Claim { task, worker, nonce: self.nonce(), ttl, takeover_after, alone })
            }
            Operation::Renew { tasks, ttl, tokens } => {
                let leases = tasks.into_iter().filter_map(|(pick, right)| leased(pick, right, model));
                Call::Renew(leases.map(|(task, fence)| Renewal { task, fence, ttl, spent: spend(tokens) }).collect())
            }
            Operation::Settle { task, right, verdict, tokens } => {
                let (task, fence) = leased(task, right, model)?;
                Call::Settle(Settle { task, fence, verdict: judge(verdict), spent: spend(tokens) })
            }
            Operation::Release { task, right, how, tokens } => {
                let (task, fence) = leased(task, right, model)?;
                Call::Release(task, fence, let_go(how, tokens))
            }
            Operation::MarkSent { tasks, resend_after } => {
                let tasks = tasks.into_iter().filter_map(|pick| pick_task(pick, model, TaskState::Queued));
                Call::MarkSent(tasks.map(|(task, _)| task).collect(), resend_after)
            }
            Operation::Sweep { thread, resend_after, ahead } => {
                let limits = SweepLimits { tasks: 1_000, runs: 1_000, resend_after, ahead };
                Call::Sweep(model.partition_of(&thread_id(thread)), limits)
            }
            Operation::Resume { run, answers } => {
                let run = pick_run(run, model, |run| run.shown.status == RunStatus::Interrupted)?;
                Call::Resume(self.resume(run, answers))
            }
            Operation::Emit { run } => {
                let run = pick_run(run, model, |run| run.shown.status == RunStatus::Running)?;
                let task = TaskId { step: run.shown.step, node: NodeName::new("n0").expect("a name"), item: 0 };
                let event = NewEvent { task, kind: "progress".to_owned(), value: self.count.into() };
                Call::Emit(run.shown.key.clone(), vec![event])
            }
            Operation::Pass(_) | Operation::Repeat(_) => return None,
        })
    }

    fn nonce(&mut self) -> Nonce {
        self.count += 1;
        Nonce::new(format!("nonce-{}", self.count)).expect("a name")
    }

    fn advance(&mut self, run: &RunState, right: bool, with_checkpoint: bool, then: Next) -> Call {
        let revision = run.shown.revision;
        // A wrong one is past, or never comes: nobody plans for a revision before it is there, and one that came later
        // would make this plan's step a second time when the call is repeated.
        let wrong = revision.get().checked_sub(1).unwrap_or(NEVER);
        let expected = if right { revision } else { Revision::new(wrong) };
        let step = run.shown.step;
        let next = step.next();
        let then = match then {
            Next::Step(wishes, together) => {
                let tasks = wishes.iter().enumerate().map(|(place, wish)| new_task(run, next, place, wish));
                let mut tasks: Vec<_> = tasks.collect();
                let groups = together.and_then(|together| put_together(&mut tasks, together)).into_iter().collect();
                Then::Step { step: next, tasks, groups }
            }
            // A pause within the step if its humans have not answered, else before the next one.
            Next::Pause if run.current().any(|task| task.shown.state == TaskState::Human) => Then::Pause { step },
            Next::Pause => Then::Pause { step: next },
            Next::Succeed => Then::Succeed,
            Next::Fail { order } => {
                let order = order.map(|cause| NewOrder {
                    cause,
                    reason: None,
                    actor: "scheduler".to_owned(),
                    grace: None,
                    force: false,
                });
                Then::Fail { failure: failure(), order }
            }
        };
        let is_new = with_checkpoint && !run.checkpoints.contains_key(&step);
        let (checkpoint, changed) = if is_new { checkpoint(run, step) } else { (None, Values::new()) };
        Call::Advance(Advance { run: run.shown.key.clone(), expected, nonce: self.nonce(), checkpoint, changed, then })
    }

    fn resume(&mut self, run: &RunState, answers: Answers) -> Resume {
        let outcome = match answers {
            Answers::All { well: false } => Outcome::Failed { failure: failure() },
            Answers::All { well: true } | Answers::OneMissing | Answers::OneTooMany => Outcome::wrote(Writes::new()),
        };
        let humans = run.current().filter(|task| task.shown.state == TaskState::Human);
        let mut all: BTreeMap<TaskId, Outcome> = humans.map(|task| (task.shown.id.clone(), outcome.clone())).collect();
        match answers {
            Answers::All { .. } => {}
            Answers::OneMissing => {
                all.pop_first();
            }
            Answers::OneTooMany => {
                all.insert("99:none:0".parse().expect("a task id"), outcome);
            }
        }
        let (run, nonce) = (run.shown.key.clone(), self.nonce());
        Resume { run, nonce, answers: all, actor: "ann@host".to_owned(), reason: None }
    }
}

fn thread_id(number: u8) -> ThreadId {
    ThreadId::new(format!("t{number}")).expect("a name")
}

/// The newest checkpoint of any run, to go on from.
fn start(from: bool, model: &Model) -> Start {
    let checkpoints =
        model.runs.values().filter_map(|run| Some((run.shown.key.id.clone(), run.last_checkpoint()?.step)));
    match checkpoints.max().filter(|_| from) {
        Some((run, step)) => Start::From { run, step, update: Values::new() },
        None => Start::Fresh,
    }
}

/// A run that was made, or one that may be made later.
fn any_run(number: u8, model: &Model) -> RunId {
    let made = model.runs.keys().nth(number.into()).cloned();
    made.unwrap_or_else(|| RunId::new(format!("r{}", number % 6)).expect("a name"))
}

fn pick_run(pick: Pick, model: &Model, is_sensible: impl Fn(&RunState) -> bool) -> Option<&RunState> {
    let sensible: Vec<_> = model.runs.values().filter(|run| pick.sensible && is_sensible(run)).collect();
    let choice = if sensible.is_empty() { model.runs.values().collect() } else { sensible };
    choice.get(usize::from(pick.number).checked_rem(choice.len())?).copied()
}

/// A task in this state, or any; with the fence of its last lease.
fn pick_task(pick: Pick, model: &Model, state: TaskState) -> Option<(TaskKey, Fence)> {
    let all = || {
        model.runs.values().flat_map(|run| {
            run.tasks.values().map(move |task| {
                let key = TaskKey { run: run.shown.key.clone(), task: task.shown.id.clone() };
                (key, task.shown.fence, task.shown.state)
            })
        })
    };
    let sensible: Vec<_> = all().filter(|task| pick.sensible && task.2 == state).collect();
    let choice = if sensible.is_empty() { all().collect() } else { sensible };
    let (key, fence, _) = choice.get(usize::from(pick.number).checked_rem(choice.len())?).cloned()?;
    Some((key, fence))
}

/// A leased task with its fence, or with another one.
fn leased(pick: Pick, right: bool, model: &Model) -> Option<(TaskKey, Fence)> {
    let (task, fence) = pick_task(pick, model, TaskState::Leased)?;
    let wrong = if pick.number.is_multiple_of(2) { fence.next() } else { Fence::new(fence.get().saturating_sub(1)) };
    Some((task, if right { fence } else { wrong }))
}

fn judge(verdict: Judgement) -> Verdict {
    match verdict {
        Judgement::Done { well: true } => Verdict::Done(Outcome::wrote(Writes::new())),
        Judgement::Done { well: false } => Verdict::Done(Outcome::Failed { failure: failure() }),
        Judgement::Retry { after } => Verdict::Retry { failure: failure(), after },
        Judgement::PutOff { after } => Verdict::PutOff { failure: failure(), after },
    }
}

fn spend(tokens: u64) -> Spend {
    Spend { output_tokens: tokens, ..Spend::default() }
}

/// What a run may spend: some have a budget that is soon used up.
fn budget(number: u8) -> Budget {
    Budget { tokens: (number % 3 == 2).then_some(3), descendants: (number % 3 == 1).then_some(3), ..Budget::default() }
}

fn let_go(how: Letting, tokens: u64) -> Release {
    match how {
        Letting::Stopped { confirmed } => Release::Stopped(StopProof {
            confirmed,
            partial: Some("half".into()),
            spent: spend(tokens),
            ..StopProof::default()
        }),
        Letting::HandedBack => Release::HandedBack(spend(tokens)),
    }
}

fn failure() -> Failure {
    Failure::new(FailureKind::Handler, "it broke")
}

/// The checkpoint of a step: `x` changes with each, `y` with the first alone.
fn checkpoint(run: &RunState, step: Step) -> (Option<Checkpoint>, Values) {
    let channel = |name| ChannelName::new(name).expect("a name");
    let mut versions = run.last_checkpoint().map(|last| last.versions.clone()).unwrap_or_default();
    let mut changed = Values::from([(channel("x"), step.get().into())]);
    if versions.is_empty() {
        changed.insert(channel("y"), "first".into());
    }
    versions.extend(changed.keys().map(|channel| (channel.clone(), step)));
    let checkpoint = Checkpoint {
        format: CHECKPOINT_FORMAT,
        step,
        source: Source::Step,
        versions,
        ran: Vec::new(),
        next: Vec::new(),
        joins: BTreeMap::new(),
        node_runs: step.get(),
        rounds: Rounds::default(),
    };
    (Some(checkpoint), changed)
}

fn shed(id: &RunId, model: &Model) -> Call {
    let nowhere = RunKey { partition: crate::id::Partition::new(0), id: id.clone() };
    let key = model.runs.get(id).map_or(nowhere, |run| run.shown.key.clone());
    let reason = Some("9 tasks wait".to_owned());
    let (actor, cause) = ("scheduler 1".to_owned(), Cause::Overload);
    Call::Shed(key, NewOrder { cause, reason, actor, grace: None, force: false })
}

/// Makes the tasks of workers and of child runs items of one node, and a group.
fn put_together(tasks: &mut [NewTask], together: Together) -> Option<Group> {
    let node = NodeName::new("g").expect("a name");
    let mut count = 0;
    for task in tasks.iter_mut() {
        let id = TaskId { node: node.clone(), item: count, ..task.id.clone() };
        let is_pending = count as usize >= together.at_once;
        task.dispatch = match task.dispatch.clone() {
            Dispatch::Queue { pool, priority } if is_pending => Dispatch::Pending { pool, priority },
            queued @ Dispatch::Queue { .. } => queued,
            Dispatch::Child { run } => {
                let parent = run.parent.clone().map(|parent| Parent { task: id.clone(), ..parent });
                let run = Box::new(NewRun { parent, ..*run });
                if is_pending { Dispatch::PendingChild { run } } else { Dispatch::Child { run } }
            }
            _ => continue,
        };
        task.id = id;
        task.group = Some(0);
        count += 1;
    }
    let Together { need, may_fail, .. } = together;
    (count > 0).then_some(Group { node, first: 0, count, need, may_fail })
}

fn new_task(run: &RunState, step: Step, place: usize, wish: &Wish) -> NewTask {
    let id = TaskId { step, node: NodeName::new(format!("n{place}")).expect("a name"), item: 0 };
    let depth = run.new.parent.as_ref().map_or(0, |parent| parent.depth);
    let child = |name: String, run_timeout| {
        let parent = Parent { run: run.shown.key.id.clone(), task: id.clone(), depth: depth + 1 };
        let made = make::run(&name);
        let budget = budget(u8::try_from(step.get() % 3).unwrap_or(0));
        let spec = RunSpec { budget, priority: run.new.spec.priority, ..made.spec.clone() };
        Dispatch::Child { run: Box::new(NewRun { run_timeout, parent: Some(parent), spec, ..made }) }
    };
    let own_child = || format!("{}-{step}-{place}", run.shown.key.id);
    let dispatch = match wish.kind {
        Kind::Child(run_timeout) if depth < DEPTH_MAX => child(own_child(), run_timeout),
        Kind::Taken(number) if depth < DEPTH_MAX => child(format!("r{number}"), Duration::from_hours(1)),
        Kind::Queue | Kind::Child(_) | Kind::Taken(_) => {
            Dispatch::Queue { pool: PoolName::standard(), priority: run.new.spec.priority }
        }
        Kind::Wait(length) => Dispatch::Wait { length },
        Kind::Human => Dispatch::Human { payload: "well?".into() },
        Kind::Settled { well: true } => Dispatch::Settled { outcome: Outcome::wrote(Writes::new()) },
        Kind::Settled { well: false } => Dispatch::Settled { outcome: Outcome::Failed { failure: failure() } },
    };
    NewTask {
        id,
        dispatch,
        timeout: wish.timeout,
        queue_timeout: wish.queue_timeout,
        attempt_timeout: Duration::from_secs(1),
        grace: wish.grace,
        max_crashes: wish.max_crashes,
        fails_run: wish.fails_run,
        item: None,
        group: None,
        reads: wish.fails_run.then(|| vec![ChannelName::new("x").expect("a name")]),
    }
}

/// A run, unless a child run of its id has waited for its turn in another partition. Redis keeps the id for that one, and
/// refuses others as unavailable; `tests/tests/store_redis/reserved.rs` holds that.
fn unless_reserved(new: NewRun, model: &Model) -> Option<NewRun> {
    let partition = model.partition_of(&new.thread);
    let others = model.runs.values().filter(|run| run.shown.key.partition != partition);
    let is_reserved = others.flat_map(|run| run.tasks.values()).any(|task| match &task.new.dispatch {
        Dispatch::PendingChild { run } => run.id == new.id,
        Dispatch::Queue { .. }
        | Dispatch::Pending { .. }
        | Dispatch::Wait { .. }
        | Dispatch::Human { .. }
        | Dispatch::Child { .. }
        | Dispatch::Settled { .. } => false,
    });
    (!is_reserved).then_some(new)
}

/// A call that hides a run for longer, as who has it would say, or as who had it before its last change.
fn hold_ready(run: &RunState, model: &Model, right: bool, hold: Duration, given_back: bool) -> Call {
    let revision = run.shown.revision.get() + u64::from(!right);
    let taken = Taken { run: run.shown.key.id.clone(), revision: Revision::new(revision) };
    let state = if given_back { Held::GivenBack } else { Held::InWork };
    Call::HoldReady(model.partition_of(&run.shown.thread), vec![taken], hold, state)
}

/// The address of a run, for reads.
pub(super) fn keys(model: &Model) -> Vec<RunKey> {
    model.runs.values().map(|run| run.shown.key.clone()).collect()
}
