//! Limits of the graph and of its nodes: between floor and ceiling, and in order among themselves.

use std::time::Duration;

use crate::duration::show;
use crate::graph::finding::Findings;
use crate::graph::model::{Graph, NodeKind};
use crate::graph::place::Place;
use crate::graph::policy::Policy;
use crate::limits::{
    DESCENDANTS_CEILING, Limit, MAX_REPEATS_CEILING, MAX_STEPS_CEILING, NODE_RUNS_CEILING, RETRY_ATTEMPTS_MAX,
};

/// Crashes that a policy may allow: more only wears out workers.
const MAX_CRASHES_CEILING: u32 = 100;
/// A pause that grows faster reaches its maximum at once.
const FACTOR_MAX: f64 = 100.0;

pub(super) fn check(graph: &Graph, findings: &mut Findings) {
    let place = Place::root().key("limits");
    let limits = &graph.limits;
    limit(Limit::RunTimeout, Some(limits.run_timeout), &place, findings);
    between("max_steps", limits.max_steps, MAX_STEPS_CEILING, &place, findings);
    between("node_runs", limits.node_runs, NODE_RUNS_CEILING, &place, findings);
    if let Some(descendants) = limits.budget.descendants.filter(|most| *most > DESCENDANTS_CEILING) {
        let message = format!("`descendants` is {descendants}, but must be at most {DESCENDANTS_CEILING}");
        findings.error(&place.key("descendants"), message);
    }
    repeats(limits.max_repeats, &place, findings);
    for (name, node) in &graph.nodes {
        let place = Place::root().key("nodes").key(name);
        findings.extend_within(&place, check_policy(&node.policy));
        if let NodeKind::Wait(wait) = &node.kind
            && wait.length >= limits.run_timeout
        {
            let message = format!(
                "the node waits {}, but the run ends after {} (`run_timeout`)",
                show(wait.length),
                show(limits.run_timeout)
            );
            findings.warning(&place.key("for"), message).remedy("raise limits.run_timeout, or wait less");
        }
    }
}

/// Says what is wrong with a policy, wherever it stands.
pub(in crate::graph) fn check_policy(policy: &Policy) -> Findings {
    let mut findings = Findings::default();
    let here = Place::root();
    limit(Limit::Timeout, policy.timeout, &here, &mut findings);
    limit(Limit::QueueTimeout, policy.queue_timeout, &here, &mut findings);
    limit(Limit::AttemptTimeout, policy.attempt_timeout, &here, &mut findings);
    limit(Limit::ConnectTimeout, policy.connect_timeout, &here, &mut findings);
    limit(Limit::FirstByteTimeout, policy.first_byte_timeout, &here, &mut findings);
    limit(Limit::IdleTimeout, policy.idle_timeout, &here, &mut findings);
    limit(Limit::Grace, policy.grace, &here, &mut findings);
    for (inner, value) in [(Limit::AttemptTimeout, policy.attempt_timeout), (Limit::QueueTimeout, policy.queue_timeout)]
    {
        // A `timeout` that is refused says nothing about the others.
        let sound = policy.timeout() >= Limit::Timeout.floor();
        if let Some(value) = value.filter(|value| sound && *value > policy.timeout()) {
            let timeout = show(policy.timeout());
            let message = format!("`{inner}` is {}, but the task ends after {timeout} (`timeout`)", show(value));
            findings.warning(&here.key(inner.name()), message).remedy("raise `timeout`, or lower this");
        }
    }
    if let Some(crashes) = policy.max_crashes {
        between("max_crashes", crashes.into(), MAX_CRASHES_CEILING.into(), &here, &mut findings);
    }
    retry(policy, &here.key("retry"), &mut findings);
    findings
}

fn retry(policy: &Policy, place: &Place, findings: &mut Findings) {
    let retry = &policy.retry;
    between("attempts", retry.attempts.into(), RETRY_ATTEMPTS_MAX.into(), place, findings);
    let backoff = &retry.backoff;
    if !(1.0..=FACTOR_MAX).contains(&backoff.factor) {
        let message = format!("`factor` is {}, but must be between 1 and {FACTOR_MAX}", backoff.factor);
        findings.error(&place.key("factor"), message).remedy("1 keeps the pause, 2 doubles it each time");
    }
    if backoff.max > Limit::Timeout.ceiling() {
        over("max", backoff.max, Limit::Timeout.ceiling(), place, findings);
    }
    if backoff.first > backoff.max {
        let message =
            format!("the first pause is {}, longer than the longest, {}", show(backoff.first), show(backoff.max));
        findings.error(&place.key("first"), message).remedy("raise `max`, or lower `first`");
    }
}

fn limit(limit: Limit, value: Option<Duration>, place: &Place, findings: &mut Findings) {
    let Some(value) = value else { return };
    if value > limit.ceiling() {
        over(limit.name(), value, limit.ceiling(), place, findings);
    } else if value < limit.floor() {
        let message = format!("`{limit}` is {}, but must be at least {}", show(value), show(limit.floor()));
        let remedy = format!("leave it out for the default, {}", show(limit.default()));
        findings.error(&place.key(limit.name()), message).remedy(remedy);
    }
}

fn over(name: &str, value: Duration, ceiling: Duration, place: &Place, findings: &mut Findings) {
    let message = format!("`{name}` is {}, more than the {} that is allowed", show(value), show(ceiling));
    findings.error(&place.key(name), message).remedy(format!("write at most {}", show(ceiling)));
}

/// The first time is no repetition.
fn repeats(value: u64, place: &Place, findings: &mut Findings) {
    if !(2..=MAX_REPEATS_CEILING).contains(&value) {
        let message = format!("`max_repeats` is {value}, but must be between 2 and {MAX_REPEATS_CEILING}");
        findings
            .error(&place.key("max_repeats"), message)
            .remedy("write the most for a graph that is meant to repeat itself");
    }
}

fn between(name: &str, value: u64, ceiling: u64, place: &Place, findings: &mut Findings) {
    if value == 0 || value > ceiling {
        let message = format!("`{name}` is {value}, but must be between 1 and {ceiling}");
        findings.error(&place.key(name), message);
    }
}
