//! The fields of one mapping: what is there, what should not be, and what is not of its type.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::graph::finding::Findings;
use crate::graph::model::Expression;
use crate::graph::place::Place;
use crate::graph::tree::{Branch, Entry, Tree};

#[cfg(test)]
thread_local! {
    /// The fields that were known of each mapping that this thread has read, by what the mapping is called.
    pub(in crate::graph) static KNOWN: std::cell::RefCell<Known> = const { std::cell::RefCell::new(Known::new()) };
}

#[cfg(test)]
type Known = std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>;

/// The fields of one mapping. Reading one makes it known; `finish` reports those that nobody read.
pub(super) struct Fields<'t> {
    entries: &'t [Entry],
    place: Place,
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The fields of a mapping; anything else is a mistake.
    pub(super) fn of(tree: &'t Tree, place: &Place, what: &str, findings: &mut Findings) -> Option<Self> {
        if let Branch::Map(entries) = &tree.value {
            return Some(Self { entries, place: place.clone(), known: Vec::new() });
        }
        findings.error(place, format!("{what} must be a mapping, not {}", tree.describe()));
        None
    }

    /// The place of a field.
    pub(super) fn place(&self, name: &str) -> Place {
        self.place.key(name)
    }

    /// The place of the mapping.
    pub(super) const fn here(&self) -> &Place {
        &self.place
    }

    /// A field; one that is there but empty counts as absent.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'t Tree> {
        self.get_even_empty(name).filter(|tree| !matches!(tree.value, Branch::Null))
    }

    /// A field, even an empty one.
    pub(super) fn get_even_empty(&mut self, name: &'static str) -> Option<&'t Tree> {
        self.known.push(name);
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
    }

    /// Makes fields known that cannot be judged.
    pub(super) fn pass_over(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Whether a field is there and not empty, without making it known.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name && !matches!(entry.value.value, Branch::Null))
    }

    /// Reports the fields that nobody read.
    pub(super) fn finish(self, what: &str, findings: &mut Findings) {
        #[cfg(test)]
        KNOWN.with_borrow_mut(|known| known.entry(what.to_owned()).or_default().extend(&self.known));
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            findings
                .error(&self.place.key(&entry.key), format!("{what} has no field `{}`", entry.key))
                .suggest(&entry.key, self.known.iter().copied());
        }
    }

    /// A text. A number or a truth is taken as it is written.
    pub(super) fn text(&mut self, name: &'static str, findings: &mut Findings) -> Option<String> {
        let tree = self.get(name)?;
        text(tree, &self.place(name), findings)
    }

    /// A name of some kind.
    pub(super) fn name<T: FromStr<Err: Display>>(&mut self, field: &'static str, findings: &mut Findings) -> Option<T> {
        let tree = self.get(field)?;
        name(tree, &self.place(field), findings)
    }

    /// A duration.
    pub(super) fn duration(&mut self, name: &'static str, findings: &mut Findings) -> Option<Duration> {
        let tree = self.get(name)?;
        let written = match &tree.value {
            Branch::Text(text) => duration::parse(text),
            Branch::Number(number) => duration::parse(&number.to_string()),
            Branch::Null | Branch::Bool(_) | Branch::List(_) | Branch::Map(_) => duration::parse(&tree.describe()),
        };
        findings.keep(&self.place(name), written)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, name: &'static str, findings: &mut Findings) -> Option<u64> {
        let tree = self.get(name)?;
        if let Branch::Number(number) = &tree.value
            && let Some(number) = number.as_u64()
        {
            return Some(number);
        }
        findings.error(&self.place(name), format!("`{name}` must be a whole number, not {}", tree.describe()));
        None
    }

    /// A whole number that is not negative, and small.
    pub(super) fn small_count(&mut self, name: &'static str, findings: &mut Findings) -> Option<u32> {
        // What does not fit is over every limit, and is refused as such.
        self.count(name, findings).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A number.
    pub(super) fn number(&mut self, name: &'static str, findings: &mut Findings) -> Option<f64> {
        let tree = self.get(name)?;
        if let Branch::Number(number) = &tree.value {
            return number.as_f64();
        }
        findings.error(&self.place(name), format!("`{name}` must be a number, not {}", tree.describe()));
        None
    }

    /// A truth.
    pub(super) fn truth(&mut self, name: &'static str, findings: &mut Findings) -> Option<bool> {
        let tree = self.get(name)?;
        if let Branch::Bool(truth) = tree.value {
            return Some(truth);
        }
        findings.error(&self.place(name), format!("`{name}` must be true or false, not {}", tree.describe()));
        None
    }

    /// An expression.
    pub(super) fn expression(&mut self, name: &'static str, findings: &mut Findings) -> Option<Expression> {
        self.text(name, findings).map(Expression)
    }

    /// A mapping from names to what `read` makes of their values; those it makes nothing of are left out.
    pub(super) fn map<K, V>(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
        read: impl Fn(&Tree, &Place, &mut Findings) -> Option<V>,
    ) -> Option<std::collections::BTreeMap<K, V>>
    where
        K: FromStr<Err: Display> + Ord,
    {
        let tree = self.get(name)?;
        let place = self.place(name);
        let entries = Self::of(tree, &place, &format!("`{name}`"), findings)?.entries;
        let mut map = std::collections::BTreeMap::new();
        for entry in entries {
            let inner = place.key(&entry.key);
            let key = findings.keep(&inner, entry.key.parse::<K>());
            let value = read(&entry.value, &inner, findings);
            map.extend(key.zip(value));
        }
        Some(map)
    }
}

/// A text. A number or a truth is taken as it is written.
pub(super) fn text(tree: &Tree, place: &Place, findings: &mut Findings) -> Option<String> {
    match &tree.value {
        Branch::Text(text) => Some(text.clone()),
        Branch::Number(number) => Some(number.to_string()),
        Branch::Bool(truth) => Some(truth.to_string()),
        Branch::Null | Branch::List(_) | Branch::Map(_) => {
            findings.error(place, format!("this must be a text, not {}", tree.describe()));
            None
        }
    }
}

/// A name of some kind.
pub(super) fn name<T: FromStr<Err: Display>>(tree: &Tree, place: &Place, findings: &mut Findings) -> Option<T> {
    let text = text(tree, place, findings)?;
    findings.keep(place, text.parse())
}

/// A list of what `read` makes of its items; a single item stands for a list of one.
pub(super) fn one_or_many<'t, T>(
    tree: &'t Tree,
    place: &Place,
    mut read: impl FnMut(&'t Tree, &Place) -> Option<T>,
) -> Vec<T> {
    match &tree.value {
        Branch::List(items) => {
            items.iter().enumerate().filter_map(|(index, item)| read(item, &place.index(index))).collect()
        }
        Branch::Null | Branch::Bool(_) | Branch::Number(_) | Branch::Text(_) | Branch::Map(_) => {
            read(tree, place).into_iter().collect()
        }
    }
}
