//! The leases that this worker holds right now: what a heartbeat renews, and what a stop order reaches.
//!
//! It also remembers the last stop orders that were pushed, because a claim that was under way when its run was
//! stopped is not in the table yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::id::{Fence, RunId, TaskId, TaskKey};
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::{EndReason, StopReport};
use coxswain_shared::store::{Renewal, Renewed};
use tokio::time::Instant;

use crate::attempt::{Meter, Switch};

/// Stop orders that are remembered for claims under way. An older one is told by the next heartbeat.
const ORDERS_KEPT: usize = 256;

/// The table of leases. Shared by the attempts, the heartbeat and the listener for pushes.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<(TaskKey, Fence), Held>,
    orders: VecDeque<Order>,
    /// Set once the worker shuts down: whether at once. A claim may be answered later than that.
    shutdown: Option<bool>,
}

/// An order that was pushed: to a whole run, or to some tasks of it.
#[derive(Debug)]
struct Order {
    run: RunId,
    tasks: Option<Vec<TaskId>>,
    report: StopReport,
}

impl Order {
    fn is_to(&self, task: &TaskKey) -> bool {
        self.run == task.run.id && self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&task.task))
    }
}

#[derive(Debug)]
struct Held {
    switch: Switch,
    renewed: Instant,
    meter: Meter,
    /// What the store has heard that the attempt has spent.
    told: Spend,
}

/// What the answers to a heartbeat brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Leases that were lost.
    pub(crate) lost: u64,
    /// Stop orders that no push had told before.
    pub(crate) stops: u64,
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while it holds the table of leases")
    }

    /// Enters a lease; `claimed` is when its claim was sent. The guard takes it out again.
    pub(crate) fn hold(self: &Arc<Self>, task: TaskKey, fence: Fence, switch: Switch, claimed: Instant) -> Hold {
        let mut table = self.table();
        // One to the task alone may be followed by one to its run.
        for order in table.orders.iter().filter(|order| order.is_to(&task)) {
            switch.give_order(&order.report);
        }
        if let Some(at_once) = table.shutdown {
            switch.give(EndReason::Shutdown, at_once);
        }
        let meter = Meter::default();
        let held = Held { switch, renewed: claimed, meter: meter.clone(), told: Spend::default() };
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
        let mut tally = Tally::default();
        for (renewal, answer) in renewals.into_iter().zip(answers) {
            let Some(held) = table.held.get_mut(&(renewal.task, renewal.fence)) else { continue };
            if answer != Renewed::Lost && !renewal.spent.is_nothing() {
                held.told = renewal.spent;
            }
            match answer {
                Renewed::Held => held.renewed = sent,
                Renewed::Stop(report) => {
                    held.renewed = sent;
                    let known = held.switch.notice().is_some_and(|n| matches!(n.reason, EndReason::StopOrdered(_)));
                    tally.stops += u64::from(!known);
                    held.switch.give_order(&report);
                }
                Renewed::Lost => {
                    // It stays in the table while its attempt cleans up, and every heartbeat is told the same.
                    tally.lost += u64::from(held.switch.lose());
                }
            }
        }
        tally
    }

    /// Ends all attempts of a run, as a push has ordered.
    pub(crate) fn stop_run(&self, run: &RunId, report: &StopReport) {
        self.carry_out(Order { run: run.clone(), tasks: None, report: report.clone() });
    }

    /// Ends the attempts at some tasks of a run, as a push has ordered.
    pub(crate) fn stop_tasks(&self, run: &RunId, tasks: &[TaskId], report: &StopReport) {
        self.carry_out(Order { run: run.clone(), tasks: Some(tasks.to_vec()), report: report.clone() });
    }

    fn carry_out(&self, order: Order) {
        let mut table = self.table();
        for ((task, _), held) in &table.held {
            if order.is_to(task) {
                held.switch.give_order(&order.report);
            }
        }
        if table.orders.len() == ORDERS_KEPT {
            table.orders.pop_front();
        }
        table.orders.push_back(order);
    }

    /// Treats leases as lost that were not renewed for `patience`; says how many.
    pub(crate) fn expire(&self, now: Instant, patience: Duration) -> u64 {
        let mut lost = 0;
        for held in self.table().held.values() {
            if now.saturating_duration_since(held.renewed) >= patience {
                lost += u64::from(held.switch.lose());
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

/// A lease in the table, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    leases: Arc<Leases>,
    key: (TaskKey, Fence),
    meter: Meter,
}

impl Hold {
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
mod tests {
    use coxswain_shared::id::{Partition, RunKey};
    use coxswain_shared::stop::{Cause, NewOrder, StopOrder};
    use coxswain_shared::time::Timestamp;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn task(run: &str) -> TaskKey {
        let run = RunKey { partition: Partition::new(0), id: RunId::new(run).unwrap() };
        TaskKey { run, task: "1:work:0".parse().unwrap() }
    }

    fn report() -> StopReport {
        let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace: None, force: false };
        let order = StopOrder { order, at: Timestamp::from_millis(0) };
        StopReport::new(order, 1)
    }

    fn reason(switch: &Switch) -> Option<&'static str> {
        switch.notice().map(|notice| notice.reason.name())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_reaches_all_attempts_of_its_run_and_no_other() {
        let leases = Arc::new(Leases::default());
        let (mine, other) = (Switch::new(), Switch::new());
        let _a = leases.hold(task("r1"), Fence::new(1), mine.clone(), Instant::now());
        let _b = leases.hold(task("r2"), Fence::new(1), other.clone(), Instant::now());
        leases.stop_run(&RunId::new("r1").unwrap(), &report());
        assert_eq!((reason(&mine), reason(&other)), (Some("stop_ordered"), None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_to_one_task_leaves_the_others_of_its_run_alone() {
        let leases = Arc::new(Leases::default());
        let other = |item| TaskKey { task: format!("1:work:{item}").parse().unwrap(), ..task("r1") };
        let (mine, sibling, later) = (Switch::new(), Switch::new(), Switch::new());
        let _a = leases.hold(other(0), Fence::new(1), mine.clone(), Instant::now());
        let _b = leases.hold(other(1), Fence::new(2), sibling.clone(), Instant::now());
        leases.stop_tasks(&RunId::new("r1").unwrap(), &[other(0).task, other(2).task], &report());
        let _c = leases.hold(other(2), Fence::new(3), later.clone(), Instant::now());
        assert_eq!((reason(&mine), reason(&sibling)), (Some("stop_ordered"), None));
        assert_eq!(reason(&later), Some("stop_ordered"), "its claim was under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_was_pushed_while_a_claim_was_under_way_is_not_missed() {
        let leases = Arc::new(Leases::default());
        leases.stop_run(&RunId::new("r1").unwrap(), &report());
        let switch = Switch::new();
        let _hold = leases.hold(task("r1"), Fence::new(1), switch.clone(), Instant::now());
        assert_eq!(reason(&switch), Some("stop_ordered"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_lost_once_however_often_that_is_found() {
        let leases = Arc::new(Leases::default());
        let (hung, stopped) = (Switch::new(), Switch::new());
        let _a = leases.hold(task("r1"), Fence::new(1), hung.clone(), Instant::now());
        let _b = leases.hold(task("r2"), Fence::new(1), stopped.clone(), Instant::now());
        leases.stop_run(&RunId::new("r2").unwrap(), &report());
        let sent = Instant::now();
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(leases.expire(Instant::now(), 4 * SECOND), 2);
        assert_eq!((reason(&hung), reason(&stopped)), (Some("lease_lost"), Some("lease_lost")));
        let beat = leases.renewals(5 * SECOND);
        assert_eq!(leases.answer(beat, vec![Renewed::Lost; 2], sent).lost, 0, "its worker had noticed it before");
        assert_eq!(leases.expire(Instant::now(), 4 * SECOND), 0);

        let lost = Switch::new();
        let _c = leases.hold(task("r3"), Fence::new(1), lost.clone(), Instant::now());
        for expected in [1, 0] {
            let beat = leases.renewals(5 * SECOND);
            assert_eq!(leases.answer(beat, vec![Renewed::Lost; 3], sent).lost, expected);
        }
        assert!(!lost.lose(), "the attempt's own end finds it too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_tells_what_was_spent_until_the_store_has_heard_it() {
        let leases = Arc::new(Leases::default());
        let hold = leases.hold(task("r1"), Fence::new(1), Switch::new(), Instant::now());
        let tokens = |input_tokens| Spend { input_tokens, ..Spend::default() };
        let spent = || leases.renewals(SECOND)[0].spent;
        assert_eq!(spent(), Spend::default());
        hold.meter().add(tokens(3));
        assert_eq!((spent(), spent()), (tokens(3), tokens(3)), "nobody has answered");
        leases.answer(leases.renewals(SECOND), vec![Renewed::Held], Instant::now());
        assert_eq!(spent(), Spend::default());
        hold.meter().add(tokens(2));
        assert_eq!(spent(), tokens(5), "all in all");
        leases.answer(leases.renewals(SECOND), vec![Renewed::Lost], Instant::now());
        assert_eq!(spent(), tokens(5));
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_renew_stop_and_lose_and_a_silent_store_loses_too() {
        let leases = Arc::new(Leases::default());
        let start = Instant::now();
        let switches: Vec<_> = (0..3).map(|_| Switch::new()).collect();
        let holds: Vec<_> = switches
            .iter()
            .enumerate()
            .map(|(n, switch)| leases.hold(task(&format!("r{n}")), Fence::new(1), switch.clone(), start))
            .collect();
        let mut renewals = leases.renewals(SECOND * 10);
        renewals.sort_by(|a, b| a.task.cmp(&b.task));
        let answers = vec![Renewed::Held, Renewed::Stop(Box::new(report())), Renewed::Lost];
        let tally = leases.answer(renewals, answers, start + SECOND);
        assert_eq!(tally, Tally { lost: 1, stops: 1 });
        let reasons: Vec<_> = switches.iter().map(reason).collect();
        assert_eq!(reasons, [None, Some("stop_ordered"), Some("lease_lost")]);

        assert_eq!(leases.expire(start + SECOND * 9, SECOND * 9), 0, "both were renewed a second after the start");
        assert_eq!(leases.expire(start + SECOND * 10, SECOND * 9), 2);
        assert_eq!(reason(&switches[0]), Some("lease_lost"));
        drop(holds);
        assert_eq!(leases.len(), 0);
    }
}
