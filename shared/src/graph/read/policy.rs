//! A node's policy, and the `defaults` that stand in for what it leaves out.

use std::time::Duration;

use super::fields::Fields;
use crate::graph::finding::Findings;
use crate::graph::policy::{Backoff, Jitter, OnFailure, Policy, Retry};
use crate::graph::tree::Branch;
use crate::id::PoolName;

const FORMS: &str = "write fail, { continue: { channel: value } } or { goto: node }";

/// A policy as it is written: what is absent is taken from the defaults.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) pool: Option<PoolName>,
    timeout: Option<Duration>,
    queue_timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    first_byte_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    grace: Option<Duration>,
    max_crashes: Option<u32>,
    on_failure: Option<OnFailure>,
    retry: WrittenRetry,
}

#[derive(Debug, Clone, Default)]
struct WrittenRetry {
    attempts: Option<u32>,
    first: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    jitter: Option<Jitter>,
}

impl Written {
    /// Reads the fields of a policy from among others.
    pub(super) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> Self {
        Self {
            pool: fields.name("pool", findings),
            timeout: fields.duration("timeout", findings),
            queue_timeout: fields.duration("queue_timeout", findings),
            attempt_timeout: fields.duration("attempt_timeout", findings),
            connect_timeout: fields.duration("connect_timeout", findings),
            first_byte_timeout: fields.duration("first_byte_timeout", findings),
            idle_timeout: fields.duration("idle_timeout", findings),
            grace: fields.duration("grace", findings),
            retry: retry(fields, findings),
            max_crashes: fields.small_count("max_crashes", findings),
            on_failure: on_failure(fields, findings),
        }
    }

    /// Takes what is absent from the defaults.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let retry = WrittenRetry {
            attempts: self.retry.attempts.or(defaults.retry.attempts),
            first: self.retry.first.or(defaults.retry.first),
            factor: self.retry.factor.or(defaults.retry.factor),
            max: self.retry.max.or(defaults.retry.max),
            jitter: self.retry.jitter.or(defaults.retry.jitter),
        };
        Self {
            pool: self.pool.or_else(|| defaults.pool.clone()),
            timeout: self.timeout.or(defaults.timeout),
            queue_timeout: self.queue_timeout.or(defaults.queue_timeout),
            attempt_timeout: self.attempt_timeout.or(defaults.attempt_timeout),
            connect_timeout: self.connect_timeout.or(defaults.connect_timeout),
            first_byte_timeout: self.first_byte_timeout.or(defaults.first_byte_timeout),
            idle_timeout: self.idle_timeout.or(defaults.idle_timeout),
            grace: self.grace.or(defaults.grace),
            max_crashes: self.max_crashes.or(defaults.max_crashes),
            on_failure: self.on_failure.or_else(|| defaults.on_failure.clone()),
            retry,
        }
    }

    /// The policy, with the built-in values for what is still absent.
    pub(super) fn policy(&self) -> Policy {
        let built_in = Backoff::default();
        let first = self.retry.first.unwrap_or(built_in.first);
        let backoff = Backoff {
            first,
            factor: self.retry.factor.unwrap_or(built_in.factor),
            // A long first pause alone is no contradiction to a maximum that nobody wrote.
            max: self.retry.max.unwrap_or(built_in.max.max(first)),
            jitter: self.retry.jitter.unwrap_or(built_in.jitter),
        };
        Policy {
            timeout: self.timeout,
            queue_timeout: self.queue_timeout,
            attempt_timeout: self.attempt_timeout,
            connect_timeout: self.connect_timeout,
            first_byte_timeout: self.first_byte_timeout,
            idle_timeout: self.idle_timeout,
            grace: self.grace,
            retry: Retry { attempts: self.retry.attempts.unwrap_or(Retry::default().attempts), backoff },
            max_crashes: self.max_crashes,
            on_failure: self.on_failure.clone().unwrap_or_default(),
        }
    }
}

fn retry(fields: &mut Fields<'_>, findings: &mut Findings) -> WrittenRetry {
    let Some(tree) = fields.get("retry") else { return WrittenRetry::default() };
    let place = fields.place("retry");
    let Some(mut fields) = Fields::of(tree, &place, "`retry`", findings) else { return WrittenRetry::default() };
    let written = WrittenRetry {
        attempts: fields.small_count("attempts", findings),
        first: fields.duration("first", findings),
        factor: fields.number("factor", findings),
        max: fields.duration("max", findings),
        jitter: jitter(&mut fields, findings),
    };
    fields.finish("`retry`", findings);
    written
}

fn jitter(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Jitter> {
    let name = fields.text("jitter", findings)?;
    let found = match name.as_str() {
        "none" => Some(Jitter::None),
        "full" => Some(Jitter::Full),
        "equal" => Some(Jitter::Equal),
        _ => None,
    };
    if found.is_none() {
        let place = fields.place("jitter");
        findings.error(&place, format!("there is no jitter `{name}`")).suggest(&name, ["none", "full", "equal"]);
    }
    found
}

fn on_failure(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<OnFailure> {
    let tree = fields.get("on_failure")?;
    let place = fields.place("on_failure");
    match &tree.value {
        Branch::Text(word) if word == "fail" => Some(OnFailure::Fail),
        Branch::Text(word) if word == "continue" => Some(OnFailure::Continue(std::collections::BTreeMap::new())),
        Branch::Map(_) => {
            let before = findings.len();
            let mut fields = Fields::of(tree, &place, "`on_failure`", findings)?;
            let proceed = fields
                .map("continue", findings, |value, _, _| Some(value.to_json()))
                .or_else(|| fields.get_even_empty("continue").map(|_| std::collections::BTreeMap::new()));
            let goto = fields.name("goto", findings);
            fields.finish("`on_failure`", findings);
            match (proceed, goto) {
                (Some(writes), None) => Some(OnFailure::Continue(writes)),
                (None, Some(node)) => Some(OnFailure::Goto(node)),
                (Some(_), Some(_)) => {
                    findings.error(&place, "`on_failure` has both `continue` and `goto`").remedy("keep one of them");
                    None
                }
                (None, None) => {
                    if findings.len() == before {
                        findings.error(&place, "`on_failure` is empty").remedy(FORMS);
                    }
                    None
                }
            }
        }
        _ => {
            let message = format!("`on_failure` cannot be {}", tree.describe());
            findings.error(&place, message).remedy(FORMS);
            None
        }
    }
}
