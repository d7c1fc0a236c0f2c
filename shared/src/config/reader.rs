//! Reads settings and collects every mistake, so that all are told at once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::known::{NAMES, is_known};
use super::source::{PREFIX, Source};
use crate::closest::closest;
use crate::duration;
use crate::printable;

/// A setting, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// What holds where it is not set, as text.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Which variable.
    pub variable: String,
    /// What is wrong with it, with the remedy.
    pub why: String,
}

impl Mistake {
    /// A mistake.
    pub fn new(variable: impl Into<String>, why: impl Into<String>) -> Self {
        Self { variable: variable.into(), why: why.into() }
    }
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Takes what was read, or notes what was mistaken in it; each mistake once.
    pub fn note<T>(&mut self, read: Result<T, Self>) -> Option<T> {
        read.map_err(|Self(more)| {
            for mistake in more {
                if !self.0.contains(&mistake) {
                    self.0.push(mistake);
                }
            }
        })
        .ok()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} mistake(s)", self.0.len())?;
        let line = |text: &str| printable::line(text);
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {}: {}", line(&mistake.variable), line(&mistake.why)))
    }
}

/// Reads variables from a source, with their defaults, and collects mistakes.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Source,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// A reader of this source.
    pub fn new(source: &'a Source) -> Self {
        Self { source, mistakes: source.mistakes().to_vec() }
    }

    /// A text: what is set, or the default.
    pub fn text(&mut self, variable: &Variable) -> String {
        self.source.get(variable.name).unwrap_or(variable.default).to_owned()
    }

    /// A text that may be absent.
    pub fn optional(&mut self, variable: &Variable) -> Option<String> {
        self.source.get(variable.name).map(str::to_owned)
    }

    /// A duration.
    pub fn duration(&mut self, variable: &Variable) -> Duration {
        self.read(variable, |text| duration::parse(text).map_err(|error| error.to_string()))
    }

    /// Anything that reads from text.
    pub fn parse<T>(&mut self, variable: &Variable) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read(variable, |text| text.parse().map_err(|error: T::Err| format!("`{text}`: {error}")))
    }

    /// A whole number within bounds.
    pub fn number(&mut self, variable: &Variable, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.read(variable, |text| match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(format!("`{text}` is not a whole number from {} to {}", range.start(), range.end())),
        })
    }

    /// A list, separated by commas.
    pub fn list<T>(&mut self, variable: &Variable) -> Vec<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read(variable, |text| {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| part.parse().map_err(|error: T::Err| error.to_string())).collect()
        })
    }

    /// Notes a mistake unless a relation between settings holds.
    pub fn check(&mut self, holds: bool, variable: &Variable, why: impl Into<String>) {
        if !holds {
            self.mistakes.push(Mistake::new(self.source.shown(variable.name), why));
        }
    }

    /// The configuration, if no mistake was found.
    pub fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(self.mistakes)) }
    }

    fn read<T>(&mut self, variable: &Variable, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let fallback = || {
            parse(variable.default)
                .unwrap_or_else(|why| panic!("the default of {} must be valid: {why}", variable.name))
        };
        match self.source.get(variable.name).map(&parse) {
            None => fallback(),
            Some(Ok(value)) => value,
            Some(Err(why)) => {
                self.mistakes.push(Mistake::new(self.source.shown(variable.name), why));
                fallback()
            }
        }
    }
}

/// Lists settings with their defaults and meanings, for `--settings`.
pub fn list(variables: &[Variable], out: &mut impl std::io::Write) -> std::io::Result<()> {
    for variable in variables {
        let default = if variable.default.is_empty() { "none" } else { variable.default };
        writeln!(out, "{}\n    {} (default: {default})", variable.name, variable.meaning)?;
    }
    Ok(())
}

/// Notes every variable that is set and nearly has the name of a setting: a slip of the pen must not pass as a default. One
/// of the settings' file that nobody knows is a mistake too. Other variables are for [`tell_unknown`]: an environment has
/// many authors.
///
/// `own` are variables of a program beside those of Coxswain's programs, which all of them accept.
pub fn check_unknown(source: &Source, own: &[Variable]) -> Result<(), Mistakes> {
    let mistakes: Vec<_> = unknown(source, own).filter_map(|name| slip(source, own, name)).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

/// Tells in the log which variables are set and passed over, such as those that Kubernetes adds for each service.
pub fn tell_unknown(source: &Source, own: &[Variable]) {
    let names: Vec<_> = unknown(source, own).collect();
    if !names.is_empty() {
        let more = names.len().saturating_sub(UNKNOWN_TOLD_MAX);
        let shown = names[..names.len() - more].join(", ");
        tracing::warn!(variables = shown, more, "these variables are no settings, and are passed over");
    }
}

/// Names that one line of the log tells.
const UNKNOWN_TOLD_MAX: usize = 20;

fn unknown<'a>(source: &'a Source, own: &'a [Variable]) -> impl Iterator<Item = &'a str> {
    let is_known = |name: &str| is_known(name) || own.iter().any(|variable| variable.name == name);
    source.names().filter(move |name| !is_known(name))
}

fn slip(source: &Source, own: &[Variable], name: &str) -> Option<Mistake> {
    let is_in_file = source.is_in_file(name);
    if !is_in_file && is_of_a_service(name, source.get(name).unwrap_or_default()) {
        return None;
    }
    // Without what all names share, which would make strangers look alike.
    let bare = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
    let names = NAMES.into_iter().chain(own.iter().map(|variable| variable.name)).map(bare);
    match closest(name.strip_prefix(PREFIX).unwrap_or(name), names) {
        Some(near) => Some(Mistake::new(name, format!("there is no such setting: did you mean {PREFIX}{near}?"))),
        None if is_in_file => Some(Mistake::new(name, "there is no such setting; `--settings` lists all")),
        None => None,
    }
}

/// Whether a variable is one of those that Kubernetes adds for every service of a namespace, as links of Docker did: they end
/// with `_SERVICE_HOST`, `_SERVICE_PORT`, `_PORT` (with `tcp://…` as their value), `_PORT_80_TCP`, `_PORT_80_TCP_ADDR` and so on.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_of_a_port = |rest: &str| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.match_indices("_PORT_").any(|(at, port)| is_of_a_port(&name[at + port.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Variable = Variable { name: "COX_LEASE_TTL", default: "10s", meaning: "…" };
    const SLOTS: Variable = Variable { name: "COX_SLOTS", default: "8", meaning: "…" };

    fn source(pairs: &[(&str, &str)]) -> Source {
        Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let source = source(&[("COX_LEASE_TTL", "soon"), ("COX_SLOTS", "0")]);
        let mut reader = Reader::new(&source);
        reader.duration(&LEASE);
        reader.number(&SLOTS, 1..=1_000);
        let told = reader.finish(()).unwrap_err().to_string();
        assert!(
            told.contains("2 mistake(s)") && told.contains("COX_LEASE_TTL") && told.contains("1 to 1000"),
            "{told}"
        );
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let source = source(&[]);
        let mut reader = Reader::new(&source);
        assert_eq!(reader.duration(&LEASE), Duration::from_secs(10));
        assert_eq!(reader.number(&SLOTS, 1..=1_000), 8);
        assert!(reader.finish(()).is_ok());
    }

    #[test]
    fn a_variable_that_is_nearly_a_setting_is_a_mistake_and_a_stranger_is_passed_over() {
        let own = [Variable { name: "COX_MY_FOLDER", default: "", meaning: "…" }];
        for (name, meant) in [
            ("COX_SLOT", "COX_SLOTS"),
            ("COX_LEASE_TLL", "COX_LEASE_TTL"),
            ("COX_STROE", "COX_STORE"),
            ("COX_slots", "COX_SLOTS"),
            ("COX_MY_FOLDR", "COX_MY_FOLDER"),
        ] {
            let set = source(&[(name, "1"), ("COX_SLOTS", "1"), ("COX_MY_FOLDER", "/")]);
            let told = check_unknown(&set, &own).unwrap_err();
            assert_eq!(told.0.len(), 1, "{told}");
            assert!(told.to_string().contains(&format!("did you mean {meant}?")), "{told}");
        }
        let strangers = [
            ("COX_API_SERVICE_HOST", "10.0.0.1"),
            ("COX_API_SERVICE_PORT", "80"),
            ("COX_API_SERVICE_PORT_HTTP", "80"),
            ("COX_API_PORT", "tcp://10.0.0.1:80"),
            ("COX_API_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("COX_API_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("COX_API_PORT_80_TCP_PROTO", "tcp"),
            ("COX_STORE_PORT", "tcp://10.0.0.1:80"),
            ("COX_PORT", "tcp://10.0.0.1:80"),
            ("COX_TEAM", "search"),
        ];
        check_unknown(&source(&strangers), &own).unwrap();
        assert_eq!(unknown(&source(&strangers), &own).count(), strangers.len(), "all are told in the log");
    }

    #[test]
    fn whatever_nobody_knows_in_a_file_of_settings_is_a_mistake() {
        let source = Source::default().over_file("cox.yaml", "slots: 2\nteam: search\nslot: 3\n");
        let told = check_unknown(&source, &[]).unwrap_err().to_string();
        assert!(told.contains("2 mistake(s)") && told.contains("COX_TEAM") && told.contains("COX_SLOT:"), "{told}");
    }

    #[test]
    fn a_mistake_that_several_readers_find_is_told_once() {
        let source = Source::default().over_file("cox.yaml", "slots: []");
        let mut all = Mistakes::default();
        assert_eq!(all.note(Reader::new(&source).finish(1)), None);
        assert_eq!(all.note(Reader::new(&source).finish(2)), None);
        assert_eq!(all.note(Ok(3)), Some(3));
        assert_eq!(all.0.len(), 1);
    }
}
