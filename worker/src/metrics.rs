//! What a worker counts: typed handles, with labels from closed sets.

use coxswain_shared::limits::Limit;
use coxswain_shared::policing::Halt;
use coxswain_shared::telemetry::{self, stop_buckets};
use nix::sys::signal::Signal;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// A worker's metrics. Clones are the same ones; one set a registry.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    attempts: IntCounterVec,
    limits: IntCounterVec,
    stop_latency: HistogramVec,
    deliveries: IntCounterVec,
    slots: IntGaugeVec,
    kills: IntCounterVec,
    warm: IntGaugeVec,
    upstream_calls: IntGaugeVec,
    upstream_put_off: IntCounterVec,
    upstream_refused: IntCounterVec,
    policy_halts: IntCounterVec,
    pub(crate) llm_fallbacks: IntCounter,
    pub(crate) warm_starts: IntCounter,
    pub(crate) attempts_alone: IntCounter,
    pub(crate) leases_lost: IntCounter,
    pub(crate) leases_taken_over: IntCounter,
    pub(crate) heartbeats_failed: IntCounter,
    pub(crate) stops_by_heartbeat: IntCounter,
    pub(crate) stops_without_order: IntCounter,
    pub(crate) events_dropped: IntCounter,
    pub(crate) broker_reconnects: IntGauge,
}

/// How an attempt ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    Succeeded,
    Failed,
    TimedOut,
    Retried,
    PutOff,
    Stopped,
    HandedBack,
    Abandoned,
    Stuck,
}

/// What became of a delivery, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryEnd {
    Leased,
    Duplicate,
    Stopped,
    Stale,
    Poisoned,
    Unreadable,
    GivenBack,
    PassedOn,
}

/// A stage of a stop, as it is timed from the order on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopStage {
    Observed,
    Dropped,
    Cleaned,
}

/// What a warm process does, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmState {
    Starting,
    Busy,
    Idle,
}

/// Where a call to the outside stands, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallState {
    InFlight,
    Waiting,
}

/// One of the things that a gauge counts; dropped, it is counted no more.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers a worker's metrics.
    pub(crate) fn new(registry: &telemetry::Metrics) -> Self {
        let metrics = Self {
            attempts: registry.counters(
                "cox_attempts_total",
                "Attempts that ended, by node kind and end.",
                &["kind", "end"],
            ),
            limits: registry.counters("cox_limits_hit_total", "Time limits that ended an attempt.", &["limit"]),
            stop_latency: registry.histograms(
                "cox_stop_seconds",
                "From a stop order, or the run's deadline where the worker saw that first, until it was observed, the work was dropped, and cleanup was through.",
                &["stage"],
                stop_buckets(),
            ),
            deliveries: registry.counters("cox_deliveries_total", "Messages, by what became of them.", &["end"]),
            slots: registry.gauges("cox_slots", "Slots: all, busy, and stuck in a handler that blocks.", &["state"]),
            kills: registry.counters(
                "cox_kills_total",
                "Process groups of `exec` nodes that were told to end (SIGTERM), and that were killed since they had not by the end of their grace (SIGKILL).",
                &["signal"],
            ),
            warm: registry.gauges(
                "cox_warm_processes",
                "Warm processes of `exec` nodes: starting, busy with a task, and idle.",
                &["state"],
            ),
            upstream_calls: registry.gauges(
                "cox_upstream_calls",
                "Calls to the outside: in flight, and waiting for their turn; by upstream if it has a name in `COX_UPSTREAMS`, else `other`.",
                &["upstream", "state"],
            ),
            upstream_put_off: registry.counters(
                "cox_upstream_put_off_total",
                "Calls that were put off, to come back later, by upstream and by what was in the way.",
                &["upstream", "why"],
            ),
            upstream_refused: registry.counters(
                "cox_upstream_refused_total",
                "Calls that failed without being made, since the upstream's breaker was open.",
                &["upstream"],
            ),
            policy_halts: registry.counters(
                "cox_policy_halts_total",
                "Tasks that a policy of the operators put off, and runs that it stopped.",
                &["policy", "then"],
            ),
            llm_fallbacks: registry
                .counter("cox_llm_fallbacks_total", "Times that a model was asked in place of one that was not to be had."),
            warm_starts: registry.counter("cox_warm_starts_total", "Warm processes that were started."),
            attempts_alone: registry.counter(
                "cox_attempts_alone_total",
                "Attempts that ran alone on their worker, since an earlier one of their task was under way in a crash.",
            ),
            leases_lost: registry.counter("cox_leases_lost_total", "Leases that were lost while their attempt ran."),
            leases_taken_over: registry
                .counter("cox_leases_taken_over_total", "Leases taken over from a silent worker."),
            heartbeats_failed: registry
                .counter("cox_heartbeats_failed_total", "Heartbeats that the store did not answer."),
            stops_by_heartbeat: registry
                .counter("cox_stops_by_heartbeat_total", "Stop orders that a heartbeat brought, and no push within the next heartbeat."),
            stops_without_order: registry.counter(
                "cox_stops_without_order_total",
                "Attempts that were ended by a stop order that the store does not have; their tasks are tried again.",
            ),
            events_dropped: registry.counter("cox_events_dropped_total", "Events that were not stored."),
            broker_reconnects: registry
                .gauge("cox_broker_reconnects", "Connections, channels and subscriptions restored."),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Shows what has not happened yet, where all that can happen is known.
    fn begin_at_zero(&self) {
        for limit in Limit::ALL {
            self.limits.with_label_values(&[limit.name()]);
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            self.kills.with_label_values(&[signal.as_str()]);
        }
        for state in [WarmState::Starting, WarmState::Busy, WarmState::Idle] {
            self.warm.with_label_values(&[state.name()]);
        }
    }

    pub(crate) fn attempt(&self, kind: &str, end: AttemptEnd) {
        self.attempts.with_label_values(&[kind, end.name()]).inc();
    }

    pub(crate) fn limit(&self, limit: Limit) {
        self.limits.with_label_values(&[limit.name()]).inc();
    }

    pub(crate) fn delivery(&self, end: DeliveryEnd) {
        self.deliveries.with_label_values(&[end.name()]).inc();
    }

    pub(crate) fn stop(&self, stage: StopStage, after: std::time::Duration) {
        self.stop_latency.with_label_values(&[stage.name()]).observe(after.as_secs_f64());
    }

    pub(crate) fn kill(&self, signal: Signal) {
        self.kills.with_label_values(&[signal.as_str()]).inc();
    }

    /// Counts a warm process in a state, for as long as what it gives is held.
    pub(crate) fn warm(&self, state: WarmState) -> Counted {
        let gauge = self.warm.with_label_values(&[state.name()]);
        gauge.inc();
        Counted(gauge)
    }

    /// Counts a call to an upstream in a state, for as long as what it gives is held.
    pub(crate) fn upstream(&self, upstream: &str, state: CallState) -> Counted {
        let gauge = self.upstream_calls.with_label_values(&[upstream, state.name()]);
        gauge.inc();
        Counted(gauge)
    }

    pub(crate) fn put_off(&self, upstream: &str, why: &str) {
        self.upstream_put_off.with_label_values(&[upstream, why]).inc();
    }

    pub(crate) fn refused(&self, upstream: &str) {
        self.upstream_refused.with_label_values(&[upstream]).inc();
    }

    pub(crate) fn policy_halt(&self, halt: &Halt) {
        self.policy_halts.with_label_values(&[halt.reached.policy.as_str(), halt.then.name()]).inc();
    }

    pub(crate) fn slots(&self, all: usize, busy: usize, stuck: usize) {
        for (state, count) in [("all", all), ("busy", busy), ("stuck", stuck)] {
            self.slots.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl AttemptEnd {
    const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Retried => "retried",
            Self::PutOff => "put_off",
            Self::Stopped => "stopped",
            Self::HandedBack => "handed_back",
            Self::Abandoned => "abandoned",
            Self::Stuck => "stuck",
        }
    }
}

impl DeliveryEnd {
    const fn name(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Duplicate => "duplicate",
            Self::Stopped => "stopped",
            Self::Stale => "stale",
            Self::Poisoned => "poisoned",
            Self::Unreadable => "unreadable",
            Self::GivenBack => "given_back",
            Self::PassedOn => "passed_on",
        }
    }
}

impl WarmState {
    const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Busy => "busy",
            Self::Idle => "idle",
        }
    }
}

impl CallState {
    const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Waiting => "waiting",
        }
    }
}

impl StopStage {
    const fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Dropped => "dropped",
            Self::Cleaned => "cleaned",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_metrics_register_and_show() {
        let registry = telemetry::Metrics::new();
        let metrics = Metrics::new(&registry);
        metrics.attempt("rust", AttemptEnd::Succeeded);
        metrics.delivery(DeliveryEnd::Leased);
        metrics.stop(StopStage::Dropped, Duration::from_millis(3));
        metrics.slots(16, 3, 1);
        let text = registry.render();
        for line in [
            r#"cox_attempts_total{end="succeeded",kind="rust"} 1"#,
            r#"cox_limits_hit_total{limit="attempt_timeout"} 0"#,
            r#"cox_deliveries_total{end="leased"} 1"#,
            r#"cox_slots{state="stuck"} 1"#,
            r#"cox_stop_seconds_bucket{stage="dropped",le="0.005"} 1"#,
            "cox_leases_lost_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
