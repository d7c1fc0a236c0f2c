//! Reads the limits of upstreams, as an operator writes them: a file, or the setting itself; with all mistakes at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use coxswain_shared::duration;
use coxswain_shared::upstream::{BreakerLimits, NotARate, Rate};
use serde_json::{Map, Value};

use super::limits::{Isolate, RetryBudget, Share, UpstreamLimits, Upstreams};
use crate::hint::hint;

/// Upstreams that may have a name: each is a label in metrics.
const NAMES_MAX: usize = 200;
/// What stands for all the others.
const OTHERS: &str = "*";
/// What an upstream may be given.
const FIELDS: [&str; 11] = [
    "breaker",
    "burst",
    "concurrency",
    "isolate",
    "isolate_share",
    "queue",
    "rate",
    "retry_budget",
    "share",
    "silence",
    "wait",
];
/// What a breaker may be given.
const BREAKER_FIELDS: [&str; 5] = ["failures", "min_timeout", "of", "open_for", "within"];
/// The most calls at once, and of a breaker's window.
const CALLS_MAX: u32 = 1_000_000;

impl Upstreams {
    /// Reads them from the path of a file, or from YAML or JSON: `{HOST: {concurrency: 32}, "*": {…}}`. What an upstream
    /// leaves out is that of `*`, and what that leaves out is the default.
    pub(crate) fn read(setting: &str) -> Result<Self, Vec<String>> {
        Self::parse(&super::super::setting::text(setting).map_err(|why| vec![why])?)
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let read: Value = serde_saphyr::from_str(text).map_err(|error| vec![format!("it cannot be read: {error}")])?;
        let Value::Object(mut all) = read else {
            return Err(vec!["write limits by host: {api.example.com: {concurrency: 32}}".to_owned()]);
        };
        let mut reading = Reading::default();
        let others = all.remove(OTHERS).map(|fields| reading.limits(OTHERS, &fields, UpstreamLimits::default()));
        let others = others.unwrap_or_default();
        if all.len() > NAMES_MAX {
            reading.note(format!("{} upstreams have a name: at most {NAMES_MAX} may", all.len()));
        }
        let mut upstreams = Self { others, ..Self::default() };
        for (name, fields) in &all {
            if !is_host(name) {
                reading.note(format!("`{name}` is no host: write api.example.com, or api.example.com:8443"));
            }
            let limits = reading.limits(name, fields, upstreams.others.clone());
            upstreams.named.insert(name.to_ascii_lowercase(), limits);
        }
        if reading.mistakes.is_empty() { Ok(upstreams) } else { Err(reading.mistakes) }
    }
}

/// A host, with or without a port. What is an address of version 6 stands in brackets.
fn is_host(name: &str) -> bool {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (name, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let is_good = match is_v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host),
    };
    is_good && port.is_none_or(is_port)
}

/// What was found wrong so far.
#[derive(Debug, Default)]
struct Reading {
    mistakes: Vec<String>,
}

impl Reading {
    fn note(&mut self, mistake: String) {
        self.mistakes.push(mistake);
    }

    fn limits(&mut self, name: &str, fields: &Value, mut limits: UpstreamLimits) -> UpstreamLimits {
        let empty = Map::new();
        let fields = match fields {
            Value::Object(fields) => fields,
            Value::Null => &empty,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.note(format!("`{name}` has no limits by their names: write {{concurrency: 32}}"));
                &empty
            }
        };
        for (field, value) in fields {
            match field.as_str() {
                // It is a part of the rate, which may come after it.
                "burst" => {}
                "breaker" => limits.breaker = self.breaker(name, value, limits.breaker),
                _ => {
                    if let Err(why) = set(&mut limits, field, value) {
                        self.note(format!("{name}: `{field}`: {why}"));
                    }
                }
            }
        }
        match (fields.get("burst").map(|burst| number(burst, 1..=CALLS_MAX)), &mut limits.rate) {
            (None, _) => {}
            (Some(Ok(burst)), Some(rate)) => *rate = rate.with_burst(burst),
            (Some(Ok(_)), None) => self.note(format!("{name}: `burst`: it is part of a rate: give it a `rate` too")),
            (Some(Err(why)), _) => self.note(format!("{name}: `burst`: {why}")),
        }
        limits
    }

    fn breaker(&mut self, name: &str, value: &Value, before: Option<BreakerLimits>) -> Option<BreakerLimits> {
        let Value::Object(fields) = value else {
            if !is_off(value) {
                self.note(format!(
                    "{name}: `breaker`: {value} is neither off nor a map: write {{failures: 50%, of: 20}}"
                ));
            }
            return None;
        };
        let mut limits = before.unwrap_or_default();
        for (field, value) in fields {
            let set = match field.as_str() {
                "failures" => share(value).map(|share| limits.failures = share.as_percent()),
                "of" => number(value, 1..=CALLS_MAX).map(|calls| limits.of = calls),
                "within" => span(value, Duration::from_secs(1)).map(|span| limits.within = span),
                "open_for" => span(value, Duration::from_secs(1)).map(|span| limits.open_for = span),
                "min_timeout" => span(value, Duration::from_millis(10)).map(|span| limits.min_timeout = span),
                other => Err(format!("there is no such limit{}", hint(other, BREAKER_FIELDS))),
            };
            if let Err(why) = set {
                self.note(format!("{name}: `breaker.{field}`: {why}"));
            }
        }
        Some(limits)
    }
}

fn set(limits: &mut UpstreamLimits, field: &str, value: &Value) -> Result<(), String> {
    match field {
        "isolate" => limits.isolate = isolate(value)?,
        "isolate_share" => limits.isolate_share = share(value)?,
        "concurrency" => limits.concurrency = number(value, 1..=10_000)?,
        "queue" => limits.queue = number(value, 0..=10_000)?,
        "rate" => limits.rate = rate(value)?,
        "retry_budget" if is_off(value) => limits.retry_budget = None,
        "retry_budget" => limits.retry_budget = Some(RetryBudget::new(share(value)?)),
        "share" => limits.share = share(value)?,
        "wait" => limits.wait = span(value, Duration::ZERO)?,
        "silence" => limits.silence = span(value, Duration::from_millis(10))?,
        other => return Err(format!("there is no such limit{}", hint(other, FIELDS))),
    }
    Ok(())
}

fn number<N: TryFrom<u64> + PartialOrd + fmt::Display>(value: &Value, range: RangeInclusive<N>) -> Result<N, String> {
    let read = value.as_u64().and_then(|number| N::try_from(number).ok()).filter(|number| range.contains(number));
    read.ok_or_else(|| format!("{value} is not a whole number from {} to {}", range.start(), range.end()))
}

fn rate(value: &Value) -> Result<Option<Rate>, String> {
    if is_off(value) {
        return Ok(None);
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map(Some).map_err(|error: NotARate| error.to_string())
}

fn isolate(value: &Value) -> Result<Option<Isolate>, String> {
    if is_off(value) {
        return Ok(None);
    }
    match value.as_str().unwrap_or_default().split_once(':') {
        None if value == "graph" => Ok(Some(Isolate::Graph)),
        Some(("label", name)) if !name.trim().is_empty() => Ok(Some(Isolate::Label(name.trim().to_owned()))),
        _ => Err(format!("{value} is nobody that can be kept apart: write graph, label:tenant, or off")),
    }
}

/// Whether it takes away what `*` has.
fn is_off(value: &Value) -> bool {
    value == "off" || *value == Value::Bool(false)
}

fn share(value: &Value) -> Result<Share, String> {
    percent(value).and_then(Share::percent).ok_or_else(|| format!("{value} is not from 1% to 100%"))
}

/// A whole number with its sign: a bare one could be meant as a part of one.
fn percent(value: &Value) -> Option<u8> {
    value.as_str()?.trim().strip_suffix('%')?.trim_end().parse().ok()
}

fn span(value: &Value, least: Duration) -> Result<Duration, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(seconds) => seconds.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let span = duration::parse(&text).map_err(|error| error.to_string())?;
    if span < least { Err(format!("it must be at least {}", duration::show(least))) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_has_the_limits_of_the_others_where_it_says_nothing() {
        let read =
            Upstreams::read("{API.example.com: {concurrency: 8, wait: 250ms}, h:8080: , '*': {queue: 3, share: 50%}}");
        let read = read.unwrap();
        let (others, api) = (&read.others, &read.named["api.example.com"]);
        assert_eq!((others.concurrency, others.queue, others.share), (64, 3, Share::percent(50).unwrap()));
        assert_eq!((api.concurrency, api.queue, api.wait), (8, 3, Duration::from_millis(250)));
        assert_eq!(&read.named["h:8080"], others);
        assert_eq!(Upstreams::read("{}").unwrap(), Upstreams::default());
    }

    #[test]
    fn a_rate_and_a_breaker_are_those_of_the_others_until_they_are_given_or_taken_away() {
        let text = "{'*': {rate: 500/m, breaker: {of: 5}}, a: {burst: 20, breaker: {failures: 30%}}, b: {rate: off, breaker: off}}";
        let read = Upstreams::read(text).unwrap();
        let (a, b) = (&read.named["a"], &read.named["b"]);
        assert_eq!(a.rate.map(|rate| (rate.to_string(), rate.burst())), Some(("500/m".to_owned(), 20)));
        assert_eq!(a.breaker, Some(BreakerLimits { failures: 30, of: 5, ..BreakerLimits::default() }));
        assert_eq!((b.rate, b.breaker), (None, None));
        let read = Upstreams::read("{a: {retry_budget: 5%}, b: {retry_budget: off}}").unwrap();
        let budget = read.named["a"].retry_budget;
        assert_eq!((budget, read.named["b"].retry_budget), (Share::percent(5).map(RetryBudget::new), None));
        let told = Upstreams::read(
            "{a: {burst: 2}, b: {rate: 5, burst: 0}, c: {breaker: 7}, d: {breaker: {off: 1, of: 0, within: 1ms}}}",
        );
        let told = told.unwrap_err();
        let parts = [
            "a: `burst`: it is part of a rate",
            "b: `burst`: 0 is not",
            "b: `rate`: `5` is no rate",
            "c: `breaker`: 7 is neither",
            "d: `breaker.off`: there is no such limit; did you mean `of`?",
            "d: `breaker.of`: 0 is not",
            "d: `breaker.within`: it must be at least 1s",
        ];
        assert_eq!(told.len(), parts.len(), "{told:?}");
        for part in parts {
            assert!(told.iter().any(|told| told.contains(part)), "{part} is missing in {told:?}");
        }
    }

    #[test]
    fn a_file_is_read_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upstreams.yaml");
        std::fs::write(&path, "# ours\nh:\n  silence: 2s\n").unwrap();
        let read = Upstreams::read(path.to_str().unwrap()).unwrap();
        assert_eq!(read.named["h"].silence, Duration::from_secs(2));
        assert!(Upstreams::read("/no/such/file").unwrap_err()[0].contains("/no/such/file"));
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let text = "{a b: {}, h: {concurency: 1, queue: -1, share: 75, isolate: tenant}, i: 7, '*': {wait: soon, silence: 1ms}, 'j:0': {}}";
        let told = Upstreams::read(text).unwrap_err();
        let parts = [
            "*: `silence`: it must be at least 10ms",
            "*: `wait`: `soon` is not a duration",
            "`a b` is no host",
            "h: `concurency`: there is no such limit; did you mean `concurrency`?",
            "h: `queue`: -1 is not a whole number from 0 to 10000",
            "h: `share`: 75 is not from 1% to 100%",
            "h: `isolate`: \"tenant\" is nobody that can be kept apart: write graph, label:tenant, or off",
            "`i` has no limits by their names",
            "`j:0` is no host",
        ];
        assert_eq!(told.len(), parts.len(), "{told:?}");
        for part in parts {
            assert!(told.iter().any(|told| told.contains(part)), "{part} is missing in {told:?}");
        }
        for bad in ["[a]\n", "7\n", "{a: {}, a: {}}", "{"] {
            assert!(Upstreams::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_may_have_a_port() {
        for good in ["a", "api.example.com", "a:1", "127.0.0.1:65535", "[::1]", "[::1]:80"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ":80", "a:", "a:99999", "http://a", "a/b", "::1", "[x]", "*.a"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
