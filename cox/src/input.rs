//! Values on the command line: `name=value`, a JSON object, or `@file`.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use coxswain_shared::checkpoint::Values;
use coxswain_shared::id::ChannelName;
use coxswain_shared::limits::STATE_BYTES_MAX;
use serde_json::{Map, Value};

use crate::failure::Failed;

/// Reads values by channel; a later one goes over an earlier one.
pub(crate) fn values(flag: &str, given: &[String]) -> Result<Values, Failed> {
    let mut values = Values::new();
    for (name, value) in objects(flag, given)? {
        let channel = ChannelName::new(&name).map_err(|error| mistake(flag, &error.to_string()))?;
        values.insert(channel, value);
    }
    Ok(values)
}

/// Reads values by name.
pub(crate) fn objects(flag: &str, given: &[String]) -> Result<BTreeMap<String, Value>, Failed> {
    let mut values = BTreeMap::new();
    for text in given {
        if text.starts_with('{') {
            values.extend(object(flag, text)?);
        } else if let Some(file) = text.strip_prefix('@') {
            values.extend(object(flag, &read(flag, file)?)?);
        } else {
            let (name, value) = pair(flag, text)?;
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// Reads `name=value`. The value is JSON if it reads as such, else it is the text itself; `@file` is a file's text.
pub(crate) fn pair(flag: &str, text: &str) -> Result<(String, Value), Failed> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(mistake(flag, &format!("`{text}` is neither name=value, nor a JSON object, nor @file")));
    };
    Ok((name.to_owned(), self::value(flag, value)?))
}

/// A value: JSON if it reads as such, else the text itself; `@file` is a file's.
pub(crate) fn value(flag: &str, text: &str) -> Result<Value, Failed> {
    let (text, is_file) = match text.strip_prefix('@') {
        Some(file) => (read(flag, file)?, true),
        None => (text.to_owned(), false),
    };
    // The line's end of a file is not meant; a text on the command line is meant as it stands.
    let bare = if is_file { text.trim_end_matches('\n').to_owned() } else { text };
    Ok(serde_json::from_str(&bare).unwrap_or(Value::String(bare)))
}

/// Reads labels.
pub(crate) fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Failed> {
    let mut labels = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("--label `{text}` is not name=value");
            return Err(Failed::usage(message, "write it as --label team=search"));
        };
        let before = labels.insert(name.to_owned(), value.to_owned());
        if before.is_some_and(|before| before != value) {
            let message = format!("--label gives `{name}` two values");
            return Err(Failed::usage(message, "a label has one value; name each label once"));
        }
    }
    Ok(labels)
}

fn object(flag: &str, text: &str) -> Result<Map<String, Value>, Failed> {
    serde_json::from_str(text).map_err(|error| mistake(flag, &format!("this is no JSON object: {error}")))
}

fn read(flag: &str, file: &str) -> Result<String, Failed> {
    read_text(file).map_err(|error| mistake(flag, &format!("{file} cannot be read: {error}")))
}

/// A file's text, or what comes from standard input for `-`; no more than a run's state may have.
pub(crate) fn read_text(file: &str) -> io::Result<String> {
    let opened: Box<dyn io::Read> =
        if file == "-" { Box::new(io::stdin()) } else { Box::new(std::fs::File::open(file)?) };
    let limit = u64::try_from(STATE_BYTES_MAX).expect("a size fits in 64 bits") + 1;
    let mut text = String::new();
    if opened.take(limit).read_to_string(&mut text)? > STATE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {STATE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

pub(crate) fn mistake(flag: &str, why: &str) -> Failed {
    Failed::usage(
        format!("{flag}: {why}"),
        format!("write {flag} name=value, {flag} '{{\"name\": value}}' or {flag} @file.json"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_value_is_json_if_it_reads_as_such() {
        let given = texts(&["n=3", "name=Ann", "quoted=\"3\"", "list=[1,2]", "empty=", "url=a=b"]);
        let values = objects("--input", &given).unwrap();
        let wanted = [
            ("n", json!(3)),
            ("name", json!("Ann")),
            ("quoted", json!("3")),
            ("list", json!([1, 2])),
            ("empty", json!("")),
            ("url", json!("a=b")),
        ];
        assert_eq!(values, wanted.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn an_object_is_read_whole_and_later_values_go_over_earlier_ones() {
        let values = objects("--input", &texts(&[r#"{"a": 1, "b": 2}"#, "b=3"])).unwrap();
        assert_eq!(values, BTreeMap::from([("a".to_owned(), json!(1)), ("b".to_owned(), json!(3))]));
    }

    #[test]
    fn a_label_has_one_value() {
        let labels = |given: &[&str]| labels(&texts(given)).map_err(|failed| failed.message);
        let wanted = [("team", "a"), ("env", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(labels(&["team=a", "env=", "team=a"]).unwrap(), wanted.into());
        assert!(labels(&["team=a", "team=b"]).unwrap_err().contains("--label gives `team` two values"));
        assert!(labels(&["team"]).unwrap_err().contains("is not name=value"));
    }

    #[test]
    fn what_is_no_value_is_refused_with_an_example() {
        for bad in ["name", "{oops", "@/no/such/file"] {
            let failed = objects("--input", &texts(&[bad])).unwrap_err();
            assert!(failed.remedy.is_some_and(|remedy| remedy.contains("--input name=value")), "{bad}");
        }
        assert!(values("--input", &texts(&["a b=1"])).is_err());
    }
}
