//! Where settings come from: the one module that reads the environment.

use std::collections::BTreeMap;

use super::reader::{Mistake, Mistakes};

/// The prefix of every variable.
const PREFIX: &str = "COX_";

/// Settings by the name of their variable. Tests make one from pairs; a process from its environment.
#[derive(Debug, Clone, Default)]
pub struct Source {
    values: BTreeMap<String, String>,
    file: Option<String>,
}

impl Source {
    /// The process's environment: variables that begin with `COX_`. `COX_CONFIG` names a file to be read first.
    pub fn from_process() -> Result<Self, Mistakes> {
        let environment = Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))),
        );
        let Some(path) = environment.get("COX_CONFIG").map(str::to_owned) else { return Ok(environment) };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Mistakes(vec![Mistake::new("COX_CONFIG", format!("the file {path} cannot be read: {error}"))])
        })?;
        environment.over_file(&path, &text)
    }

    /// Settings from pairs; names without the prefix are left out.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = pairs.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self { values, file: None }
    }

    /// These settings over those of a file: YAML, one `name: value` a line, where `lease_ttl` stands for `COX_LEASE_TTL`.
    pub fn over_file(mut self, path: &str, text: &str) -> Result<Self, Mistakes> {
        let mistake = |why: String| Mistakes(vec![Mistake::new("COX_CONFIG", why)]);
        let file: BTreeMap<String, serde_json::Value> =
            serde_saphyr::from_str(text).map_err(|error| mistake(format!("{path}: {error}")))?;
        for (name, value) in file {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                serde_json::Value::Bool(flag) => flag.to_string(),
                // A setting that is a structure reads it as text.
                serde_json::Value::Object(_) => value.to_string(),
                serde_json::Value::Null | serde_json::Value::Array(_) => {
                    return Err(mistake(format!(
                        "{path}: {name} must be a text, a number, true or false, or, for a setting that is one, a map"
                    )));
                }
            };
            self.values.entry(format!("{PREFIX}{}", name.to_uppercase())).or_insert(value);
        }
        self.file = Some(path.to_owned());
        Ok(self)
    }

    /// Sets a value over all others: a flag.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.values.insert(name.to_owned(), value.into());
        }
        self
    }

    /// A value by the name of its variable; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A variable that is not ours, such as `HOSTNAME` or `PATH`.
    pub fn foreign(name: &str) -> Option<String> {
        std::env::vars_os()
            .find(|(key, _)| key.to_str() == Some(name))
            .map(|(_, value)| value.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Source {
        Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_goes_over_the_file_and_flags_go_over_both() {
        let source = pairs(&[("COX_SLOTS", "4"), ("PATH", "/bin")])
            .over_file("cox.yaml", "slots: 2\nlease_ttl: 20s\n")
            .unwrap()
            .with("COX_LOG", Some("debug"));
        assert_eq!(source.get("COX_SLOTS"), Some("4"));
        assert_eq!(source.get("COX_LEASE_TTL"), Some("20s"));
        assert_eq!(source.get("COX_LOG"), Some("debug"));
        assert_eq!(source.get("PATH"), None);
        let source = Source::default().over_file("cox.yaml", "upstreams:\n  h: {queue: 1}\n").unwrap();
        assert_eq!(source.get("COX_UPSTREAMS"), Some("{\"h\":{\"queue\":1}}"));
    }

    #[test]
    fn a_file_that_is_no_list_of_settings_is_refused_by_name() {
        let error = Source::default().over_file("cox.yaml", "slots: [1, 2]").unwrap_err().to_string();
        assert!(error.contains("cox.yaml") && error.contains("slots"), "{error}");
    }
}
