//! A registry of a process's own, and what every component needs to register with it.
//!
//! Labels come from closed sets, never from ids. Names begin with `cox_`.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::exhaustion;

/// The registry. Cheap to clone; all clones are the same one.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    registered: Arc<Mutex<Vec<Registered>>>,
}

/// A metric of our own, as it is documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it counts or measures.
    pub help: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the process's own figures (memory, CPU, files, and what it ran out of) in it.
    pub fn new() -> Self {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("the first collector of a new registry is never a double");
        let exhausted = exhaustion::counter();
        registry.register(Box::new(exhausted)).expect("no other metric of a new registry has this name");
        Self { registry, registered: Arc::default() }
    }

    /// What was registered beside the process's own figures, in the order of registration; also what has no value yet.
    pub fn registered(&self) -> Vec<Registered> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    /// A counter for each value of some labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    /// A gauge for each value of some labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram, in seconds, for each value of some labels.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    /// All figures in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail, and registered metrics are well formed");
        String::from_utf8_lossy(&text).into_owned()
    }

    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("metric names and labels are constants that the metrics' own test checks");
        self.registry
            .register(Box::new(collector.clone()))
            .expect("a metric is registered once in a registry; its own test checks that");
        let described = collector.desc().into_iter().map(|desc| Registered {
            name: desc.fq_name.clone(),
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        });
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).extend(described);
        collector
    }
}

/// Buckets for the latency of a stop: from half a millisecond to twenty seconds.
pub fn stop_buckets() -> Vec<f64> {
    vec![0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.counters("cox_things_total", "Things.", &["kind"]).with_label_values(&["odd"]).inc();
        let text = metrics.render();
        assert!(text.contains(r#"cox_things_total{kind="odd"} 1"#), "{text}");
    }

    #[test]
    fn what_was_registered_is_known_before_it_has_a_value() {
        let metrics = Metrics::new();
        let _things = metrics.clone().counters("cox_things_total", "Things.", &["kind"]);
        let [things] = &metrics.registered()[..] else { panic!("one metric was registered") };
        assert_eq!((things.name.as_str(), things.help.as_str()), ("cox_things_total", "Things."));
        assert_eq!(things.labels, ["kind"]);
    }
}
