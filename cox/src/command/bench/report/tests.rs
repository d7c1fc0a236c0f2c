//! The report's arithmetic, and its two forms.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::store::Tally;
use super::*;

fn counts(settles: u64, took: Duration, messages: u64, round_trips: u64) -> Counts {
    let tally = Tally { count: settles, took };
    Counts {
        at: Instant::now(),
        tallies: BTreeMap::from([("settle", tally)]),
        messages,
        round_trips: Some(round_trips),
    }
}

fn measured() -> Loops {
    let before = counts(10, Duration::from_secs(1), 10, 100);
    let after = counts(1_010, Duration::from_secs(5), 1_012, 4_100);
    Loops::between(&before, &after, Duration::from_secs(2), (100, 10))
}

#[test]
fn only_what_was_done_in_between_counts() {
    let steps = measured();
    let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
    assert!(near(steps.steps_per_second, 500.0) && near(steps.messages_per_step, 1.002), "{steps:?}");
    assert!(near(steps.round_trips_per_step.unwrap(), 4.0), "{steps:?}");
    let [Call { name: "settle", per_step, mean_ms, in_flight }] = steps.calls[..] else { panic!("{steps:?}") };
    assert!(near(per_step, 1.0) && near(mean_ms, 4.0) && near(in_flight, 2.0), "{steps:?}");
}

#[test]
fn what_was_not_measured_is_absent() {
    let mut report = Report::new("sqlite:bench.db".to_owned(), "in the process".to_owned(), 4);
    assert!(report.is_empty());
    report.steps = Some(measured());
    report.broker = Some(Raw::new(500, Duration::from_millis(250)));
    let text = report.text();
    assert!(text.contains("2000 messages/s"), "{text}");
    assert!(text.contains("500 steps/s") && text.contains("4.00 Redis round trips"), "{text}");
    assert!(!text.contains("stop") && !text.contains("steps, alone"), "{text}");
    assert!(serde_json::to_value(&report).unwrap()["latency"].is_null());
    let dropped = Spread::of(vec![Duration::from_millis(2)]);
    let stop = Stop { dropped, ended: Spread::of(vec![Duration::from_millis(3)]) };
    report.stop_loaded = Some(LoadedStop { stop, steps_per_second: 7.0 });
    assert!(report.text().contains("stop, beside 7 steps/s: order to future dropped"), "{}", report.text());
    assert_eq!(serde_json::to_value(&report).unwrap()["stop_loaded"]["ended"]["p50_ms"], 3.0);
}
