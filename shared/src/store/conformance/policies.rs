//! Cases of `policies`, `set_policy` and `meter`: what the operators allow, and what is counted of it.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use crate::id::PolicyName;
use crate::limits::{POLICIES_MAX, TEXT_BYTES_MAX};
use crate::policy::{Limits, Measure, Named, Per, Policy, Reading, Then, Usage, Window};
use crate::store::{Error, MeterCall, PolicyChange, PolicyChanged};

const WINDOW: Duration = Duration::from_secs(2);

fn name(text: &str) -> PolicyName {
    PolicyName::new(text).unwrap()
}

fn few(runs: u64) -> Policy {
    Policy {
        graph: Some("nightly-*".to_owned()),
        labels: [("team".to_owned(), "search".to_owned())].into(),
        per: Per::Label("tenant".to_owned()),
        window: WINDOW,
        limits: Limits { runs: Some(runs), ..Limits::default() },
        then: Then::Pause,
    }
}

async fn change(fixture: &Fixture, of: &str, policy: Option<Policy>) -> PolicyChanged {
    let change =
        PolicyChange { name: name(of), policy, actor: "ann@host".to_owned(), reason: Some("too dear".to_owned()) };
    fixture.store().set_policy(change).await.unwrap()
}

async fn known(fixture: &Fixture) -> Vec<Named> {
    fixture.store().policies().await.unwrap()
}

fn call(subject: &str, add: Usage, must: bool, limits: Limits) -> MeterCall {
    MeterCall { policy: name("few"), subject: subject.to_owned(), add, must, limits, window: WINDOW }
}

async fn one_run(fixture: &Fixture, subject: &str, limit: u64) -> Reading {
    let limits = Limits { runs: Some(limit), ..Limits::default() };
    fixture.store().meter(call(subject, Usage::of(Measure::Runs, 1), false, limits)).await.unwrap()
}

pub async fn policies_are_set_changed_and_removed_by_name(fixture: &Fixture) {
    assert_eq!(known(fixture).await, []);
    assert_eq!(change(fixture, "b", Some(few(2))).await, PolicyChanged::Set);
    assert_eq!(change(fixture, "a", Some(few(1))).await, PolicyChanged::Set);
    assert_eq!(change(fixture, "b", Some(few(2))).await, PolicyChanged::Unchanged);
    assert_eq!(change(fixture, "b", Some(few(3))).await, PolicyChanged::Set);
    let named = |of: &str, runs| Named { name: name(of), policy: few(runs) };
    assert_eq!(known(fixture).await, [named("a", 1), named("b", 3)]);
    assert_eq!(change(fixture, "a", None).await, PolicyChanged::Removed);
    assert_eq!(change(fixture, "a", None).await, PolicyChanged::NotFound);
    assert_eq!(known(fixture).await, [named("b", 3)]);
}

pub async fn changes_of_policies_are_in_the_audit_trail(fixture: &Fixture) {
    change(fixture, "a", Some(few(1))).await;
    change(fixture, "a", None).await;
    change(fixture, "a", None).await;
    let entries = fixture.audit(&PolicyChange::trail()).await;
    let told: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.result.as_str())).collect();
    assert_eq!(told, [("set_policy", "a: set"), ("remove_policy", "a: removed"), ("remove_policy", "a: not_found")]);
    assert!(entries.iter().all(|entry| entry.actor == "ann@host" && entry.reason.as_deref() == Some("too dear")));
}

pub async fn there_are_so_many_policies_and_no_more(fixture: &Fixture) {
    for number in 0..POLICIES_MAX {
        assert_eq!(change(fixture, &format!("p{number}"), Some(few(1))).await, PolicyChanged::Set);
    }
    assert_eq!(change(fixture, "one-more", Some(few(1))).await, PolicyChanged::TooMany);
    assert_eq!(change(fixture, "p0", Some(few(2))).await, PolicyChanged::Set, "those that are there can be changed");
    assert_eq!(known(fixture).await.len(), POLICIES_MAX);
}

pub async fn a_change_with_a_novel_as_its_reason_is_refused(fixture: &Fixture) {
    let reason = Some("x".repeat(TEXT_BYTES_MAX + 1));
    let change = PolicyChange { name: name("a"), policy: Some(few(1)), actor: "ann".to_owned(), reason };
    assert!(matches!(fixture.store().set_policy(change).await, Err(Error::TooLarge { .. })));
    assert_eq!(known(fixture).await, []);
}

pub async fn each_subject_has_a_window_of_its_own(fixture: &Fixture) {
    for subject in ["", "t1", "{odd} : näme*"] {
        assert!(one_run(fixture, subject, 1).await.counted, "{subject}");
        assert!(!one_run(fixture, subject, 1).await.counted, "{subject}");
    }
}

pub async fn what_was_used_leaves_with_the_window_and_room_comes_when_it_was_told(fixture: &Fixture) {
    assert!(one_run(fixture, "a", 1).await.counted);
    let full = one_run(fixture, "a", 1).await;
    let wait = full.room_at.unwrap().since(full.now);
    assert!(!full.counted && wait <= WINDOW + WINDOW / 10, "{full:?}");
    fixture.pass(wait).await;
    assert!(one_run(fixture, "a", 1).await.counted);
}

pub async fn what_has_happened_is_counted_over_the_limit_too(fixture: &Fixture) {
    let limits = Limits { tokens: Some(10), ..Limits::default() };
    let spent = call("a", Usage::of(Measure::Tokens, 25), true, limits.clone());
    let reading = fixture.store().meter(spent).await.unwrap();
    assert_eq!((reading.counted, reading.used.get(Measure::Tokens)), (true, 25));
    let look = fixture.store().meter(call("a", Usage::default(), false, limits)).await.unwrap();
    assert_eq!((look.counted, look.used.get(Measure::Tokens)), (false, 25));
    assert!(look.room_at.is_some());
}

/// Counts all sorts of things in a window beside the pure function.
pub async fn a_window_goes_as_the_pure_function_says(fixture: &Fixture) {
    let limits =
        Limits { runs: Some(6), failures: Some(9), wall_time: Some(Duration::from_millis(40)), ..Limits::default() };
    let (mut seed, mut window) = (7_usize, Window::default());
    for round in 0..200 {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        if round % 40 == 39 {
            fixture.pass(WINDOW / 3).await;
        }
        let mut add = Usage::of(Measure::ALL[(seed / 7) % Measure::ALL.len()], (seed / 11 % 3) as u64);
        add.add(Measure::WallTime, (seed / 13 % 4) as u64);
        let must = seed / 17 % 5 == 0;
        let call = call("a", add, must, limits.clone());
        let reading = fixture.store().meter(call).await.unwrap();
        let expected = window.count(&add, must, &limits, WINDOW, reading.now);
        assert_eq!(reading, expected, "round {round}: {add:?}");
    }
}
