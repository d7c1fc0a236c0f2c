//! What was measured, as a table and as JSON.

use std::time::Duration;

use coxswain_shared::control::cancel::Summary;
use serde::Serialize;

use super::fleet::Counts;
use super::spread::{Spread, milliseconds};
use crate::measure::brief;
use crate::output::{draw, table};

/// All of it; what was not measured is absent.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    store: String,
    queue: String,
    slots: u16,
    pub(super) broker: Option<Raw>,
    pub(super) steps: Option<Loops>,
    pub(super) latency: Option<Latency>,
    pub(super) stop_idle: Option<Stop>,
    pub(super) stop_loaded: Option<LoadedStop>,
    pub(super) bulk: Option<BulkStop>,
}

/// What the broker carries by itself.
#[derive(Debug, Serialize)]
pub(super) struct Raw {
    messages: u32,
    seconds: f64,
    messages_per_second: f64,
}

/// Many loop runs at once.
#[derive(Debug, Serialize)]
pub(super) struct Loops {
    runs: u32,
    steps_each: u32,
    seconds: f64,
    steps_per_second: f64,
    /// Messages given to the broker, for each step.
    messages_per_step: f64,
    /// Round trips to Redis, for each step; absent for another store.
    round_trips_per_step: Option<f64>,
    /// The store's calls, those that took the most time together first.
    calls: Vec<Call>,
}

/// One of the store's calls.
#[derive(Debug, Serialize)]
struct Call {
    name: &'static str,
    per_step: f64,
    mean_ms: f64,
    /// How many of them were under way at a time, on average.
    in_flight: f64,
}

/// Runs one at a time.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) steps_each: u32,
    pub(super) run: Spread,
}

/// Stops one at a time, from the order on.
#[derive(Debug, Serialize)]
pub(super) struct Stop {
    /// Until the future was dropped.
    pub(super) dropped: Spread,
    /// Until the run had ended, with its worker's proof.
    pub(super) ended: Spread,
}

/// Many runs, stopped by one command.
#[derive(Debug, Serialize)]
pub(super) struct BulkStop {
    /// Runs that held a slot.
    pub(super) running: u32,
    /// Runs that waited on the queue.
    pub(super) queued: u32,
    #[serde(flatten)]
    pub(super) summary: Summary,
}

/// The same beside a load.
#[derive(Debug, Serialize)]
pub(super) struct LoadedStop {
    #[serde(flatten)]
    pub(super) stop: Stop,
    /// The load.
    pub(super) steps_per_second: f64,
}

impl Raw {
    /// So many messages, published, confirmed, delivered and acknowledged in this time.
    pub(super) fn new(messages: u32, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self { messages, seconds, messages_per_second: f64::from(messages) / seconds }
    }

    fn text(&self) -> String {
        let Self { messages, seconds, messages_per_second } = self;
        format!("{messages_per_second:.0} messages/s through the broker alone: {messages} in {seconds:.1} s")
    }
}

impl Loops {
    /// What was done between two counts.
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    pub(super) fn between(before: &Counts, after: &Counts, took: Duration, (runs, steps_each): (u32, u32)) -> Self {
        let steps = f64::from(runs) * f64::from(steps_each);
        let seconds = took.as_secs_f64();
        let mut calls = Vec::new();
        for (name, tally) in &after.tallies {
            let earlier = before.tallies.get(name).copied().unwrap_or_default();
            let (count, spent) = (tally.count - earlier.count, tally.took.saturating_sub(earlier.took));
            if count > 0 {
                let mean_ms = milliseconds(spent) / count as f64;
                calls.push(Call {
                    name,
                    per_step: count as f64 / steps,
                    mean_ms,
                    in_flight: spent.as_secs_f64() / seconds,
                });
            }
        }
        calls.sort_by(|one, other| other.in_flight.total_cmp(&one.in_flight));
        let trips = after.round_trips.zip(before.round_trips).map(|(after, before)| (after - before) as f64 / steps);
        Self {
            runs,
            steps_each,
            seconds,
            steps_per_second: steps / seconds,
            messages_per_step: (after.messages - before.messages) as f64 / steps,
            round_trips_per_step: trips,
            calls,
        }
    }
}

impl Report {
    /// Nothing measured yet.
    pub(super) fn new(store: String, queue: String, slots: u16) -> Self {
        Self {
            store,
            queue,
            slots,
            broker: None,
            steps: None,
            latency: None,
            stop_idle: None,
            stop_loaded: None,
            bulk: None,
        }
    }

    /// Whether nothing was measured.
    pub(super) const fn is_empty(&self) -> bool {
        self.broker.is_none()
            && self.steps.is_none()
            && self.latency.is_none()
            && self.stop_idle.is_none()
            && self.stop_loaded.is_none()
            && self.bulk.is_none()
    }

    /// As tables.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![format!("store {}, tasks queued {}, {} slots", self.store, self.queue, self.slots)];
        parts.extend(self.broker.as_ref().map(Raw::text));
        parts.extend(self.steps.as_ref().map(Loops::text));
        parts.extend(self.times());
        parts.extend(self.bulk.as_ref().map(BulkStop::text));
        parts.join("\n\n")
    }

    fn times(&self) -> Option<String> {
        let mut rows = Vec::new();
        if let Some(Latency { steps_each, run }) = &self.latency {
            rows.push((format!("run of {steps_each} steps, alone"), run));
        }
        if let Some(Stop { dropped, ended }) = &self.stop_idle {
            rows.push(("stop, idle: order to future dropped".to_owned(), dropped));
            rows.push(("stop, idle: order to run ended".to_owned(), ended));
        }
        if let Some(LoadedStop { stop: Stop { dropped, ended }, steps_per_second }) = &self.stop_loaded {
            let beside = format!("beside {steps_per_second:.0} steps/s");
            rows.push((format!("stop, {beside}: order to future dropped"), dropped));
            rows.push((format!("stop, {beside}: order to run ended"), ended));
        }
        if rows.is_empty() {
            return None;
        }
        let mut table = table(&["time in ms", "samples", "p50", "p95", "p99", "max"]);
        for (what, spread) in rows {
            let times = [spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.max_ms].map(|ms| format!("{ms:.2}"));
            table.add_row([what, spread.samples.to_string()].into_iter().chain(times));
        }
        Some(draw(&table))
    }
}

impl BulkStop {
    fn text(&self) -> String {
        let Self { running, queued, summary: Summary { confirmed, took, .. } } = self;
        let took = brief(*took);
        format!("{running} running and {queued} queued runs stopped in {took}, {confirmed} confirmed")
    }
}

impl Loops {
    fn text(&self) -> String {
        let Self { runs, steps_each, seconds, steps_per_second, messages_per_step, .. } = self;
        let trips =
            self.round_trips_per_step.map(|trips| format!(", {trips:.2} Redis round trips")).unwrap_or_default();
        let mut table = table(&["store call", "per step", "mean ms", "in flight"]);
        for Call { name, per_step, mean_ms, in_flight } in &self.calls {
            table.add_row([
                (*name).to_owned(),
                format!("{per_step:.3}"),
                format!("{mean_ms:.2}"),
                format!("{in_flight:.2}"),
            ]);
        }
        format!(
            "{steps_per_second:.0} steps/s: {runs} runs of {steps_each} steps in {seconds:.1} s; \
             for each step {messages_per_step:.2} broker messages{trips}\n\n{}",
            draw(&table)
        )
    }
}

#[cfg(test)]
mod tests;
