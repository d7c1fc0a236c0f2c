//! A file as a tree of values that know their lines, before anything is made of it.
//!
//! YAML is read by its subset that JSON has, with YAML 1.2's booleans: `no` and `on` are text. Anchors and merge keys
//! work, within a budget.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::finding::Findings;
use super::place::{Place, Segment};

/// How deep a definition may nest. An unoptimised reader takes 40 KiB of stack a level, and threads have 2 MiB.
pub(super) const DEPTH_MAX: usize = 32;
const EVENTS_MAX: usize = 200_000;
const ALIASES_MAX: usize = 1_000;

/// A line and a column, from 1.
pub(super) type Position = (u32, u32);

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) at: Option<Position>,
    pub(super) value: Branch,
}

/// A value whose children know where they stand.
#[derive(Debug, Clone)]
pub(super) enum Branch {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Option<Position>,
    pub(super) value: Tree,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) at: Option<Position>,
}

impl Tree {
    /// Reads YAML.
    pub(super) fn from_yaml(text: &str) -> Result<Self, SyntaxError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
                max_events: EVENTS_MAX,
                max_nodes: EVENTS_MAX,
                max_aliases: ALIASES_MAX,
                max_anchors: ALIASES_MAX,
                max_documents: 1,
            },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: EVENTS_MAX },
            // Duplicates are found by ourselves, all at once.
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
            strict_booleans: true,
            underscored_numbers_as_strings: true,
            leading_zero_numbers_as_strings: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options::<Self>(text, options).map_err(|error| SyntaxError {
            at: error.location().and_then(position),
            message: without_place(&error.render_with_formatter(&serde_saphyr::UserMessageFormatter)),
        })
    }

    /// Reads JSON. Its values do not know where they stand; a syntax error does.
    pub(super) fn from_json(text: &str) -> Result<Self, SyntaxError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value =
            Plain { depth: 0 }.deserialize(&mut deserializer).and_then(|tree| deserializer.end().map(|()| tree));
        value.map_err(|error| SyntaxError {
            at: u32::try_from(error.line()).ok().zip(u32::try_from(error.column()).ok()),
            message: without_place(&error.to_string()),
        })
    }

    /// Where a place stands, or the closest one around it that is known.
    pub(super) fn locate(&self, place: &Place) -> Option<Position> {
        let mut here = self;
        let mut at = self.at;
        for segment in place.segments() {
            let (next, position) = match (segment, &here.value) {
                (Segment::Key(key), Branch::Map(entries)) => match entries.iter().find(|entry| entry.key == *key) {
                    Some(entry) => (&entry.value, entry.key_at.or(entry.value.at)),
                    None => break,
                },
                (Segment::Index(index), Branch::List(items)) => match items.get(*index) {
                    Some(item) => (item, item.at),
                    None => break,
                },
                _ => break,
            };
            here = next;
            at = position.or(at);
        }
        at
    }

    /// Notes keys that are given twice, wherever they are.
    pub(super) fn find_duplicates(&self, place: &Place, findings: &mut Findings) {
        match &self.value {
            Branch::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.find_duplicates(&place.index(index), findings);
                }
            }
            Branch::Map(entries) => {
                let mut seen = std::collections::BTreeSet::new();
                for entry in entries {
                    if !seen.insert(entry.key.as_str()) {
                        let message = format!("`{}` is given twice", entry.key);
                        let finding = findings.error(&place.key(&entry.key), message);
                        finding.remedy("keep one of them");
                        // The place alone would mean the first of them.
                        finding.at = entry.key_at;
                    }
                    entry.value.find_duplicates(&place.key(&entry.key), findings);
                }
            }
            Branch::Null | Branch::Bool(_) | Branch::Number(_) | Branch::Text(_) => {}
        }
    }

    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Branch::Null => "nothing".to_owned(),
            Branch::Bool(truth) => format!("`{truth}`"),
            Branch::Number(number) => format!("the number {number}"),
            Branch::Text(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
            Branch::List(_) => "a list".to_owned(),
            Branch::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The value without its places.
    pub(super) fn to_json(&self) -> Value {
        match &self.value {
            Branch::Null => Value::Null,
            Branch::Bool(truth) => Value::Bool(*truth),
            Branch::Number(number) => Value::Number(number.clone()),
            Branch::Text(text) => Value::String(text.clone()),
            Branch::List(items) => items.iter().map(Self::to_json).collect(),
            Branch::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

/// The place is told apart from the message.
fn without_place(message: &str) -> String {
    let end = message.find(" at line ").or_else(|| message.find('\n')).unwrap_or(message.len());
    message[..end].to_owned()
}

fn position(location: serde_saphyr::Location) -> Option<Position> {
    let (line, column) = (u32::try_from(location.line()).ok()?, u32::try_from(location.column()).ok()?);
    (line > 0).then_some((line, column))
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Spot>::deserialize(deserializer)?;
        Ok(Self { at: position(spanned.referenced), value: spanned.value.0 })
    }
}

/// A branch whose children are read with their places.
struct Spot(Branch);

impl<'de> Deserialize<'de> for Spot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader { located: true, depth: 0 }).map(Spot)
    }
}

/// Reads a tree without places.
struct Plain {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(serde::de::Error::custom(format!("it is nested deeper than {DEPTH_MAX}")));
        }
        deserializer
            .deserialize_any(Reader { located: false, depth: self.depth + 1 })
            .map(|value| Tree { at: None, value })
    }
}

struct Reader {
    located: bool,
    /// Counted only where the format's own reader does not.
    depth: usize,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Branch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Branch, E> {
        Ok(Branch::Null)
    }

    fn visit_none<E>(self) -> Result<Branch, E> {
        Ok(Branch::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Branch, E> {
        Ok(Branch::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Branch, E> {
        Ok(Branch::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Branch, E> {
        Ok(Branch::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Branch, E> {
        let refuse = || E::custom(format!("{number} is no number that JSON has"));
        Number::from_f64(number).map(Branch::Number).ok_or_else(refuse)
    }

    fn visit_str<E>(self, text: &str) -> Result<Branch, E> {
        Ok(Branch::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Branch, A::Error> {
        let mut items = Vec::new();
        loop {
            let item = if self.located {
                access.next_element::<Tree>()?
            } else {
                access.next_element_seed(Plain { depth: self.depth })?
            };
            match item {
                Some(item) => items.push(item),
                None => return Ok(Branch::List(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Branch, A::Error> {
        let mut entries = Vec::new();
        if self.located {
            while let Some(key) = access.next_key::<Spanned<String>>()? {
                let value = access.next_value::<Tree>()?;
                entries.push(Entry { key_at: position(key.referenced), key: key.value, value });
            }
        } else {
            while let Some(key) = access.next_key::<String>()? {
                let value = access.next_value_seed(Plain { depth: self.depth })?;
                entries.push(Entry { key_at: None, key, value });
            }
        }
        Ok(Branch::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_values_know_their_lines() {
        let tree = Tree::from_yaml("a: 1\nb:\n  - x\n  - {c: no, d: 1.5, e: }\n").unwrap();
        assert_eq!(tree.to_json(), serde_json::json!({"a": 1, "b": ["x", {"c": "no", "d": 1.5, "e": null}]}));
        let place = Place::root().key("b").index(1).key("d");
        assert_eq!(tree.locate(&place), Some((4, 13)));
        assert_eq!(tree.locate(&place.key("deeper")), Some((4, 13)));
        assert_eq!(tree.locate(&Place::root().key("b")), Some((2, 1)));
    }

    #[test]
    fn json_reads_as_the_same_tree() {
        let tree = Tree::from_json(r#"{"a": 18446744073709551615, "b": [null, true, "x", -1, 0.5]}"#).unwrap();
        assert_eq!(tree.to_json().to_string(), r#"{"a":18446744073709551615,"b":[null,true,"x",-1,0.5]}"#);
    }

    #[test]
    fn every_duplicate_key_is_found_in_both_formats() {
        for tree in
            [Tree::from_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n"), Tree::from_json(r#"{"a":1,"b":{"c":1,"c":2},"a":2}"#)]
        {
            let mut findings = Findings::default();
            tree.unwrap().find_duplicates(&Place::root(), &mut findings);
            let found: Vec<_> = findings.into_iter().map(|finding| finding.message).collect();
            assert_eq!(found, ["`c` is given twice", "`a` is given twice"]);
        }
    }

    #[test]
    fn bombs_are_refused_on_a_small_stack() {
        let laughs = (1..20).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))
        });
        let texts = [
            laughs,
            "[".repeat(100_000),
            format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            "{a: ".repeat(5_000),
            (0..5_000).map(|n| " ".repeat(n) + "a:").collect::<Vec<_>>().join("\n"),
            "- ".repeat(5_000),
            "x: [1,\n".repeat(20_000),
            "a: &a [*a]".to_owned(),
            "--- 1\n--- 2\n".to_owned(),
            "&a : *a".to_owned(),
            format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1)),
            format!("{}1{}", "[".repeat(120), "]".repeat(120)),
            format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120)),
        ];
        let run = move || {
            for text in texts {
                let start: String = text.chars().take(20).collect();
                assert!(Tree::from_yaml(&text).is_err(), "{start}");
                assert!(Tree::from_json(&text).is_err(), "{start}");
            }
        };
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = Tree::from_yaml("a: 1\nb: [1\nc: 2\n").unwrap_err();
        assert!(error.at.is_some_and(|(line, _)| line >= 2), "{error:?}");
        let error = Tree::from_json("{\n\"a\": }").unwrap_err();
        assert_eq!(error.at.map(|(line, _)| line), Some(2), "{error:?}");
    }
}
