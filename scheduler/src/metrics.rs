//! The scheduler's figures.

use std::collections::BTreeMap;
use std::time::Duration;

use coxswain_shared::broker::Hindrance;
use coxswain_shared::id::PoolName;
use coxswain_shared::load::PoolLoad;
use coxswain_shared::priority::{Lane, Priority};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_shared::store::{Ends, Swept};
use coxswain_shared::telemetry::Metrics;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Typed handles on the scheduler's figures.
#[derive(Debug, Clone)]
pub struct SchedulerMetrics {
    advances: IntCounterVec,
    runs_ended: IntCounterVec,
    sent: IntCounterVec,
    leases_expired: IntCounter,
    poisoned: IntCounter,
    queue_timeouts: IntCounter,
    runs_overdue: IntCounter,
    plan_seconds: HistogramVec,
    backlog: IntGaugeVec,
    overloaded: IntGaugeVec,
    queue_age: IntGaugeVec,
    pool_workers: IntGaugeVec,
    shed: IntCounterVec,
    broker_reconnects: IntGauge,
    broker_hindered: IntGaugeVec,
    store_errors: IntCounter,
}

impl SchedulerMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let plan_buckets = vec![0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
        Self {
            advances: metrics.counters(
                "cox_advances_total",
                "Changes of runs' plans, by the store's answer.",
                &["answer"],
            ),
            runs_ended: metrics.counters(
                "cox_store_runs_ended_total",
                "Runs that have ended since the store was made, by status and cause, whoever ended them: the same figure in every scheduler.",
                &["status", "cause"],
            ),
            sent: metrics.counters("cox_tasks_sent_total", "Task messages, by what became of them.", &["result"]),
            leases_expired: metrics.counter("cox_leases_expired_total", "Leases that were found expired."),
            poisoned: metrics.counter(
                "cox_tasks_poisoned_total",
                "Tasks that were given up as crashed since the store was made, whoever found the last crash: the same figure in every scheduler.",
            ),
            queue_timeouts: metrics.counter(
                "cox_queue_timeouts_total",
                "Tasks that no worker took in time since the store was made, whoever found it: the same figure in every scheduler.",
            ),
            runs_overdue: metrics.counter("cox_runs_overdue_total", "Runs that were stopped at their deadline."),
            plan_seconds: metrics.histograms("cox_plan_seconds", "The time to plan a step.", &[], plan_buckets),
            backlog: metrics.gauges("cox_backlog", "Messages that wait on the queue of a pool for runs of a priority.", &["pool", "priority"]),
            overloaded: metrics.gauges(
                "cox_overloaded",
                "Whether a pool is over this bound of its own (1) or not (0), where bounds are set.",
                &["pool", "bound"],
            ),
            pool_workers: metrics.gauges(
                "cox_pool_workers",
                "Workers that take tasks of a pool, of the pools that workers serve or that this scheduler has sent to.",
                &["pool"],
            ),
            queue_age: metrics.gauges(
                "cox_queue_age_seconds",
                "How long the tasks of a pool wait for a worker, in whole seconds, where bounds are set.",
                &["pool"],
            ),
            shed: metrics.counters(
                "cox_runs_shed_total",
                "Runs that this scheduler stopped because of an overload, by their priority.",
                &["priority"],
            ),
            broker_reconnects: metrics
                .gauge("cox_scheduler_broker_reconnects", "Broker connections that were restored."),
            broker_hindered: metrics.gauges(
                "cox_scheduler_broker_hindered",
                "Whether this is in the way of sending task messages (1) or not (0).",
                &["by"],
            ),
            store_errors: metrics.counter("cox_scheduler_store_errors_total", "Store calls that failed."),
        }
    }

    pub(crate) fn advanced(&self, answer: &'static str) {
        self.advances.with_label_values(&[answer]).inc();
    }

    /// Shows the store's own count, the ends that never happened as well: a series that begins at one hides its first.
    pub(crate) fn ends(&self, ends: &Ends) {
        let by_itself = [RunStatus::Succeeded, RunStatus::Failed].map(|status| (status, None));
        let stopped = Cause::ALL.map(|cause| (cause.end(), Some(cause)));
        for (status, cause) in by_itself.into_iter().chain(stopped) {
            let counter = self.runs_ended.with_label_values(&[status.name(), cause.map_or("none", Cause::name)]);
            show(&counter, ends.runs.get(&(status, cause)).copied().unwrap_or_default());
        }
        show(&self.poisoned, ends.tasks_crashed);
        show(&self.queue_timeouts, ends.queue_timeouts);
    }

    pub(crate) fn sent(&self, result: &'static str, count: usize) {
        self.sent.with_label_values(&[result]).inc_by(count as u64);
    }

    pub(crate) fn swept(&self, swept: &Swept) {
        self.leases_expired.inc_by(u64::from(swept.expired));
        self.runs_overdue.inc_by(swept.overdue.len() as u64);
    }

    pub(crate) fn planned(&self, took: std::time::Duration) {
        self.plan_seconds.with_label_values(&[] as &[&str]).observe(took.as_secs_f64());
    }

    pub(crate) fn backlog(&self, lane: &Lane, messages: u64) {
        self.backlog
            .with_label_values(&[lane.pool.as_str(), lane.priority.name()])
            .set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// Shows how many workers each pool has.
    pub(crate) fn workers(&self, pools: &BTreeMap<PoolName, i64>) {
        self.pool_workers.reset();
        for (pool, workers) in pools {
            self.pool_workers.with_label_values(&[pool.as_str()]).set(*workers);
        }
    }

    pub(crate) fn workers_unknown(&self) {
        self.pool_workers.reset();
    }

    pub(crate) fn backlogs_unknown(&self) {
        self.backlog.reset();
    }

    /// Shows how a pool is judged.
    pub(crate) fn judged(&self, load: &PoolLoad, age: Duration) {
        let over = load.overload.as_ref().map(|overload| overload.over.name());
        for bound in ["backlog", "queue_age"] {
            self.overloaded.with_label_values(&[load.pool.as_str(), bound]).set(i64::from(over == Some(bound)));
        }
        self.queue_age.with_label_values(&[load.pool.as_str()]).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// An old judgement would pass for a new one.
    pub(crate) fn judgements_unknown(&self) {
        self.overloaded.reset();
        self.queue_age.reset();
    }

    pub(crate) fn shed(&self, priority: Priority) {
        self.shed.with_label_values(&[priority.name()]).inc();
    }

    pub(crate) fn broker_reconnects(&self, count: u64) {
        self.broker_reconnects.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Shows what is in the way of sending, if anything is.
    pub(crate) fn hindered(&self, by: Option<Hindrance>) {
        for hindrance in Hindrance::ALL {
            self.broker_hindered.with_label_values(&[hindrance.name()]).set(i64::from(by == Some(hindrance)));
        }
    }

    pub(crate) fn store_failed(&self) {
        self.store_errors.inc();
    }
}

/// Shows a count that is kept elsewhere.
fn show(counter: &IntCounter, count: u64) {
    if count < counter.get() {
        // The store was made anew; Prometheus knows what it means that a counter starts again.
        counter.reset();
    }
    counter.inc_by(count - counter.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_count_of_ended_runs_is_shown_as_it_is_and_starts_again_with_a_new_store() {
        let metrics = Metrics::new();
        let figures = SchedulerMetrics::new(&metrics);
        assert!(!metrics.render().contains("cox_store_runs_ended_total{"), "nothing is said before it is known");
        let cancelled = (RunStatus::Cancelled, Some(Cause::Policy));
        for count in [7, 9, 9, 2] {
            let runs = [(cancelled, count), ((RunStatus::Succeeded, None), 1)].into();
            figures.ends(&Ends { runs, tasks_crashed: count, queue_timeouts: 1 });
            let text = metrics.render();
            for line in [
                format!(r#"cox_store_runs_ended_total{{cause="policy",status="cancelled"}} {count}"#),
                r#"cox_store_runs_ended_total{cause="none",status="succeeded"} 1"#.to_owned(),
                r#"cox_store_runs_ended_total{cause="deadline",status="timed_out"} 0"#.to_owned(),
            ] {
                assert!(text.contains(&line), "{line} is missing in:\n{text}");
            }
        }
    }
}
