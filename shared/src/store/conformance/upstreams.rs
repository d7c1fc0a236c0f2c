//! Cases of `admit` and `breaker`: what the fleet keeps of the hosts that it calls.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use crate::id::Nonce;
use crate::store::{BreakerCall, BreakerView, Error};
use crate::upstream::{Admission, Breaker, BreakerEvent, BreakerLimits, Rate, UpstreamName};

/// How long a breaker stays open: longer than a busy machine takes from one call to the next.
const OPEN: Duration = Duration::from_secs(1);

fn name(host: &str) -> UpstreamName {
    UpstreamName::of(host, 443)
}

async fn admitted(fixture: &Fixture, host: &str, rate: &str, burst: u32) -> Admission {
    let rate: Rate = rate.parse().unwrap();
    fixture.store().admit(&name(host), &rate.with_burst(burst)).await.unwrap()
}

fn limits() -> BreakerLimits {
    BreakerLimits { failures: 50, of: 4, within: Duration::from_mins(1), open_for: OPEN, ..BreakerLimits::default() }
}

fn reported(calls: u32, failed: u32) -> BreakerEvent {
    BreakerEvent::Reported { calls, failed }
}

fn asked(probe: &str) -> BreakerEvent {
    BreakerEvent::Asked { probe: Nonce::new(probe).unwrap() }
}

fn probed(probe: &str, well: bool) -> BreakerEvent {
    BreakerEvent::Probed { probe: Nonce::new(probe).unwrap(), well }
}

async fn moved(fixture: &Fixture, host: &str, event: BreakerEvent) -> BreakerView {
    let call = BreakerCall { upstream: name(host), event, last: None, limits: limits() };
    fixture.store().breaker(call).await.unwrap()
}

pub async fn a_burst_is_admitted_and_then_as_many_as_the_rate_allows(fixture: &Fixture) {
    for _ in 0..3 {
        assert_eq!(admitted(fixture, "a", "1/h", 3).await, Admission::Admitted);
    }
    let Admission::After(wait) = admitted(fixture, "a", "1/h", 3).await else { panic!("a fourth at once") };
    assert!(wait > Duration::from_mins(59) && wait <= Duration::from_hours(1), "{wait:?}");
    assert!(
        matches!(admitted(fixture, "a", "1/h", 3).await, Admission::After(_)),
        "one that is refused does not count"
    );
    assert_eq!(admitted(fixture, "b", "1/h", 3).await, Admission::Admitted, "each upstream has its own");
}

pub async fn who_comes_back_when_it_was_told_is_admitted(fixture: &Fixture) {
    let rate = "1/500ms";
    assert_eq!(admitted(fixture, "a", rate, 1).await, Admission::Admitted);
    let Admission::After(wait) = admitted(fixture, "a", rate, 1).await else { panic!("two at once") };
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    fixture.pass(wait).await;
    assert_eq!(admitted(fixture, "a", rate, 1).await, Admission::Admitted);
}

pub async fn a_rate_that_was_raised_holds_at_once(fixture: &Fixture) {
    assert_eq!(admitted(fixture, "a", "1/h", 1).await, Admission::Admitted);
    let Admission::After(wait) = admitted(fixture, "a", "10/s", 1).await else { panic!("two at once") };
    assert!(wait <= Duration::from_millis(100), "{wait:?}");
}

pub async fn a_breaker_opens_for_all_when_too_many_calls_have_failed(fixture: &Fixture) {
    let closed = moved(fixture, "a", reported(2, 1)).await;
    assert!(matches!(closed.breaker, Breaker::Closed { calls: 2, failed: 1, .. }), "{closed:?}");
    let last = Some("status 503".to_owned());
    let call = BreakerCall { upstream: name("a"), event: reported(2, 1), last: last.clone(), limits: limits() };
    let open = fixture.store().breaker(call).await.unwrap();
    let Breaker::Open { until, calls: 4, failed: 2 } = open.breaker else { panic!("{open:?}") };
    assert_eq!((until, &open.last), (open.now.after(OPEN), &last));
    let seen = moved(fixture, "a", reported(0, 0)).await;
    assert_eq!((seen.breaker, seen.last), (open.breaker, last), "others see it, and why");
    let late = moved(fixture, "a", reported(9, 9)).await;
    assert_eq!(late.breaker, Breaker::Open { until, calls: 4, failed: 2 }, "what had begun before changes nothing");
    let other = moved(fixture, "b", reported(0, 0)).await;
    assert!(matches!(other.breaker, Breaker::Closed { calls: 0, failed: 0, .. }), "{other:?}");
}

pub async fn one_probe_of_the_whole_fleet_closes_a_breaker_or_keeps_it_open(fixture: &Fixture) {
    let open = moved(fixture, "a", reported(4, 4)).await;
    assert_eq!(moved(fixture, "a", asked("p")).await.breaker, open.breaker, "not before its time");
    fixture.pass(OPEN).await;
    let half = moved(fixture, "a", asked("p")).await;
    let Breaker::HalfOpen { probe, .. } = &half.breaker else { panic!("{half:?}") };
    assert_eq!(probe.as_str(), "p");
    for event in [asked("q"), asked("p"), probed("q", true), reported(9, 0)] {
        assert_eq!(moved(fixture, "a", event).await.breaker, half.breaker, "one at a time");
    }
    let again = moved(fixture, "a", probed("p", false)).await;
    assert!(matches!(again.breaker, Breaker::Open { calls: 1, failed: 1, .. }), "{again:?}");
    fixture.pass(OPEN).await;
    moved(fixture, "a", asked("q")).await;
    let well = moved(fixture, "a", probed("q", true)).await;
    assert_eq!(well.breaker, Breaker::new(well.now));
}

pub async fn a_probe_that_is_lost_gives_way_to_another(fixture: &Fixture) {
    moved(fixture, "a", reported(4, 4)).await;
    fixture.pass(OPEN).await;
    moved(fixture, "a", asked("p")).await;
    fixture.pass(OPEN).await;
    let taken = moved(fixture, "a", asked("q")).await;
    let Breaker::HalfOpen { probe, until } = &taken.breaker else { panic!("{taken:?}") };
    assert_eq!((probe.as_str(), *until), ("q", taken.now.after(OPEN)));
    assert_eq!(moved(fixture, "a", probed("p", true)).await.breaker, taken.breaker);
}

/// Walks a breaker through events in every order of a few, beside the pure function.
pub async fn a_breaker_goes_as_the_pure_function_says(fixture: &Fixture) {
    let events = [reported(3, 1), reported(2, 2), asked("p"), asked("q"), probed("p", true), probed("q", false)];
    let (mut seed, mut expected) = (7_usize, None::<Breaker>);
    for round in 0..200 {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        if seed % 5 == 0 && round < 20 {
            fixture.pass(OPEN).await;
        }
        let event = events[(seed / 7) % events.len()].clone();
        let view = moved(fixture, "a", event.clone()).await;
        let before = expected.take().unwrap_or_else(|| Breaker::new(view.now));
        assert_eq!(view.breaker, before.clone().next(&event, view.now, &limits()), "{event:?} from {before:?}");
        expected = Some(view.breaker);
    }
}

pub async fn a_reason_that_is_too_long_is_refused(fixture: &Fixture) {
    let call = BreakerCall {
        upstream: name("a"),
        event: reported(1, 1),
        last: Some("x".repeat(crate::limits::TEXT_BYTES_MAX + 1)),
        limits: limits(),
    };
    assert!(matches!(fixture.store().breaker(call).await, Err(Error::TooLarge { .. })));
}
