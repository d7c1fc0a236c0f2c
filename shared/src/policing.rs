//! Applies the operators' policies: who asks, what is counted, and what has come to a limit.
//!
//! | who asks | when | what is counted | what follows at a limit |
//! |---|---|---|---|
//! | who submits | before a run is made | the run | `refuse`, `stop`: it is refused |
//! | the scheduler | before a run is planned | the run, at its first plan, of a `pause` | `pause`: it is taken up later |
//! | a worker | before a task | the task, at its first try | `pause`: it is put off; `stop`: the run is stopped |
//! | a worker | after a try | what it spent, how long it took, whether it failed | `stop`: the run is stopped |
//!
//! A child run counts with the run at the top of its tree, and it is that run which is stopped. Where no policy is set, nobody
//! asks the store for anything but, once a second, whether there still is none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::id::{PolicyName, RunId};
use crate::lifecycle::Tasks;
use crate::policy::{Limits, Measure, Named, Reached, Then, Usage, Who};
use crate::run::RunStatus;
use crate::store::{Error, MeterCall, NewRun, Run, Store};

/// How often the policies are read: a change holds everywhere after so long.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Runs whose top is remembered; beyond it all are forgotten, which costs a read each.
const TOPS_MAX: usize = 10_000;
/// Counts without room that are remembered.
const FULL_MAX: usize = 10_000;
/// How far up a tree of runs it is looked: more than they are nested.
const UP_MAX: usize = 16;

/// The policies as a process knows them, and the runs that it has asked about.
#[derive(Debug)]
pub struct Policing {
    store: Arc<dyn Store>,
    policies: Mutex<Option<Arc<[Named]>>>,
    tops: Mutex<BTreeMap<RunId, Arc<Top>>>,
    full: Mutex<BTreeMap<FullKey, Full>>,
}

/// A policy's count of a subject, for runs that start or for those in flight.
type FullKey = (PolicyName, String, bool);

/// There was no room.
#[derive(Debug)]
struct Full {
    reached: Reached,
    until: Instant,
}

/// The run at the top of a tree.
#[derive(Debug)]
struct Top {
    id: RunId,
    who: Who,
}

/// A policy that a run is counted in, under whose name, and the limits of it that hold for the run now.
#[derive(Debug)]
struct Counted<'p> {
    named: &'p Named,
    subject: String,
    limits: Limits,
}

/// Where a run stands that is counted: its number is a limit for those that start alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starts,
    InFlight,
}

impl Stage {
    fn of(run: &Run) -> Self {
        if run.step.get() == 0 { Self::Starts } else { Self::InFlight }
    }
}

/// A limit that is reached, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The limit.
    pub reached: Reached,
    /// What follows.
    pub then: Then,
    /// The run at the top, which is stopped if one is.
    pub top: RunId,
}

/// Whether a task may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Granted {
        /// Whether what it costs is limited, so that nothing may be called whose price is not known.
        limits_cost: bool,
    },
    /// It may not.
    Halted(Halt),
}

impl Policing {
    /// Over a store. Reads nothing yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, policies: Mutex::default(), tops: Mutex::default(), full: Mutex::default() }
    }

    /// Keeps what is known of the policies fresh until the tasks drain.
    pub async fn keep_fresh(self: Arc<Self>, tasks: Tasks) {
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                _ = ticks.tick() => {}
            }
            // What was known still holds.
            match self.read().await {
                Err(error) if error.is_retryable() => tracing::debug!(%error, "the policies cannot be read now"),
                Err(error) => tracing::error!(%error, "the policies cannot be read by this build"),
                Ok(_) => {}
            }
        }
    }

    async fn read(&self) -> Result<Arc<[Named]>, Error> {
        let policies: Arc<[Named]> = self.store.policies().await?.into();
        let before = locked(&self.policies).replace(Arc::clone(&policies));
        if before.is_none_or(|before| before != policies) {
            locked(&self.full).clear();
        }
        Ok(policies)
    }

    async fn policies(&self) -> Result<Arc<[Named]>, Error> {
        let known = locked(&self.policies).clone();
        match known {
            Some(known) => Ok(known),
            None => self.read().await,
        }
    }

    /// Whether a run may be planned now. Children go with their parents.
    pub async fn may_plan(&self, run: &Run) -> Result<Option<Halt>, Error> {
        let policies = self.policies().await?;
        if policies.is_empty() || run.parent.is_some() {
            return Ok(None);
        }
        let top = Top::of(run);
        let stage = Stage::of(run);
        let counted = top.counted(&policies, stage, |then| then == Then::Pause);
        self.ask(&top.id, &counted, &Usage::of(Measure::Runs, u64::from(stage == Stage::Starts))).await
    }

    /// Whether it is known without asking that a run may not be planned now: another one has just asked.
    pub fn is_known_full(&self, run: &Run) -> bool {
        let Some(policies) = locked(&self.policies).clone() else { return false };
        if policies.is_empty() || run.parent.is_some() {
            return false;
        }
        let counted = Top::of(run).counted(&policies, Stage::of(run), |then| then == Then::Pause);
        let (full, now) = (locked(&self.full), Instant::now());
        counted.iter().any(|counted| full.get(&counted.key()).is_some_and(|full| full.until > now))
    }

    /// Whether a task of a run may begin now; if so, it counts if it `is_first`, and not another try.
    pub async fn may_begin(&self, run: &RunId, is_first: bool) -> Result<Permit, Error> {
        let Some((top, policies)) = self.top(run).await? else { return Ok(Permit::Granted { limits_cost: false }) };
        let add = Usage::of(Measure::NodeRuns, u64::from(is_first));
        let counted = top.counted(&policies, Stage::InFlight, |_| true);
        let limits_cost = counted.iter().any(|counted| counted.limits.cost.is_some());
        let (noting, acting): (Vec<_>, Vec<_>) =
            counted.into_iter().partition(|counted| counted.named.policy.then == Then::Refuse);
        if let Some(halt) = self.ask(&top.id, &acting, &add).await? {
            return Ok(Permit::Halted(halt));
        }
        self.note(&noting, &add).await?;
        Ok(Permit::Granted { limits_cost })
    }

    /// Counts what a try of a task has come to. Says so if a run is to be stopped for it.
    pub async fn has_ended(&self, run: &RunId, usage: &Usage) -> Result<Option<Halt>, Error> {
        let Some((top, policies)) = self.top(run).await? else { return Ok(None) };
        let counted = top.counted(&policies, Stage::InFlight, |_| true);
        let reached = self.note(&counted, usage).await?;
        let halt = reached.into_iter().find(|(_, then)| *then == Then::Stop);
        Ok(halt.map(|(reached, then)| Halt { reached, then, top: top.id.clone() }))
    }

    /// Asks whether there is room in all of these, and counts in all of them if so. However many runs wait for room, the
    /// store is asked once in a while for all of them.
    async fn ask(&self, top: &RunId, counted: &[Counted<'_>], add: &Usage) -> Result<Option<Halt>, Error> {
        let now = Instant::now();
        for one in counted {
            if let Some(full) = locked(&self.full).get(&one.key()).filter(|full| full.until > now) {
                return Ok(Some(Halt { reached: full.reached.clone(), then: one.named.policy.then, top: top.clone() }));
            }
        }
        let halt = count_if_room(self.store.as_ref(), top, counted, add).await?;
        if let Some(Halt { reached, .. }) = &halt
            && let Some(one) = counted.iter().find(|counted| counted.named.name == reached.policy)
        {
            let mut full = locked(&self.full);
            if full.len() >= FULL_MAX {
                full.clear();
            }
            full.insert(one.key(), Full { reached: reached.clone(), until: now + reached.room_in.min(READ_EVERY) });
        }
        Ok(halt)
    }

    /// Counts what has happened. Answers what is too much.
    async fn note(&self, counted: &[Counted<'_>], usage: &Usage) -> Result<Vec<(Reached, Then)>, Error> {
        let counts = counted.iter().filter(|counted| !usage.limited_by(&counted.limits).is_nothing());
        let calls = counts.map(|counted| counted.count(self.store.as_ref(), usage, true));
        Ok(try_join_all(calls).await?.into_iter().flatten().collect())
    }

    /// The run at the top of a run's tree, with the policies; none where there are none, or the run is gone.
    async fn top(&self, run: &RunId) -> Result<Option<(Arc<Top>, Arc<[Named]>)>, Error> {
        let policies = self.policies().await?;
        if policies.is_empty() {
            return Ok(None);
        }
        let known = locked(&self.tops).get(run).cloned();
        if let Some(top) = known {
            return Ok(Some((top, policies)));
        }
        let Some(top) = find_top(self.store.as_ref(), run).await? else { return Ok(None) };
        let top = Arc::new(top);
        let mut tops = locked(&self.tops);
        if tops.len() >= TOPS_MAX {
            tops.clear();
        }
        tops.insert(run.clone(), Arc::clone(&top));
        Ok(Some((top, policies)))
    }
}

async fn find_top(store: &dyn Store, run: &RunId) -> Result<Option<Top>, Error> {
    let mut id = run.clone();
    for _ in 0..UP_MAX {
        let Some(found) = store.run(&id).await? else { return Ok(None) };
        match &found.parent {
            Some(parent) => id = parent.run.clone(),
            None => return Ok(Some(Top::of(&found))),
        }
    }
    Ok(None)
}

/// Whom a run is counted with: the run at the top of its tree. None if that is not there.
pub async fn who(store: &dyn Store, run: &RunId) -> Result<Option<Who>, Error> {
    Ok(find_top(store, run).await?.map(|top| top.who))
}

/// The policy that a run waits for, if it does: nothing of it is open, and there is no room. Counts nothing.
pub async fn held_up(store: &dyn Store, run: &Run) -> Result<Option<Halt>, Error> {
    let may_wait = matches!(run.status, RunStatus::Queued | RunStatus::Running) && run.open_tasks == 0;
    // One that waits for its thread has not started.
    if !may_wait || run.started_at.is_none() || run.parent.is_some() {
        return Ok(None);
    }
    let policies = store.policies().await?;
    let top = Top::of(run);
    let counted = top.counted(&policies, Stage::of(run), |then| then == Then::Pause);
    count_if_room(store, &top.id, &counted, &Usage::default()).await
}

/// Whether a new run may be made; if so, it counts.
pub async fn may_make(store: &dyn Store, run: &NewRun) -> Result<Option<Halt>, Error> {
    let policies = store.policies().await?;
    let who = Who { graph: run.graph.clone(), thread: run.thread.clone(), labels: run.spec.labels.clone() };
    let top = Top { id: run.id.clone(), who };
    let counted = top.counted(&policies, Stage::Starts, |then| then != Then::Pause);
    // What is made already is made again, and is no other run.
    if counted.is_empty() || store.locate(&run.id).await?.is_some() {
        return Ok(None);
    }
    count_if_room(store, &top.id, &counted, &Usage::of(Measure::Runs, 1)).await
}

/// Counts in all of these if there is room in all of them.
async fn count_if_room(
    store: &dyn Store,
    top: &RunId,
    counted: &[Counted<'_>],
    add: &Usage,
) -> Result<Option<Halt>, Error> {
    let asked: Vec<_> = counted.iter().filter(|counted| !counted.limits.is_empty()).collect();
    // Of several all are looked at before any counts: what is held up by one of them uses up none of the others.
    let rounds = if asked.len() > 1 { vec![Usage::default(), *add] } else { vec![*add] };
    for add in rounds {
        let calls = asked.iter().map(|counted| counted.count(store, &add, false));
        // A stop outranks a pause.
        let reached = try_join_all(calls).await?.into_iter().flatten().max_by_key(|(_, then)| *then);
        if let Some((reached, then)) = reached {
            return Ok(Some(Halt { reached, then, top: top.clone() }));
        }
    }
    Ok(None)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Top {
    fn of(run: &Run) -> Self {
        let who = Who { graph: run.graph.clone(), thread: run.thread.clone(), labels: run.spec.labels.clone() };
        Self { id: run.key.id.clone(), who }
    }

    fn counted<'p>(&self, policies: &'p [Named], stage: Stage, acts: impl Fn(Then) -> bool) -> Vec<Counted<'p>> {
        let one = |named: &'p Named| {
            let limits = match stage {
                Stage::Starts => named.policy.limits.clone(),
                Stage::InFlight => named.policy.limits.in_flight(),
            };
            Some(Counted { subject: named.policy.subject(&self.who)?, named, limits })
        };
        policies.iter().filter(|named| acts(named.policy.then)).filter_map(one).collect()
    }
}

impl Counted<'_> {
    fn key(&self) -> FullKey {
        (self.named.name.clone(), self.subject.clone(), self.limits.runs.is_some())
    }

    /// Counts as much of this as is limited, if there is room or it must be. Answers what is reached: no room, or too much.
    async fn count(&self, store: &dyn Store, add: &Usage, must: bool) -> Result<Option<(Reached, Then)>, Error> {
        let Self { named, subject, limits } = self;
        let call = MeterCall {
            policy: named.name.clone(),
            subject: subject.clone(),
            add: add.limited_by(limits),
            must,
            limits: limits.clone(),
            window: named.policy.window,
        };
        let reading = store.meter(call).await?;
        let reached = named.reached(subject, limits, &reading);
        Ok(reached.filter(|_| must || !reading.counted).map(|reached| (reached, named.policy.then)))
    }
}

#[cfg(test)]
mod tests;
