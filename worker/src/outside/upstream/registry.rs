//! The gates of a worker, one for each upstream that it calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coxswain_shared::id::RunId;
use coxswain_shared::policing;
use coxswain_shared::policy::Who;
use coxswain_shared::store::Store;
use coxswain_shared::upstream::UpstreamName;
use reqwest::Url;
use tokio::time::timeout;

use super::fleet::Fleet;
use super::gate::Gate;
use super::limits::Upstreams;
use super::places::Places;
use crate::metrics::Metrics;

/// Upstreams that are known at a time; beyond it those that nobody uses are forgotten.
const GATES_MAX: usize = 1_000;
/// How long the store is asked whom a run calls as.
const PATIENCE: Duration = Duration::from_millis(500);

/// The gates.
#[derive(Debug)]
pub(in crate::outside) struct Gates {
    upstreams: Upstreams,
    slots: usize,
    store: Arc<dyn Store>,
    metrics: Metrics,
    known: Mutex<BTreeMap<UpstreamName, Arc<Gate>>>,
    places: Mutex<BTreeMap<UpstreamName, Arc<Places>>>,
    /// Whom runs call as.
    callers: Mutex<BTreeMap<RunId, Arc<Who>>>,
}

impl Gates {
    /// Those of a worker with so many slots.
    pub(in crate::outside) const fn new(
        upstreams: Upstreams,
        slots: usize,
        store: Arc<dyn Store>,
        metrics: Metrics,
    ) -> Self {
        Self {
            upstreams,
            slots,
            store,
            metrics,
            known: Mutex::new(BTreeMap::new()),
            places: Mutex::new(BTreeMap::new()),
            callers: Mutex::new(BTreeMap::new()),
        }
    }

    /// The gate before an address, for a call of this run.
    pub(in crate::outside) async fn of(&self, url: &Url, run: &RunId) -> Arc<Gate> {
        let (host, port) = host_and_port(url);
        let isolate = self.upstreams.find(host, port).1.isolate.clone();
        let subject = match isolate {
            None => None,
            Some(isolate) => {
                Some(self.caller(run).await.map_or_else(String::new, |who| isolate.subject(&who).to_owned()))
            }
        };
        self.gate(host, port, subject.as_deref())
    }

    fn gate(&self, host: &str, port: u16, subject: Option<&str>) -> Arc<Gate> {
        let shared = UpstreamName::of(host, port);
        let name = subject.map_or_else(|| shared.clone(), |subject| shared.of_subject(subject));
        let mut known = lock(&self.known);
        if let Some(gate) = known.get(&name) {
            return Arc::clone(gate);
        }
        if known.len() >= GATES_MAX {
            known.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let limits = self.upstreams.find(host, port).1;
        let fleet = |name: &UpstreamName| Fleet::new(name.clone(), Arc::clone(&self.store));
        let all = subject.map(|_| fleet(&shared));
        let gate = Arc::new(Gate::new(self.places(host, port, &shared), limits, fleet(&name), all));
        known.insert(name, Arc::clone(&gate));
        gate
    }

    /// The places of an upstream: those who are kept apart share them, for they are the worker's.
    fn places(&self, host: &str, port: u16, name: &UpstreamName) -> Arc<Places> {
        let mut known = lock(&self.places);
        if known.len() >= GATES_MAX {
            known.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let named = self.upstreams.find(host, port);
        let make = || Arc::new(Places::new(name.clone(), named, self.slots, self.metrics.clone()));
        Arc::clone(known.entry(name.clone()).or_insert_with(make))
    }

    /// Whom a run calls as. Nobody where the store does not say so: all of these are one.
    async fn caller(&self, run: &RunId) -> Option<Arc<Who>> {
        if let Some(known) = lock(&self.callers).get(run) {
            return Some(Arc::clone(known));
        }
        let found = timeout(PATIENCE, policing::who(self.store.as_ref(), run)).await.ok()?;
        let who = Arc::new(found.ok()??);
        let mut callers = lock(&self.callers);
        if callers.len() >= GATES_MAX {
            callers.clear();
        }
        callers.insert(run.clone(), Arc::clone(&who));
        Some(who)
    }
}

fn host_and_port(url: &Url) -> (&str, u16) {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    (host, url.port_or_known_default().unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let of = |url: &str| {
            let url = Url::parse(url).unwrap();
            let (host, port) = host_and_port(&url);
            gates.gate(host, port, None)
        };
        let used = of("https://a/x");
        assert!(Arc::ptr_eq(&used, &of("https://A.:443/y?z")));
        assert!(!Arc::ptr_eq(&used, &of("http://a/x")) && !Arc::ptr_eq(&used, &of("https://a:444/x")));
        for port in 0..GATES_MAX + 10 {
            of(&format!("http://h:{}/", port + 1));
        }
        assert!(gates.known.lock().unwrap().len() <= GATES_MAX);
        assert!(Arc::ptr_eq(&used, &of("https://a/")), "what is in use is kept");
    }

    #[test]
    fn those_who_are_kept_apart_have_gates_of_their_own_and_share_the_places() {
        let store = Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap());
        let gates = Gates::new(Upstreams::default(), 16, store, Metrics::new(&telemetry::Metrics::new()));
        let [one, other] = ["one", "other"].map(|subject| gates.gate("h", 80, Some(subject)));
        assert!(!Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &gates.gate("h", 80, Some("one"))));
        assert_eq!(lock(&gates.places).len(), 1);
    }
}
