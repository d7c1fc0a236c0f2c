//! Secrets by reference: found by the worker, put into what is sent, and taken out of all that is told.

use std::collections::{BTreeMap, BTreeSet};

use coxswain_shared::config::Secret;
use coxswain_shared::graph::Reference;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::{Destination, OutsideConfig, is_address};
use super::echo::{Case, ESCAPES, Found, begins};
use super::forms::{Form, forms, is_number, passwords};
use super::reveal::{Error, reveal};

/// What stands for a secret.
const STARS: &str = "***";

/// The secrets of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    values: Vec<Secret<String>>,
    /// What they are known by, the longest first: of two that begin alike, the rest of the longer one must not stay behind.
    forms: Vec<(Secret<String>, Case)>,
    /// The places in `forms` of those that begin with a character, in lower case.
    by_first: BTreeMap<char, Vec<usize>>,
    /// Those that may go to some hosts alone, and are not yet known to go there.
    bound: Vec<Bound>,
    /// Whether one of them may go to some ports alone.
    minds_ports: bool,
}

/// A secret, and where it may go.
#[derive(Debug, Clone)]
struct Bound {
    name: String,
    hosts: Vec<Destination>,
}

/// A secret that would go where it may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret `{name}` is bound to {hosts} by COX_SECRETS, and does not go to {target}")]
pub(crate) struct Astray {
    name: String,
    hosts: String,
    target: String,
}

impl Secrets {
    /// Finds a secret, and remembers it.
    pub(super) fn reveal(&mut self, reference: &Reference, config: &OutsideConfig) -> Result<String, Error> {
        let value = reveal(reference, config)?;
        let hosts = config.hosts(reference);
        if !hosts.is_empty() {
            self.minds_ports |= hosts.iter().any(Destination::has_port);
            let (Reference::Env(name) | Reference::File(name)) = reference;
            self.bound.push(Bound { name: name.clone(), hosts });
        }
        let values = if is_address(reference) { passwords(&value) } else { vec![value.clone()] };
        self.add(values);
        Ok(value)
    }

    /// Refuses a URL if one of those that may go there, as far as is known, is bound to other hosts.
    pub(super) fn check(&self, url: &Url) -> Result<(), Astray> {
        let astray = self.bound.iter().find(|bound| !bound.hosts.iter().any(|host| host.is_of(url)));
        astray.map_or(Ok(()), |Bound { name, hosts }| {
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
            let target = format!("{}{port}", url.host_str().unwrap_or_default());
            Err(Astray { name: name.clone(), hosts: hosts.join(" and "), target })
        })
    }

    /// The same, of those that go to this URL and to no other.
    pub(super) fn tie(&mut self, url: &Url) -> Result<(), Astray> {
        self.check(url)?;
        self.bound.clear();
        Ok(())
    }

    /// Whether one of them may go to some ports alone.
    pub(super) const fn minds_ports(&self) -> bool {
        self.minds_ports
    }

    fn add(&mut self, values: Vec<String>) {
        let mut all: BTreeSet<Form> = values.iter().flat_map(|value| forms(value)).collect();
        self.values.extend(values.into_iter().map(Secret::new));
        all.extend(self.forms.drain(..).map(|(form, case)| (form.expose().clone(), case)));
        let mut all: Vec<Form> = all.into_iter().collect();
        all.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        self.by_first.clear();
        for (place, (form, _)) in all.iter().enumerate() {
            self.by_first.entry(first_of(form)).or_default().push(place);
        }
        self.forms = all.into_iter().map(|(form, case)| (Secret::new(form), case)).collect();
    }

    /// A text without the secrets, however they come back.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.forms.is_empty() {
            return text.to_owned();
        }
        let (mut redacted, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(next) = rest.chars().next() {
            let found = self.begin(rest, next).find_map(|found| match found {
                Found::Whole(length) => Some(length),
                Found::No | Found::Begun => None,
            });
            let behind = if let Some(length) = found {
                redacted.push_str(STARS);
                length
            } else {
                redacted.push(next);
                next.len_utf8()
            };
            rest = &rest[behind..];
        }
        redacted
    }

    /// What each of them has to say to the beginning of a text.
    fn begin<'s>(&'s self, text: &'s str, first: char) -> impl Iterator<Item = Found> + 's {
        let plain = self.by_first.get(&lower(first)).map(Vec::as_slice).unwrap_or_default();
        // Any of them may begin with an encoded character.
        let places = if ESCAPES.contains(&first) { 0..self.forms.len() } else { 0..0 };
        let plain = if places.is_empty() { plain } else { &[] };
        places.chain(plain.iter().copied()).map(|place| {
            let (form, case) = &self.forms[place];
            begins(text, form.expose(), *case)
        })
    }

    /// Reads JSON, without the secrets. A number is one if it is the whole of a secret: a part of it may look like one by chance.
    pub(crate) fn read<T: DeserializeOwned>(&self, json: &str) -> Result<T, serde_json::Error> {
        if self.forms.is_empty() || self.redact(json) == json {
            return serde_json::from_str(json);
        }
        let mut told: Value = serde_json::from_str(json)?;
        self.redact_value(&mut told);
        let mut without_numbers = told.clone();
        self.redact_numbers(&mut without_numbers);
        // Where only a number can be, such as a count, it is one.
        serde_json::from_value(without_numbers).or_else(|_| serde_json::from_value(told))
    }

    /// A text without the secrets, which stays JSON if it is an object or a list.
    pub(crate) fn redact_json(&self, text: &str) -> String {
        let redacted = self.redact(text);
        if redacted == text {
            return redacted;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(mut told @ (Value::Object(_) | Value::Array(_))) => {
                self.redact_value(&mut told);
                self.redact_numbers(&mut told);
                told.to_string()
            }
            Ok(_) | Err(_) => redacted,
        }
    }

    fn redact_value(&self, told: &mut Value) {
        match told {
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(fields) => {
                let redacted = std::mem::take(fields).into_iter().map(|(key, mut field)| {
                    self.redact_value(&mut field);
                    (self.redact(&key), field)
                });
                *fields = redacted.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn redact_numbers(&self, told: &mut Value) {
        match told {
            Value::Number(number) if self.values.iter().any(|value| is_number(value.expose(), number)) => {
                *told = Value::from(STARS);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_numbers(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.redact_numbers(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// How many bytes at the end of a text may be the beginning of a secret, of which the rest is still to come.
    pub(crate) fn begun_in(&self, text: &str) -> usize {
        let mut chars = text.char_indices();
        let begun = chars.find(|(at, first)| self.begin(&text[*at..], *first).any(|found| found == Found::Begun));
        begun.map_or(0, |(at, _)| text.len() - at)
    }
}

fn first_of(form: &str) -> char {
    lower(form.chars().next().expect("a form has some characters"))
}

fn lower(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn what_was_revealed_is_taken_out_of_what_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2").unwrap();
        let config = OutsideConfig { secrets_dir: Some(folder.path().to_owned()), ..OutsideConfig::default() };
        let mut secrets = Secrets::default();
        secrets.reveal(&Reference::File("key".to_owned()), &config).unwrap();
        assert_eq!(secrets.redact("the key hunter2 is wrong"), "the key *** is wrong");
        let begun = ["", "the hun", "the key", "hunter2", "hhhunter", "th"].map(|text| secrets.begun_in(text));
        assert_eq!(begun, [0, 3, 0, 0, 6, 1]);
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    fn known(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(values.iter().map(|value| (*value).to_owned()).collect());
        secrets
    }

    #[test]
    fn a_secret_is_taken_out_in_every_encoding() {
        let secrets = known(&["a\"b c/d\\"]);
        for told in
            [r#"{"key": "a\"b c/d\\"}"#, "http://x/?key=a%22b%20c/d\\", "raw a\"b c/d\\", r#""a\u0022b\u0020c\/d\\""#]
        {
            let redacted = secrets.redact(told);
            assert!(
                redacted.contains("***") && !redacted.contains('c') && !redacted.contains("/d"),
                "{told}: {redacted}"
            );
        }
        assert_eq!(known(&["////"]).redact("a ////"), "a ***");
        assert_eq!(known(&["abc"]).redact("abc"), "abc");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_nothing_stays_behind() {
        let secrets = known(&["hunter", "hunter2-and-more"]);
        assert_eq!(secrets.redact("hunter2-and-more, hunter2"), "***, ***2");
        assert_eq!(secrets.begun_in("it is hunter2-and"), 11);
    }

    #[test]
    fn a_secret_within_base64_is_taken_out_wherever_it_stands() {
        let secrets = known(&["hunter2?>secret"]);
        for before in ["", "u", "us", "user:"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let login = engine.encode(format!("{before}hunter2?>secret!"));
                let redacted = secrets.redact(&format!("Basic {login}"));
                assert!(
                    redacted.contains("***") && redacted.len() < 6 + 3 + before.len() * 2 + 6,
                    "{before}: {redacted}"
                );
            }
        }
    }

    #[test]
    fn json_is_read_without_secrets_and_its_other_numbers_stay() {
        let secrets = known(&["12345", "00777777"]);
        let json = r#"{"n": 12345, "m": 123456, "z": 777777, "t": "is 12345", "12345": ["\u0031\u0032345"]}"#;
        let read: Value = secrets.read(json).unwrap();
        assert_eq!(read, serde_json::json!({"n": "***", "m": 123_456, "z": "***", "t": "is ***", "***": ["***"]}));
        let counted: BTreeMap<String, u64> = secrets.read(r#"{"n": 12345}"#).unwrap();
        assert_eq!(counted["n"], 12_345, "a count is no secret");
    }

    #[test]
    fn json_stays_json() {
        let secrets = known(&["12345"]);
        assert_eq!(
            secrets.redact_json(r#"{"pin":12345,"id":"x12345","n":123456}"#),
            r#"{"id":"x***","n":123456,"pin":"***"}"#
        );
        assert_eq!(secrets.redact_json("12345 {"), "*** {");
    }

    /// A secret, and how it comes back from whoever was sent it.
    const ECHOES: [(&str, &str); 28] = [
        ("Hunter-Zwei", "hunter-zwei"),
        ("Hunter-Zwei", "HUNTER%2DZWEI"),
        ("hunter-\tzwei\n-drei", "/hunter-zwei-drei"),
        ("hunter-\tzwei\n-drei", r"hunter-\tzwei\n-drei"),
        ("schlüssel-größe", "schlÃ¼ssel-grÃ¶Ã\u{9f}e"),
        ("schlüssel-größe", "schlÃ¼ssel-grÃ¶ÃŸe"),
        ("schlüssel-größe", "schl\u{fffd}ssel-gr\u{fffd}\u{fffd}e"),
        ("schlüssel-größe", "schl%FCssel-gr%f6%DFe"),
        ("schlüssel-größe", r"schl\xc3\xbcssel-gr\xc3\xb6\xc3\x9fe"),
        ("schlüssel-größe", "schl&uuml;ssel-gr&ouml;&szlig;e"),
        ("schlüssel-größe", "xn--schlssel-gre-v9a53ayc"),
        ("schlüssel-größe", "c2NobPxzc2VsLWdy9t9l"),
        ("p%40ss%2Fword", "p@ss/word"),
        ("p%40ss%2Fword", "cEBzcy93b3Jk"),
        ("a+b+c+d", "a b c d"),
        ("8472915036", "8472915036"),
        ("12345678901234567890123", "1.2345678901234568e+22"),
        ("00012345", "is 12345!"),
        ("geheimnis?stufe=9876543#ende", "/geheimnis?stufe=9876543"),
        ("geheimnis?stufe=9876543#ende", "GET /geheimnis"),
        ("oben/../wort-darunter", "/wort-darunter"),
        ("links\\rechts-9", "/links/rechts-9"),
        ("https://Hooks.Example.com:443/T0/B0/xyz?k=1", "https://hooks.example.com/T0/B0/xyz?k=1"),
        ("https://hooks.example.com/T000/B000/xyz", "no route for /T000/B000/xyz"),
        ("https://u:pass-word@host/", "Basic dTpwYXNzLXdvcmQ="),
        ("abcd", "YWJjZA=="),
        ("hunter2", "68756e74657232"),
        ("hunter2", "68756E74657232"),
    ];

    #[test]
    fn what_becomes_of_a_secret_on_its_way_is_known_too() {
        for (secret, echo) in ECHOES {
            let mut secrets = Secrets::default();
            secrets.add(vec![secret.to_owned()]);
            let redacted = secrets.redact(&format!("[{echo}]"));
            assert!(redacted.contains("***"), "{secret}: {redacted}");
            let left: String = redacted.chars().filter(|c| c.is_alphanumeric()).collect();
            assert!(left.len() < 16, "{secret}: {redacted}");
        }
    }

    #[test]
    fn what_is_something_else_stays() {
        let mut secrets = Secrets::default();
        secrets.add(vec!["sk-live-4242".to_owned(), "no".to_owned()]);
        for text in ["sk-live-4243", "the number 4242", "no, c2st is none", "%73k", "größe"] {
            assert_eq!(secrets.redact(text), text);
        }
    }
}
