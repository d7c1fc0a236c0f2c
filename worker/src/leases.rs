//! The leases that this worker holds right now: what a heartbeat renews, and what a stop order reaches.
//!
//! A claim that is under way when its run is stopped is not in the table yet: what is pushed meanwhile is kept for it, and
//! forgotten with it. An order is believed only for the run that it was given to: one of the same id that was made at
//! another time, such as in another database of the same server, is another run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::id::{Fence, RunId, TaskId, TaskKey};
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::{EndReason, StopReport};
use coxswain_shared::store::{Lease, Renewal, Renewed};
use coxswain_shared::time::Timestamp;
use tokio::time::Instant;

use crate::attempt::{Meter, Switch};

/// Stop orders that are kept for one claim under way. What is pushed beyond is told by the next heartbeat.
const ORDERS_KEPT: usize = 8;

/// Orders of heartbeats that wait for their push; of more of them it is not told whether a push came.
const UNPUSHED_KEPT: usize = 256;

/// The table of leases. Shared by the attempts, the heartbeat and the listener for pushes.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<(TaskKey, Fence), Held>,
    claims: HashMap<u64, UnderWay>,
    last_claim: u64,
    /// Set once the worker shuts down: whether at once. A claim may be answered later than that.
    shutdown: Option<bool>,
    /// Orders that a heartbeat brought, and that no push has told yet: one may be on its way.
    unpushed: VecDeque<(TaskKey, Timestamp, Instant)>,
}

/// An order that was pushed: to a whole run, or to some tasks of it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) run: RunId,
    /// When that run was made.
    pub(crate) made_at: Timestamp,
    pub(crate) tasks: Option<Vec<TaskId>>,
    pub(crate) report: Box<StopReport>,
}

impl Order {
    fn may_be_to(&self, task: &TaskKey) -> bool {
        self.run == task.run.id && self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&task.task))
    }

    fn is_to(&self, task: &TaskKey, made_at: Timestamp) -> bool {
        self.may_be_to(task) && self.made_at == made_at
    }
}

/// A claim that the store has not answered yet, and what was pushed since it was sent.
#[derive(Debug)]
struct UnderWay {
    task: TaskKey,
    orders: Vec<Order>,
}

#[derive(Debug)]
struct Held {
    run_made_at: Timestamp,
    switch: Switch,
    renewed: Instant,
    meter: Meter,
    /// What the store has heard that the attempt has spent.
    told: Spend,
    /// Its end is being written: that the store knows the lease no more says nothing until that is answered.
    is_closing: bool,
}

/// A lease that was lost while its attempt ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) task: TaskKey,
    pub(crate) fence: Fence,
    pub(crate) cause: LossCause,
}

/// How the loss of a lease was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossCause {
    /// A heartbeat was answered so: it ran out, or another worker has the task.
    Refused,
    /// No heartbeat was answered for as long as it lives.
    Silence,
    /// What became of the attempt was refused as that of an earlier one.
    Stale,
}

impl LossCause {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Refused => "the store answered a heartbeat that it ran out, or that another worker has the task",
            Self::Silence => "no heartbeat was answered for as long as it lives",
            Self::Stale => "the attempt's end was refused: the lease had run out, or another worker has the task",
        }
    }
}

/// What the answers to a heartbeat brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Leases that were lost.
    pub(crate) lost: Vec<Lost>,
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while it holds the table of leases")
    }

    /// Notes that a claim is about to be sent: what is pushed from now on is kept for its lease.
    pub(crate) fn begin_claim(self: &Arc<Self>, task: TaskKey) -> Claiming {
        let mut table = self.table();
        table.last_claim += 1;
        let number = table.last_claim;
        table.claims.insert(number, UnderWay { task: task.clone(), orders: Vec::new() });
        drop(table);
        Claiming { leases: Arc::clone(self), number, task, sent: Instant::now() }
    }

    /// Enters the lease that a claim was answered. The guard takes it out again.
    pub(crate) fn hold(self: &Arc<Self>, claim: &Claiming, lease: &Lease, switch: Switch) -> Hold {
        let (task, fence, run_made_at) = (claim.task.clone(), lease.fence, lease.run_made_at);
        let mut table = self.table();
        // One to the task alone may be followed by one to its run.
        let pushed = table.claims.get(&claim.number).map_or(&[][..], |under_way| under_way.orders.as_slice());
        for order in pushed.iter().filter(|order| order.is_to(&task, run_made_at)) {
            switch.give_order(&order.report);
        }
        if let Some(at_once) = table.shutdown {
            switch.give(EndReason::Shutdown, at_once);
        }
        let (renewed, meter, told) = (claim.sent, Meter::default(), Spend::default());
        let held = Held { run_made_at, switch, renewed, meter: meter.clone(), told, is_closing: false };
        table.held.insert((task.clone(), fence), held);
        drop(table);
        Hold { leases: Arc::clone(self), key: (task, fence), meter }
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.table().held.len()
    }

    /// Whether this one is held.
    pub(crate) fn holds(&self, task: &TaskKey, fence: Fence) -> bool {
        self.table().held.contains_key(&(task.clone(), fence))
    }

    /// What a heartbeat is to renew: all of them. It tells what those have spent that have spent more.
    pub(crate) fn renewals(&self, ttl: Duration) -> Vec<Renewal> {
        let renewal = |((task, fence), held): (&(TaskKey, Fence), &Held)| {
            let spent = Some(held.meter.read()).filter(|spent| *spent != held.told).unwrap_or_default();
            Renewal { task: task.clone(), fence: *fence, ttl, spent }
        };
        self.table().held.iter().map(renewal).collect()
    }

    /// Takes the answers to a heartbeat that was sent at `sent`. Leases that have closed since are passed over.
    pub(crate) fn answer(&self, renewals: Vec<Renewal>, answers: Vec<Renewed>, sent: Instant) -> Tally {
        let mut table = self.table();
        let table = &mut *table;
        let mut tally = Tally::default();
        for (renewal, answer) in renewals.into_iter().zip(answers) {
            let (task, fence) = (renewal.task, renewal.fence);
            let Some(held) = table.held.get_mut(&(task.clone(), fence)) else { continue };
            if answer != Renewed::Lost && !renewal.spent.is_nothing() {
                held.told = renewal.spent;
            }
            match answer {
                Renewed::Held => held.renewed = sent,
                Renewed::Stop(report) => {
                    held.renewed = sent;
                    let known = held.switch.notice().is_some_and(|n| matches!(n.reason, EndReason::StopOrdered(_)));
                    held.switch.give_order(&report);
                    if !known && table.unpushed.len() < UNPUSHED_KEPT {
                        table.unpushed.push_back((task, held.run_made_at, Instant::now()));
                    }
                }
                // The heartbeat and the end of the attempt have crossed: the end's own answer tells which it is.
                Renewed::Lost if held.is_closing => {}
                Renewed::Lost => {
                    // It stays in the table while its attempt cleans up, and every heartbeat is told the same.
                    if held.switch.lose() {
                        tally.lost.push(Lost { task, fence, cause: LossCause::Refused });
                    }
                }
            }
        }
        tally
    }

    /// How many stop orders a heartbeat has brought `within` or longer ago, and no push has told since. Each is counted once.
    pub(crate) fn never_pushed(&self, within: Duration) -> u64 {
        let unpushed = &mut self.table().unpushed;
        let before = unpushed.len();
        unpushed.retain(|(_, _, brought)| brought.elapsed() < within);
        (before - unpushed.len()) as u64
    }

    /// Ends the attempts at a run, or at some of its tasks, as a push has ordered.
    pub(crate) fn carry_out(&self, order: &Order) {
        let mut table = self.table();
        for ((task, _), held) in &table.held {
            if order.is_to(task, held.run_made_at) {
                held.switch.give_order(&order.report);
            }
        }
        let claims = table.claims.values_mut().filter(|claim| order.may_be_to(&claim.task));
        for claim in claims.filter(|claim| claim.orders.len() < ORDERS_KEPT) {
            claim.orders.push(order.clone());
        }
        table.unpushed.retain(|(task, made_at, _)| !order.is_to(task, *made_at));
    }

    /// Treats leases as lost that were not renewed for `patience`; says which.
    pub(crate) fn expire(&self, now: Instant, patience: Duration) -> Vec<Lost> {
        let mut lost = Vec::new();
        for ((task, fence), held) in &self.table().held {
            if now.saturating_duration_since(held.renewed) >= patience && held.switch.lose() {
                lost.push(Lost { task: task.clone(), fence: *fence, cause: LossCause::Silence });
            }
        }
        lost
    }

    /// Ends all attempts, because the worker is shutting down.
    pub(crate) fn shut_down(&self, at_once: bool) {
        let mut table = self.table();
        table.shutdown = Some(at_once);
        for held in table.held.values() {
            held.switch.give(EndReason::Shutdown, at_once);
        }
    }
}

/// A claim under way, for as long as this lives: with it goes what was pushed meanwhile.
#[derive(Debug)]
pub(crate) struct Claiming {
    leases: Arc<Leases>,
    number: u64,
    task: TaskKey,
    /// When it was sent.
    pub(crate) sent: Instant,
}

impl Drop for Claiming {
    fn drop(&mut self) {
        self.leases.table().claims.remove(&self.number);
    }
}

/// A lease in the table, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    leases: Arc<Leases>,
    key: (TaskKey, Fence),
    meter: Meter,
}

impl Hold {
    /// Notes that the attempt's end is about to be written.
    pub(crate) fn is_closing(&self) {
        if let Some(held) = self.leases.table().held.get_mut(&self.key) {
            held.is_closing = true;
        }
    }

    /// What counts what the attempt spends.
    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.table().held.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
