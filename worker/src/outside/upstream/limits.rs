//! What calls to one upstream may take of a worker, and the limits of all upstreams by their names.

use std::collections::BTreeMap;
use std::time::Duration;

use coxswain_shared::policy::Who;
use coxswain_shared::upstream::{BreakerLimits, Rate};

/// A part of the worker's slots, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// From 1 to 100 percent; none else.
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// The number.
    pub(super) const fn as_percent(self) -> u8 {
        self.0
    }

    /// So many of these slots: rounded down, and at least one.
    pub(super) fn of(self, slots: usize) -> usize {
        (slots * usize::from(self.0) / 100).max(1)
    }
}

/// What calls to one upstream may take of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Calls in flight at a time. Default 64.
    pub concurrency: u16,
    /// Calls that may wait for their turn. Default 256.
    pub queue: u16,
    /// The part of the worker's slots that calls in flight may hold. Default 75 %.
    pub share: Share,
    /// How long a call waits for its turn in its slot, before it is put off. Default 5 s.
    pub wait: Duration,
    /// After how long without a sign of life nobody waits for the upstream. Default 2 s: most models have said
    /// something by then.
    pub silence: Duration,
    /// Calls of the whole fleet. Default: no limit.
    pub rate: Option<Rate>,
    /// When calls are not even tried, by the whole fleet. Default: [`BreakerLimits::default`].
    pub breaker: Option<BreakerLimits>,
    /// Retries of this worker. Default: 20 %, and 100 beside.
    pub retry_budget: Option<RetryBudget>,
    /// Who is kept apart at this upstream. Default: nobody, so that all share one breaker and the rate.
    pub isolate: Option<Isolate>,
    /// The part of the rate that each of those may use who are kept apart. Default 50 %.
    pub isolate_share: Share,
}

/// Who is kept apart: each has a breaker and a retry budget of its own, and only a part of the rate. A child run is
/// one with the run at the top of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolate {
    /// The runs of one graph.
    Graph,
    /// The runs that have one value of this label. Those without it are one.
    Label(String),
}

impl Isolate {
    /// As whom a run calls.
    pub(super) fn subject<'w>(&self, who: &'w Who) -> &'w str {
        match self {
            Self::Graph => who.graph.as_str(),
            Self::Label(name) => who.labels.get(name).map_or("", String::as_str),
        }
    }
}

/// How many retries there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// As a part of the calls.
    pub share: Share,
    /// Beside these: so many at once, of which a tenth is there again each second.
    pub reserve: u16,
}

impl RetryBudget {
    /// A part of the calls, and 100 beside.
    pub const fn new(share: Share) -> Self {
        Self { share, reserve: 100 }
    }
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            concurrency: 64,
            queue: 256,
            share: Share(75),
            wait: Duration::from_secs(5),
            silence: Duration::from_secs(2),
            rate: None,
            breaker: Some(BreakerLimits::default()),
            retry_budget: Some(RetryBudget::new(Share(20))),
            isolate: None,
            isolate_share: Share(50),
        }
    }
}

impl UpstreamLimits {
    /// Calls in flight at a time on a worker with so many slots.
    pub(super) fn places(&self, slots: usize) -> usize {
        self.share.of(slots).min(usize::from(self.concurrency)).max(1)
    }

    /// Calls that may wait for their turn there. What only the worker's slots hold up waits in them, as any work does.
    /// What the upstream's own limit holds up may only wait in the slots of its share.
    pub(super) fn waiters(&self, slots: usize) -> usize {
        let (share, places) = (self.share.of(slots), self.places(slots));
        let queue = usize::from(self.queue);
        if places < share { queue.min(share - places) } else { queue }
    }
}

/// The limits of all upstreams: of those with a name, and of the others, each for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// By `host` or `host:port`, in small letters. An address of version 6 stands in brackets.
    pub named: BTreeMap<String, UpstreamLimits>,
    /// Of each of the others.
    pub others: UpstreamLimits,
}

/// What upstreams without a name are called in metrics.
const OTHER: &str = "other";

impl Upstreams {
    /// Where a `concurrency` that was set is not reached on a worker with so many slots, since its `share` is less.
    pub(crate) fn cut_by_share(&self, slots: u16) -> Vec<String> {
        let standard = UpstreamLimits::default().concurrency;
        let named = self.named.iter().filter(|(_, limits)| limits.concurrency != standard);
        let told = named.filter_map(|(name, limits)| {
            let places = limits.places(usize::from(slots));
            (places < usize::from(limits.concurrency)).then(|| {
                format!(
                    "upstream {name}: {places} calls at a time, not the {} of its `concurrency`, since its `share` is {}% of \
                     {slots} slots: raise COX_SLOTS or `share`",
                    limits.concurrency, limits.share.0
                )
            })
        });
        told.collect()
    }

    /// The limits of an upstream, and its name in metrics.
    pub(super) fn find(&self, host: &str, port: u16) -> (&str, &UpstreamLimits) {
        let exact = self.named.get_key_value(format!("{host}:{port}").as_str());
        let found = exact.or_else(|| self.named.get_key_value(host));
        found.map_or((OTHER, &self.others), |(name, limits)| (name, limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrency: u16, queue: u16) -> UpstreamLimits {
        UpstreamLimits { concurrency, queue, ..UpstreamLimits::default() }
    }

    #[test]
    fn an_upstream_has_its_share_of_the_slots_and_leaves_some_wherever_there_are_two() {
        let places = |slots| limits(64, 256).places(slots);
        assert_eq!([1, 2, 3, 4, 16, 64, 100, 1_000].map(places), [1, 1, 2, 3, 12, 48, 64, 64]);
        assert_eq!([Share::percent(0), Share::percent(101)], [None, None]);
    }

    #[test]
    fn what_the_upstreams_own_limit_holds_up_waits_only_within_its_share() {
        assert_eq!((limits(64, 256).places(16), limits(64, 256).waiters(16)), (12, 256));
        assert_eq!((limits(4, 256).places(16), limits(4, 256).waiters(16)), (4, 8));
        assert_eq!((limits(4, 3).places(16), limits(4, 3).waiters(16)), (4, 3));
        assert_eq!(limits(64, 0).waiters(16), 0);
    }

    #[test]
    fn a_concurrency_that_the_share_of_the_slots_cuts_is_told() {
        let named = [("a", limits(20, 0)), ("b", limits(12, 0)), ("c", limits(64, 0))];
        let named = named.map(|(name, limits)| (name.to_owned(), limits)).into();
        let all = Upstreams { named, others: UpstreamLimits::default() };
        let told = all.cut_by_share(16);
        assert!(told.len() == 1 && told[0].contains("upstream a: 12 calls at a time, not the 20"), "{told:?}");
        assert_eq!(all.cut_by_share(32), Vec::<String>::new());
    }

    #[test]
    fn the_name_with_a_port_goes_before_the_one_without() {
        let named = [("a", limits(1, 0)), ("a:8080", limits(2, 0))].map(|(name, limits)| (name.to_owned(), limits));
        let all = Upstreams { named: named.into(), others: limits(3, 0) };
        let found = |host, port| (all.find(host, port).0, all.find(host, port).1.concurrency);
        assert_eq!([found("a", 443), found("a", 8080), found("b", 443)], [("a", 1), ("a:8080", 2), ("other", 3)]);
    }
}
