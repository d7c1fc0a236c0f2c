//! Policies over the embedded store: who is counted, who is held up, and for whom nothing changes.

use super::*;
use crate::fault::Faults;
use crate::id::{RunKey, Step};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::policy;
use crate::spend::Spend;
use crate::store::conformance::{Fixture, make};
use crate::store::fault::FaultyStore;
use crate::store::sqlite::{SqliteConfig, SqliteStore};
use crate::store::{OnConflict, PolicyChange};
use crate::time::{Clock, Timestamp};

struct Rig {
    store: Arc<dyn Store>,
    clock: Clock,
    calls: Faults,
}

async fn rig(policies: &str) -> Rig {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let store = SqliteStore::open(SqliteConfig { clock: clock.clone(), ..SqliteConfig::memory() }).unwrap();
    let calls = Faults::seeded(0);
    let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::new(store), calls.clone()));
    for Named { name, policy } in policy::read(policies).unwrap() {
        let change = PolicyChange { name, policy: Some(policy), actor: "ann".to_owned(), reason: None };
        store.set_policy(change).await.unwrap();
    }
    Rig { store, clock, calls }
}

impl Rig {
    fn policing(&self) -> Policing {
        Policing::new(Arc::clone(&self.store))
    }

    /// Submits a run with a label, as `control` does.
    async fn submit(&self, id: &str, team: &str) -> Result<RunKey, Halt> {
        let mut run = make::run_on(id, id, OnConflict::Enqueue);
        run.spec.labels = [("team".to_owned(), team.to_owned())].into();
        if let Some(halt) = may_make(self.store.as_ref(), &run).await.unwrap() {
            return Err(halt);
        }
        self.store.create_run(run).await.unwrap();
        Ok(self.store.locate(&make::run_id(id)).await.unwrap().unwrap())
    }

    async fn run(&self, id: &str) -> Run {
        self.store.run(&make::run_id(id)).await.unwrap().unwrap()
    }
}

fn halted(permit: Result<Permit, Error>) -> Option<Halt> {
    match permit.unwrap() {
        Permit::Granted { .. } => None,
        Permit::Halted(halt) => Some(halt),
    }
}

fn tokens(count: u64) -> Usage {
    Usage::of(Measure::Tokens, count)
}

#[tokio::test]
async fn new_runs_of_one_label_are_refused_until_there_is_room_and_others_are_made() {
    let rig = rig("{few: {per: {label: team}, window: 1m, limits: {runs: 2}, then: refuse}}").await;
    rig.submit("a", "search").await.unwrap();
    rig.submit("b", "search").await.unwrap();
    let halt = rig.submit("c", "search").await.unwrap_err();
    let told = "policy `few` allows 2 runs in 1m for team=search, and it has come to 2 runs: there is room again in";
    assert!(halt.reached.to_string().starts_with(told), "{}", halt.reached);
    rig.submit("a", "search").await.expect("what is there already is no other run");
    rig.submit("d", "ads").await.expect("another label has a count of its own");
    rig.clock.advance(halt.reached.room_in);
    rig.submit("c", "search").await.expect("there is room again");
    assert_eq!(halted(rig.policing().may_begin(&make::run_id("c"), true).await), None, "in flight it is left alone");
}

#[tokio::test]
async fn runs_are_stopped_by_the_task_that_spends_too_much_and_by_the_next_one_of_all_others() {
    let rig = rig("{dear: {labels: {team: search}, window: 1h, limits: {tokens: 100}, then: stop}}").await;
    for (id, team) in [("a", "search"), ("b", "search"), ("c", "ads")] {
        rig.submit(id, team).await.unwrap();
    }
    let (policing, [a, b, c]) = (rig.policing(), ["a", "b", "c"].map(make::run_id));
    assert_eq!(halted(policing.may_begin(&a, true).await), None);
    assert_eq!(policing.has_ended(&a, &tokens(100)).await.unwrap(), None, "just the limit is not more");
    let halt = halted(policing.may_begin(&b, true).await).expect("all is used up");
    assert_eq!((halt.then, &halt.top), (Then::Stop, &b));
    assert_eq!(halt.reached.order().cause, crate::stop::Cause::Budget);
    let halt = policing.has_ended(&a, &tokens(1)).await.unwrap().expect("it is too much");
    assert_eq!((halt.then, halt.top, halt.reached.used), (Then::Stop, a, 101));
    assert!(halted(policing.may_begin(&c, true).await).is_none(), "another label");
    assert!(rig.submit("d", "search").await.is_err(), "new ones are refused");
}

#[tokio::test]
async fn a_paused_run_is_neither_planned_nor_are_its_tasks_begun() {
    let rig = rig("{calm: {window: 1m, limits: {runs: 1, failures: 1}, then: pause}}").await;
    rig.submit("a", "x").await.unwrap();
    rig.submit("b", "x").await.expect("it is made, and waits");
    let policing = rig.policing();
    assert_eq!(policing.may_plan(&rig.run("a").await).await.unwrap(), None);
    let b = rig.run("b").await;
    assert!(!policing.is_known_full(&b), "nobody has asked");
    let halt = policing.may_plan(&b).await.unwrap().expect("one run starts in a minute");
    assert_eq!((halt.then, halt.reached.measure), (Then::Pause, Measure::Runs));
    assert!(policing.is_known_full(&b));
    assert!(!policing.is_known_full(&Run { step: Step::new(1), ..b }), "one that has started goes on");
    assert_eq!(halted(policing.may_begin(&make::run_id("a"), true).await), None, "a run that has started goes on");
    let failed = Outcome::Failed { failure: Failure::new(FailureKind::Handler, "no") };
    let usage = Usage::of_try(&Spend::default(), Duration::ZERO, Some(&failed));
    assert_eq!(policing.has_ended(&make::run_id("a"), &usage).await.unwrap(), None, "nothing is stopped");
    let halt = halted(policing.may_begin(&make::run_id("a"), true).await).expect("it has failed once");
    assert_eq!((halt.then, halt.reached.measure), (Then::Pause, Measure::Failures));
    rig.clock.advance(Duration::from_secs(63));
    assert_eq!(rig.policing().may_plan(&rig.run("b").await).await.unwrap(), None);
}

#[tokio::test]
async fn a_task_counts_once_however_often_it_is_tried_or_held_up_by_another_policy() {
    let policies = "
one: {window: 1m, limits: {node_runs: 2}, then: pause}
two: {window: 1m, limits: {tokens: 1}, then: pause}";
    let rig = rig(policies).await;
    rig.submit("a", "x").await.unwrap();
    let (policing, a) = (rig.policing(), make::run_id("a"));
    assert_eq!(halted(policing.may_begin(&a, true).await), None);
    for _ in 0..5 {
        assert_eq!(halted(policing.may_begin(&a, false).await), None, "another try is no other task");
    }
    policing.has_ended(&a, &tokens(1)).await.unwrap();
    for _ in 0..5 {
        let halt = halted(policing.may_begin(&a, true).await).expect("the tokens are used up");
        assert_eq!(halt.reached.policy.as_str(), "two");
    }
    rig.clock.advance(Duration::from_secs(30));
    let one = policy::read(policies).unwrap().into_iter().find(|named| named.name.as_str() == "one").unwrap();
    let call = MeterCall {
        policy: one.name,
        subject: String::new(),
        add: Usage::default(),
        must: false,
        limits: one.policy.limits,
        window: one.policy.window,
    };
    assert_eq!(rig.store.meter(call).await.unwrap().used.get(Measure::NodeRuns), 1);
}

#[tokio::test]
async fn a_child_run_counts_with_its_parent_which_is_what_is_stopped() {
    let rig = rig("{dear: {per: thread, window: 1h, limits: {tool_calls: 1}, then: stop}}").await;
    let key = rig.submit("top", "x").await.unwrap();
    let fixture = Fixture::stepped(Arc::clone(&rig.store), rig.clock.clone(), ());
    fixture.step(&key, 1, vec![make::child(&key, "1:sub:0", "kid", 1)]).await;
    let policing = rig.policing();
    let kid = make::run_id("kid");
    assert_eq!(policing.may_plan(&rig.run("kid").await).await.unwrap(), None);
    let halt = policing.has_ended(&kid, &Usage::of(Measure::ToolCalls, 2)).await.unwrap().expect("too many");
    assert_eq!((halt.top.as_str(), halt.reached.whom.as_str()), ("top", " for thread top"));
    assert!(halted(policing.may_begin(&key.id, true).await).is_some());
}

#[tokio::test]
async fn however_many_runs_wait_for_room_the_store_is_asked_once_in_a_while() {
    let rig = rig("{calm: {window: 1m, limits: {runs: 1}, then: pause}}").await;
    rig.submit("a", "x").await.unwrap();
    let policing = rig.policing();
    assert_eq!(policing.may_plan(&rig.run("a").await).await.unwrap(), None);
    for number in 0..50 {
        let id = format!("b{number}");
        rig.submit(&id, "x").await.unwrap();
        assert!(policing.may_plan(&rig.run(&id).await).await.unwrap().is_some());
    }
    assert_eq!(rig.calls.counts("meter").passed, 2);
    let change = PolicyChange { name: "calm".parse().unwrap(), policy: None, actor: "ann".to_owned(), reason: None };
    rig.store.set_policy(change).await.unwrap();
    policing.read().await.unwrap();
    assert_eq!(policing.may_plan(&rig.run("b0").await).await.unwrap(), None, "what is changed holds at once");
}

#[tokio::test]
async fn without_policies_nobody_asks_for_anything_but_them() {
    let rig = rig("{}").await;
    rig.submit("a", "x").await.unwrap();
    let (policing, a) = (rig.policing(), make::run_id("a"));
    assert_eq!(halted(policing.may_begin(&a, true).await), None);
    assert_eq!(policing.has_ended(&a, &tokens(5)).await.unwrap(), None);
    assert_eq!(policing.may_plan(&rig.run("a").await).await.unwrap(), None);
    let passed = |method| rig.calls.counts(method).passed;
    assert_eq!((passed("meter"), passed("policies")), (0, 2), "one read by who submits, and one by the policing");
}

#[tokio::test]
async fn who_looks_at_a_run_is_told_which_policy_it_waits_for_and_counts_nothing() {
    let rig = rig("{calm: {per: {label: team}, window: 1m, limits: {runs: 1}, then: pause}}").await;
    for (id, team) in [("a", "x"), ("b", "x"), ("c", "y")] {
        rig.submit(id, team).await.unwrap();
    }
    let waits_for = async |id: &str| held_up(rig.store.as_ref(), &rig.run(id).await).await.unwrap();
    for _ in 0..3 {
        assert_eq!(waits_for("a").await, None, "there is room, however often it is looked at");
    }
    assert_eq!(rig.policing().may_plan(&rig.run("a").await).await.unwrap(), None);
    let told = waits_for("b").await.expect("there is none left").reached.to_string();
    assert!(told.starts_with("policy `calm` allows 1 run in 1m for team=x, and it has come to 1 run"), "{told}");
    assert_eq!(waits_for("c").await, None, "another label");
    let run = rig.run("b").await;
    let under_way = Run { open_tasks: 1, ..run.clone() };
    let waits_for_its_thread = Run { started_at: None, ..run };
    for run in [under_way, waits_for_its_thread] {
        assert_eq!(held_up(rig.store.as_ref(), &run).await.unwrap(), None);
    }
}
