//! Where settings come from: the one module that reads the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use super::environment;
use super::reader::{Mistake, Variable};
use super::secret::has_blanks_around;

/// The prefix of every variable.
pub(super) const PREFIX: &str = "COX_";

/// The variable that names the file of settings.
const CONFIG: Variable = Variable {
    name: "COX_CONFIG",
    default: "",
    meaning: "a file of settings, YAML with one `name: value` a line: `slots: 16` stands for `COX_SLOTS=16`; the environment goes over it",
};

/// Settings by the name of their variable. Tests make one from pairs; a process from its environment.
///
/// It notes which names it was asked for, so that a test can hold them against the table of settings.
#[derive(Debug, Clone, Default)]
pub struct Source {
    values: BTreeMap<String, String>,
    /// Variables whose value came from a flag.
    flags: BTreeSet<String>,
    /// The variables that the file has.
    in_file: BTreeSet<String>,
    /// What is wrong with the source itself: each [`Reader`](super::Reader) reports it.
    mistakes: Vec<Mistake>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Source {
    /// The variable that it reads itself.
    pub const VARIABLES: [Variable; 1] = [CONFIG];

    /// The process's environment: variables that begin with `COX_`. `COX_CONFIG` names a file to be read first.
    pub fn from_process() -> Self {
        let environment = Self::from_environment(environment::variables());
        let Some(path) = environment.get(CONFIG.name).map(str::to_owned) else { return environment.without_blanks() };
        let source = match std::fs::read_to_string(&path) {
            Ok(text) => environment.over_file(&path, &text),
            Err(error) => environment.mistaken(CONFIG.name, format!("the file {path} cannot be read: {error}")),
        };
        source.without_blanks()
    }

    /// Notes every value with blanks around it: it was copied with more than was meant. A structure may have some.
    fn without_blanks(self) -> Self {
        let is_structure = |value: &str| value.trim().contains('\n') || value.trim().starts_with('{');
        let blank = self.values.iter().filter(|(_, value)| has_blanks_around(value) && !is_structure(value));
        let names: Vec<_> = blank.map(|(name, _)| name.clone()).collect();
        let why = "it has blanks or control characters around it: set it without them";
        names.iter().fold(self, |source, name| source.mistaken(name, why.to_owned()))
    }

    fn from_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let ours = named.filter(|(name, _)| name.starts_with(PREFIX));
        ours.fold(Self::default(), |mut source, (name, value)| match value.into_string() {
            Ok(value) => {
                source.values.insert(name, value);
                source
            }
            Err(_) => source.mistaken(&name, "its value is not UTF-8".to_owned()),
        })
    }

    fn mistaken(mut self, variable: &str, why: String) -> Self {
        self.mistakes.push(Mistake::new(variable, why));
        self
    }

    /// Settings from pairs; names without the prefix are left out.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = pairs.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self { values, ..Self::default() }
    }

    /// These settings over those of a file: YAML, one `name: value` a line, where `lease_ttl` stands for `COX_LEASE_TTL`.
    #[must_use]
    pub fn over_file(mut self, path: &str, text: &str) -> Self {
        let file: BTreeMap<String, serde_json::Value> = match serde_saphyr::from_str(text) {
            Ok(file) => file,
            Err(error) => return self.mistaken(CONFIG.name, format!("{path}: {error}")),
        };
        for (name, value) in file {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                serde_json::Value::Bool(flag) => flag.to_string(),
                // A setting that is a structure reads it as text.
                serde_json::Value::Object(_) => value.to_string(),
                serde_json::Value::Null | serde_json::Value::Array(_) => {
                    let rule = "must be a text, a number, true or false, or, for a setting that is one, a map";
                    self = self.mistaken(CONFIG.name, format!("{path}: {name} {rule}"));
                    continue;
                }
            };
            let name = format!("{PREFIX}{}", name.to_uppercase());
            self.in_file.insert(name.clone());
            self.values.entry(name).or_insert(value);
        }
        self
    }

    /// Sets a value over all others, as a flag of the command line gave it: `--slots` for `COX_SLOTS`.
    #[must_use]
    pub fn with_flag(mut self, name: &str, value: Option<impl Into<String>>) -> Self {
        if value.is_some() {
            self.flags.insert(name.to_owned());
        }
        self.with(name, value)
    }

    /// Sets a value over all others.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.values.insert(name.to_owned(), value.into());
        }
        self
    }

    /// A value by the name of its variable; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(name) {
            asked.insert(name.to_owned());
        }
        drop(asked);
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names that it, or a copy of it, was asked for.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with the source itself, such as a file that cannot be read.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// What a user knows a setting by: the flag that gave its value, else its variable.
    pub(super) fn shown(&self, name: &str) -> String {
        match name.strip_prefix(PREFIX).filter(|_| self.flags.contains(name)) {
            Some(bare) => format!("--{}", bare.to_lowercase().replace('_', "-")),
            None => name.to_owned(),
        }
    }

    /// The names that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether the file has this variable, so that somebody has written it.
    pub(super) fn is_in_file(&self, name: &str) -> bool {
        self.in_file.contains(name)
    }

    /// All variables of the process that are not empty, ours or not, whose names are wanted.
    pub fn all_foreign(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let named = environment::variables().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let wanted = named.filter(|(name, value)| !value.is_empty() && is_wanted(name));
        wanted.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect()
    }

    /// A variable that is not ours, such as `HOSTNAME` or `PATH`.
    pub fn foreign(name: &str) -> Option<String> {
        environment::variables()
            .find(|(key, _)| key.to_str() == Some(name))
            .map(|(_, value)| value.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reader;

    fn pairs(pairs: &[(&str, &str)]) -> Source {
        Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_goes_over_the_file_and_flags_go_over_both() {
        let source = pairs(&[("COX_SLOTS", "4"), ("PATH", "/bin")])
            .over_file("cox.yaml", "slots: 2\nlease_ttl: 20s\n")
            .with("COX_LOG", Some("debug"));
        assert_eq!(source.get("COX_SLOTS"), Some("4"));
        assert_eq!(source.get("COX_LEASE_TTL"), Some("20s"));
        assert_eq!(source.get("COX_LOG"), Some("debug"));
        assert_eq!(source.get("PATH"), None);
        let source = Source::default().over_file("cox.yaml", "upstreams:\n  h: {queue: 1}\n");
        assert_eq!(source.get("COX_UPSTREAMS"), Some("{\"h\":{\"queue\":1}}"));
    }

    #[test]
    fn a_value_with_blanks_around_it_is_refused_by_name() {
        let mistaken =
            [("COX_STORE", " redis://u:hunter2@h"), ("COX_BROKER", "amqp://u:hunter2@h\n"), ("COX_SLOTS", "4")];
        let told = Reader::new(&pairs(&mistaken).without_blanks()).finish(()).unwrap_err().to_string();
        assert!(told.contains("2 mistake(s)") && told.contains("COX_STORE") && told.contains("COX_BROKER"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        let fine = [("COX_PRICES", "a:\n  input: 1\n"), ("COX_UPSTREAMS", " {h: {queue: 1}} "), ("COX_EMPTY", "")];
        assert!(pairs(&fine).without_blanks().mistakes().is_empty());
    }

    #[test]
    fn a_file_that_is_no_list_of_settings_is_refused_by_name_beside_all_other_mistakes() {
        let source = Source::default().over_file("cox.yaml", "slots: [1, 2]\npools:\nlease_ttl: soon");
        let (mut reader, ttl) = (Reader::new(&source), Variable { name: "COX_LEASE_TTL", default: "10s", meaning: "" });
        reader.duration(&ttl);
        let told = reader.finish(()).unwrap_err().to_string();
        for part in ["3 mistake(s)", "cox.yaml: slots", "cox.yaml: pools", "COX_LEASE_TTL"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
        let told = Reader::new(&Source::default().over_file("cox.yaml", "- slots")).finish(()).unwrap_err().to_string();
        assert!(told.contains("COX_CONFIG: cox.yaml"), "{told}");
    }

    #[test]
    fn a_value_that_is_no_text_is_a_mistake_and_not_altered() {
        use std::os::unix::ffi::OsStringExt as _;
        let value = OsString::from_vec(vec![b'a', 0xff]);
        let source = Source::from_environment([("COX_POOLS".into(), value.clone()), ("OTHER".into(), value)]);
        let told: Vec<_> = source.mistakes().iter().map(|mistake| mistake.variable.as_str()).collect();
        assert_eq!(told, ["COX_POOLS"]);
    }

    #[test]
    fn a_copy_notes_what_was_asked_for_too() {
        let source = pairs(&[]);
        source.clone().with("COX_LOG", Some("info")).get("COX_SLOTS");
        source.get("COX_LOG");
        assert_eq!(source.asked().into_iter().collect::<Vec<_>>(), ["COX_LOG", "COX_SLOTS"]);
    }

    #[test]
    fn a_mistake_of_a_flag_names_the_flag() {
        let source =
            pairs(&[("COX_SLOTS", "4")]).with_flag("COX_SLOTS", Some("many")).with_flag("COX_LOG", None::<&str>);
        let mut reader = Reader::new(&source);
        reader.number(&Variable { name: "COX_SLOTS", default: "8", meaning: "" }, 1..=9);
        let told = reader.finish(()).unwrap_err().to_string();
        assert!(told.contains("--slots: `many`"), "{told}");
    }
}
