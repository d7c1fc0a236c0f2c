//! Faults on purpose: which calls fail, how, and how often. For tests; the shims that obey are [`crate::store::fault`]
//! and [`crate::broker::fault`].
//!
//! The chance comes from a seed, so a failing seed is a test. Under several threads the same seed gives the same
//! sequence of decisions, but not to the same calls; where that matters, use [`Faults::next`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{broker, store};

/// The call of signals in [`Faults::counts`].
pub const SIGNALS: &str = "signals";

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails before it has done anything.
    Refused,
    /// It is carried out, and its reply is lost.
    ReplyLost,
}

/// How often calls fail, each from 0 (never) to 1 (always).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Of [`Fault::Refused`].
    pub refused: f64,
    /// Of [`Fault::ReplyLost`].
    pub reply_lost: f64,
}

/// What became of the calls of one method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Left alone.
    pub passed: u64,
    /// Failed before they did anything.
    pub refused: u64,
    /// Carried out, and their reply lost.
    pub replies_lost: u64,
}

/// A source of faults that can be changed and switched while it is in use. Clones are the same source.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_on: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    rng: StdRng,
    everywhere: Rates,
    at: BTreeMap<&'static str, Rates>,
    next: BTreeMap<&'static str, VecDeque<Fault>>,
    signal_loss: f64,
    counts: BTreeMap<&'static str, Counts>,
}

impl Faults {
    /// A source that is switched on, and has no faults yet.
    pub fn seeded(seed: u64) -> Self {
        let plan = Plan {
            rng: StdRng::seed_from_u64(seed),
            everywhere: Rates::default(),
            at: BTreeMap::new(),
            next: BTreeMap::new(),
            signal_loss: 0.0,
            counts: BTreeMap::new(),
        };
        Self(Arc::new(Inner { is_on: AtomicBool::new(true), plan: Mutex::new(plan) }))
    }

    /// Sets the rates of all methods that have none of their own.
    pub fn everywhere(&self, rates: Rates) {
        check(rates);
        self.plan().everywhere = rates;
    }

    /// Sets the rates of one method, by its name in the port.
    pub fn at(&self, method: &'static str, rates: Rates) {
        check(rates);
        check_method(method);
        self.plan().at.insert(method, rates);
    }

    /// Makes the next call of a method fail, whatever the rates; of several such orders one is used up by each call.
    pub fn next(&self, method: &'static str, fault: Fault) {
        check_method(method);
        self.plan().next.entry(method).or_default().push_back(fault);
    }

    /// Sets how often a pushed signal is lost, without the receiver being told.
    pub fn lose_signals(&self, rate: f64) {
        assert!((0.0..=1.0).contains(&rate), "a rate lies between 0 and 1");
        self.plan().signal_loss = rate;
    }

    /// Switches all faults on or off.
    pub fn switch(&self, is_on: bool) {
        self.0.is_on.store(is_on, Ordering::SeqCst);
    }

    /// What became of the calls of a method; of pushed signals, by [`SIGNALS`], those that were lost are `refused`.
    pub fn counts(&self, method: &'static str) -> Counts {
        if method != SIGNALS {
            check_method(method);
        }
        self.plan().counts.get(method).copied().unwrap_or_default()
    }

    /// How many faults there have been.
    pub fn total(&self) -> u64 {
        self.plan().counts.values().map(|counts| counts.refused + counts.replies_lost).sum()
    }

    /// Decides about a call, and counts it.
    pub(crate) fn decide(&self, method: &'static str) -> Option<Fault> {
        let mut plan = self.plan();
        let fault = self.is_on().then(|| plan.draw(method)).flatten();
        let counts = plan.counts.entry(method).or_default();
        match fault {
            None => counts.passed += 1,
            Some(Fault::Refused) => counts.refused += 1,
            Some(Fault::ReplyLost) => counts.replies_lost += 1,
        }
        fault
    }

    /// Decides about a signal, and counts it: whether it is lost.
    pub(crate) fn loses_signal(&self) -> bool {
        let mut plan = self.plan();
        let rate = plan.signal_loss;
        let is_lost = self.is_on() && plan.rng.random_bool(rate);
        let counts = plan.counts.entry(SIGNALS).or_default();
        *(if is_lost { &mut counts.refused } else { &mut counts.passed }) += 1;
        is_lost
    }

    fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::SeqCst)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().expect("nothing panics while it holds the plan")
    }
}

impl Plan {
    fn draw(&mut self, method: &'static str) -> Option<Fault> {
        if let Some(fault) = self.next.get_mut(method).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        let rates = self.at.get(method).copied().unwrap_or(self.everywhere);
        let drawn: f64 = self.rng.random();
        if drawn < rates.refused {
            Some(Fault::Refused)
        } else if drawn < rates.refused + rates.reply_lost {
            Some(Fault::ReplyLost)
        } else {
            None
        }
    }
}

fn check(rates: Rates) {
    let is_rate = rates.refused >= 0.0 && rates.reply_lost >= 0.0 && rates.refused + rates.reply_lost <= 1.0;
    assert!(is_rate, "rates are not negative, and their sum is at most 1");
}

/// A slip of the pen would make a test that cannot fail.
fn check_method(method: &str) {
    let is_known = store::fault::METHODS.contains(&method) || broker::fault::METHODS.contains(&method);
    assert!(is_known, "`{method}` is no method of a port");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let draw = |seed| {
            let faults = Faults::seeded(seed);
            faults.everywhere(Rates { refused: 0.2, reply_lost: 0.3 });
            (0..1_000).map(|_| faults.decide("claim")).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let replies_lost = draw(7).iter().filter(|fault| **fault == Some(Fault::ReplyLost)).count();
        assert!((250..350).contains(&replies_lost), "{replies_lost} of 1,000 at a rate of 0.3");
    }

    #[test]
    fn faults_are_switched_and_counted() {
        let faults = Faults::seeded(1);
        faults.at("settle", Rates { refused: 1.0, reply_lost: 0.0 });
        faults.next("settle", Fault::ReplyLost);
        assert_eq!(faults.decide("settle"), Some(Fault::ReplyLost));
        assert_eq!(faults.decide("settle"), Some(Fault::Refused));
        assert_eq!(faults.decide("claim"), None);
        faults.switch(false);
        assert_eq!(faults.decide("settle"), None);
        assert_eq!(faults.counts("settle"), Counts { passed: 1, refused: 1, replies_lost: 1 });
        assert_eq!(faults.total(), 2);
    }

    #[test]
    #[should_panic(expected = "`settel` is no method of a port")]
    fn a_method_that_does_not_exist_is_noticed() {
        Faults::seeded(1).next("settel", Fault::Refused);
    }
}
