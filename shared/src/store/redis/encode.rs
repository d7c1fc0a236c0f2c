//! What is written: runs to be made, orders and tasks as the scripts take them. Opaque parts go as JSON, untouched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::id::{RunId, TaskId, ThreadId};
use crate::outcome::Outcome;
use crate::spend::{Budget, Cost, Spend};
use crate::stop::NewOrder;
use crate::store::{NewRun, Start, StopTasks};
use crate::task::{Dispatch, Group, NewTask};
use crate::time::{Timestamp, millis};

/// Longer durations are cut to this, so that a time plus a duration stays exact in a script: ten years.
const DURATION_MAX: Duration = Duration::from_hours(10 * 366 * 24);

/// How many tasks one chunk of a step has.
pub(super) const CHUNK: usize = 500;

/// A duration as the scripts take it.
pub(super) fn ms(duration: Duration) -> i64 {
    millis(duration.min(DURATION_MAX))
}

/// A value as JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("records with text keys are always JSON")
}

/// A run to be made: one line for each field that scripts read, the rest as JSON in the last.
pub(super) fn new_run(run: &NewRun) -> String {
    let base = match &run.spec.start {
        Start::Fresh => String::new(),
        Start::From { run, step, .. } => format!("{run}|{step}"),
    };
    let parent = run
        .parent
        .as_ref()
        .map_or_else(String::new, |parent| format!("{}|{}|{}", parent.run, parent.task, parent.depth));
    let NewRun { id, thread, graph, graph_hash, run_timeout, spec, .. } = run;
    let priority = if spec.priority.is_normal() { String::new() } else { format!("+{}", spec.priority) };
    format!(
        "{id}\n{thread}\n{graph}\n{graph_hash}\n{}{priority}{}\n{base}\n{parent}\n{}",
        ms(*run_timeout),
        budget(&spec.budget),
        json(spec)
    )
}

/// What a run may spend as `lua/spend.lua` has it, after a bar; empty where nothing is limited.
fn budget(budget: &Budget) -> String {
    if budget.is_unlimited() {
        return String::new();
    }
    let show = |most: Option<u64>| most.map_or_else(String::new, |most| most.to_string());
    let cost = budget.cost.map(Cost::micros);
    let (tokens, calls, descendants) = (budget.tokens, budget.tool_calls, budget.descendants);
    format!("|{}|{}|{}|{}", show(tokens), show(cost), show(calls), show(descendants))
}

/// What was spent as `lua/spend.lua` has it; empty if it is nothing.
pub(super) fn spent(spend: &Spend) -> String {
    if spend.is_nothing() {
        return String::new();
    }
    format!("{}|{}|{}|{}", spend.input_tokens, spend.output_tokens, spend.cost.micros(), spend.tool_calls)
}

/// An order as arguments: cause, grace, force, actor, has-reason, reason, JSON.
pub(super) fn order(order: &NewOrder) -> [String; 7] {
    [
        order.cause.name().to_owned(),
        grace(order),
        flag(order.force).to_owned(),
        order.actor.clone(),
        flag(order.reason.is_some()).to_owned(),
        order.reason.clone().unwrap_or_default(),
        json(order),
    ]
}

/// What the outcome of a task that an order stops alone has beside its kind.
pub(super) fn ending(stop: &StopTasks) -> String {
    let outcome = Outcome::Stopped { partial: None, skipped: stop.skip, why: Some(stop.order.by()) };
    let text = json(&outcome);
    let plain = json(&Outcome::stopped(None));
    // Both begin with their kind.
    text.strip_prefix(&plain[..plain.len() - 1]).and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().to_owned()
}

/// An order's grace in ms; empty where each task's own holds.
pub(super) fn grace(order: &NewOrder) -> String {
    order.grace.map_or_else(String::new, |grace| ms(grace).to_string())
}

/// A truth value as scripts take it.
pub(super) const fn flag(is: bool) -> &'static str {
    if is { "1" } else { "0" }
}

/// Up to [`CHUNK`] tasks of a step, as fields and values of the step's hash.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Fields and values in turn.
    pub(super) fields: Vec<(String, String)>,
    /// Bytes of all values.
    pub(super) bytes: usize,
}

/// What the locators said of the children of a step, by their tasks.
pub(super) type Children = BTreeMap<TaskId, Child>;

/// What a locator said of a child run that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) run: RunId,
    pub(super) thread: ThreadId,
    /// When it was asked; absent if another run has the child's id.
    pub(super) asked: Option<Timestamp>,
    /// An order that came before the child, as the locator has it; empty if none did.
    pub(super) early: String,
}

/// The tasks of a step in chunks, ordered by node and item. A chunk's list of names is its last field: where it is,
/// the whole chunk is.
pub(super) fn chunks(tasks: &[NewTask], children: &Children) -> Vec<Chunk> {
    let mut ordered: Vec<&NewTask> = tasks.iter().collect();
    ordered.sort_by(|a, b| a.id.cmp(&b.id));
    ordered.chunks(CHUNK).enumerate().map(|(index, tasks)| chunk(index, tasks, children)).collect()
}

fn chunk(index: usize, tasks: &[&NewTask], children: &Children) -> Chunk {
    let mut chunk = Chunk::default();
    let (mut names, mut policies) = (String::new(), String::new());
    for task in tasks {
        let name = format!("{}:{}", task.id.node, task.id.item);
        let policy = policy(task);
        let _ = writeln!(names, "{name}");
        let _ = writeln!(policies, "{policy}");
        chunk.add(name.clone(), record(task));
        chunk.add(format!("{name}|p"), policy);
        match &task.dispatch {
            Dispatch::Queue { .. } | Dispatch::Pending { .. } => {
                chunk.add(format!("{name}|d"), json(task));
                if let Some(reads) = &task.reads {
                    let reads: Vec<_> = reads.iter().map(crate::id::ChannelName::as_str).collect();
                    chunk.add(format!("{name}|r"), reads.join(" "));
                }
            }
            Dispatch::Wait { .. } => {}
            Dispatch::Human { payload } => chunk.add(format!("{name}|h"), json(payload)),
            Dispatch::Child { run } | Dispatch::PendingChild { run } => {
                chunk.add(format!("{name}|c"), new_run(run));
                if let Some(child) = children.get(&task.id) {
                    let early = if child.asked.is_some() { child.early.as_str() } else { "taken" };
                    chunk.add(format!("{name}|e"), early.to_owned());
                }
            }
            Dispatch::Settled { outcome } => chunk.add(format!("{name}|o"), json::<Outcome>(outcome)),
        }
    }
    // First, where the script finds them without looking.
    let lists = [(format!("#{index}"), names), (format!("#{index}p"), policies)];
    chunk.bytes += lists.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>();
    chunk.fields.splice(0..0, lists);
    chunk
}

impl Chunk {
    fn add(&mut self, field: String, value: String) {
        self.bytes += field.len() + value.len();
        self.fields.push((field, value));
    }
}

/// A new task's record; see `lua/base.lua`.
fn record(task: &NewTask) -> String {
    let state = match &task.dispatch {
        Dispatch::Queue { .. } => "queued",
        Dispatch::Pending { .. } | Dispatch::PendingChild { .. } => "pending",
        Dispatch::Wait { .. } => "waiting",
        Dispatch::Human { .. } => "human",
        Dispatch::Child { .. } => "child",
        Dispatch::Settled { .. } => "settled",
    };
    format!("{state}|0|0|0|||0|0|0|0|0|0|0|0|0|")
}

/// What of a task never changes and the scripts need.
fn policy(task: &NewTask) -> String {
    let (dispatch, length) = match &task.dispatch {
        Dispatch::Queue { .. } => ("queue", Duration::ZERO),
        Dispatch::Pending { .. } => ("pending", Duration::ZERO),
        Dispatch::Wait { length } => ("wait", *length),
        Dispatch::Human { .. } => ("human", Duration::ZERO),
        Dispatch::Child { .. } => ("child", Duration::ZERO),
        Dispatch::PendingChild { .. } => ("pendingchild", Duration::ZERO),
        Dispatch::Settled { .. } => ("settled", Duration::ZERO),
    };
    let lane = task.dispatch.lane().map_or_else(String::new, |lane| lane.to_string());
    format!(
        "{dispatch}|{lane}|{}|{}|{}|{}|{}|{}{}",
        ms(task.timeout),
        ms(task.queue_timeout),
        ms(task.grace),
        task.max_crashes,
        flag(task.fails_run),
        ms(length),
        task.group.map_or_else(String::new, |group| format!("|{group}"))
    )
}

/// The groups of a step as `lua/scope.lua` has them.
pub(super) fn groups(groups: &[Group], tasks: &[NewTask]) -> Vec<String> {
    let mut following = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.dispatch.is_pending()) {
        let first = following.entry(task.group).or_insert(task.id.item);
        *first = task.id.item.min(*first);
    }
    let show = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let text = |(place, group): (usize, &Group)| {
        let end = group.first.saturating_add(group.count);
        let place = u32::try_from(place).ok();
        let following = following.get(&place).copied().unwrap_or(end);
        let Group { node, first, need, may_fail, .. } = group;
        format!("{node}|{first}|{end}|{following}|{}|{}", show(*need), show(*may_fail))
    };
    groups.iter().enumerate().map(text).collect()
}
