//! What models cost: an operator's table, by model and per million tokens.

use std::collections::BTreeMap;

use coxswain_shared::spend::Cost;
use serde_json::{Map, Value};

use super::setting;
use crate::hint::hint;

/// Models that may have a price.
const MODELS_MAX: usize = 1_000;
/// The tokens that a price is for.
const PER: u64 = 1_000_000;
/// What a price may say.
const FIELDS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];

/// Prices by model; a name that ends in `*` is for all models that begin so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

/// What a million tokens of each way cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Price {
    input: Cost,
    output: Cost,
    cache_read: Cost,
    cache_write: Cost,
}

/// What a call has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All that was read, in whatever way.
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// Of what was read: from the provider's cache.
    pub(crate) cache_read: u64,
    /// Of what was read: put into that cache.
    pub(crate) cache_write: u64,
}

impl Prices {
    /// Reads them from the path of a file, or from YAML or JSON: `{gpt-5-mini: {input: 0.25, output: 2}, "local-*": {}}`.
    /// What a price leaves out costs nothing; the cache, what all input does.
    pub(crate) fn read(text: &str) -> Result<Self, Vec<String>> {
        let text = setting::text(text).map_err(|why| vec![why])?;
        let read: Value = serde_saphyr::from_str(&text).map_err(|error| vec![format!("it cannot be read: {error}")])?;
        let Value::Object(all) = read else {
            return Err(vec!["write prices by model: {gpt-5-mini: {input: 0.25, output: 2}}".to_owned()]);
        };
        let mut mistakes = Vec::new();
        if all.len() > MODELS_MAX {
            mistakes.push(format!("{} models have a price: at most {MODELS_MAX} may", all.len()));
        }
        let prices =
            all.iter().map(|(model, price)| (model.clone(), read_price(model, price, &mut mistakes))).collect();
        if mistakes.is_empty() { Ok(Self(prices)) } else { Err(mistakes) }
    }

    /// What so many tokens cost of the first of these models that has a price.
    pub(crate) fn cost<'m>(&self, models: impl IntoIterator<Item = &'m str>, tokens: Tokens) -> Option<Cost> {
        let price = models.into_iter().find_map(|model| self.price(model))?;
        let one_way = |price: Cost, tokens: u64| u128::from(price.micros()) * u128::from(tokens) / u128::from(PER);
        let Tokens { input, output, cache_read, cache_write } = tokens;
        let others = input.saturating_sub(cache_read.saturating_add(cache_write));
        let micros = one_way(price.input, others)
            + one_way(price.cache_read, cache_read)
            + one_way(price.cache_write, cache_write)
            + one_way(price.output, output);
        Some(Cost::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// Its own price, or that of the longest beginning.
    fn price(&self, model: &str) -> Option<Price> {
        let is_for = |name: &str| name.strip_suffix('*').is_some_and(|start| model.starts_with(start));
        let longest = || self.0.iter().filter(|(name, _)| is_for(name)).max_by_key(|(name, _)| name.len());
        self.0.get(model).or_else(|| longest().map(|(_, price)| price)).copied()
    }
}

fn read_price(model: &str, price: &Value, mistakes: &mut Vec<String>) -> Price {
    let Value::Object(fields) = price else {
        mistakes.push(format!("`{model}`: write what a million tokens cost, such as {{input: 0.25, output: 2}}"));
        return Price::default();
    };
    for field in fields.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
        mistakes.push(format!("`{model}` has no `{field}`{}", hint(field, FIELDS)));
    }
    let mut price = |name: &str, default: Cost| amount(model, fields, (name, default), mistakes);
    let (input, output) = (price("input", Cost::default()), price("output", Cost::default()));
    Price { input, output, cache_read: price("cache_read", input), cache_write: price("cache_write", input) }
}

fn amount(model: &str, fields: &Map<String, Value>, (name, default): (&str, Cost), mistakes: &mut Vec<String>) -> Cost {
    let Some(value) = fields.get(name) else { return default };
    value.as_f64().and_then(Cost::from_units).unwrap_or_else(|| {
        mistakes.push(format!("`{model}.{name}` is {value}: it is an amount from 0 to a billion"));
        Cost::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_costs_its_own_price_or_that_of_the_longest_beginning() {
        let prices = Prices::read("{big-1: {input: 3, output: 15}, 'big-*': {input: 1}, '*': {output: 0.5}}").unwrap();
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        let cost = |model: &str| prices.cost([model], tokens(1_000_000, 2_000_000)).unwrap().to_string();
        assert_eq!([cost("big-1"), cost("big-2"), cost("other")], ["33", "1", "1"]);
        assert_eq!(prices.cost(["big-1"], tokens(1, 0)).unwrap().micros(), 3);
        let one = Prices::read("{a: {input: 1}}").unwrap();
        assert_eq!(one.cost(["b"], tokens(1, 1)), None);
        assert_eq!(one.cost(["b", "a"], tokens(1_000_000, 0)).unwrap().to_string(), "1");
    }

    #[test]
    fn what_a_cache_holds_has_its_own_price_or_that_of_all_input() {
        let tokens = Tokens { input: 6_000_000, output: 0, cache_read: 4_000_000, cache_write: 1_000_000 };
        let cost = |price: &str| Prices::read(price).unwrap().cost(["a"], tokens).unwrap().to_string();
        assert_eq!(cost("{a: {input: 3}}"), "18");
        assert_eq!(cost("{a: {input: 3, cache_read: 0.3, cache_write: 3.75}}"), "7.95");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = Prices::read("{a: 3, b: {imput: 1}, c: {input: -1, output: x}}").unwrap_err().join("\n");
        for told in
            ["`a`: write", "`b` has no `imput`", "did you mean `input`", "`c.input` is -1", "`c.output` is \"x\""]
        {
            assert!(wrong.contains(told), "{told}: {wrong}");
        }
        assert!(Prices::read("/nowhere/prices.yaml").unwrap_err()[0].contains("/nowhere/prices.yaml"));
        assert!(Prices::read("{").is_err() && Prices::read("\n- a").is_err());
    }
}
