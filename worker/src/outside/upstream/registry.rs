//! The gates of a worker, one for each upstream that it calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use coxswain_shared::store::Store;
use coxswain_shared::upstream::UpstreamName;
use reqwest::Url;

use super::fleet::Fleet;
use super::gate::Gate;
use super::limits::Upstreams;
use super::places::Places;
use crate::metrics::Metrics;

/// Upstreams that are known at a time; beyond it those that nobody uses are forgotten.
const GATES_MAX: usize = 1_000;

/// The gates.
#[derive(Debug)]
pub(in crate::outside) struct Gates {
    upstreams: Upstreams,
    slots: usize,
    store: Arc<dyn Store>,
    metrics: Metrics,
    known: Mutex<BTreeMap<UpstreamName, Arc<Gate>>>,
}

impl Gates {
    /// Those of a worker with so many slots.
    pub(in crate::outside) const fn new(
        upstreams: Upstreams,
        slots: usize,
        store: Arc<dyn Store>,
        metrics: Metrics,
    ) -> Self {
        Self { upstreams, slots, store, metrics, known: Mutex::new(BTreeMap::new()) }
    }

    /// The gate before an address.
    pub(in crate::outside) fn of(&self, url: &Url) -> Arc<Gate> {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let port = url.port_or_known_default().unwrap_or_default();
        let name = UpstreamName::of(host, port);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = known.get(&name) {
            return Arc::clone(gate);
        }
        if known.len() >= GATES_MAX {
            known.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let named = self.upstreams.find(host, port);
        let places = Places::new(name.clone(), named, self.slots, self.metrics.clone());
        let gate = Arc::new(Gate::new(places, named.1, Fleet::new(name.clone(), Arc::clone(&self.store))));
        known.insert(name, Arc::clone(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
    use coxswain_shared::telemetry;

    use super::*;

    #[test]
    fn one_host_and_port_is_one_upstream_and_those_that_nobody_uses_are_forgotten() {
        let store = Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap());
        let gates = Gates::new(Upstreams::default(), 16, store, Metrics::new(&telemetry::Metrics::new()));
        let of = |url: &str| gates.of(&Url::parse(url).unwrap());
        let used = of("https://a/x");
        assert!(Arc::ptr_eq(&used, &of("https://A.:443/y?z")));
        assert!(!Arc::ptr_eq(&used, &of("http://a/x")) && !Arc::ptr_eq(&used, &of("https://a:444/x")));
        for port in 0..GATES_MAX + 10 {
            of(&format!("http://h:{}/", port + 1));
        }
        assert!(gates.known.lock().unwrap().len() <= GATES_MAX);
        assert!(Arc::ptr_eq(&used, &of("https://a/")), "what is in use is kept");
    }
}
