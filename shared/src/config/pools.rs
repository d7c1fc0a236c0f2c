//! The pools that graphs may name, where an operator lists them.

use std::collections::BTreeSet;

use super::reader::{Reader, Variable};
use crate::id::PoolName;

/// The pools of the fleet; without it every pool is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownPools(Option<BTreeSet<PoolName>>);

impl KnownPools {
    /// The setting.
    pub const VARIABLE: Variable = Variable {
        name: "COX_KNOWN_POOLS",
        default: "",
        meaning: "the pools that graphs may name, separated by commas: `cox` refuses a graph that names another, and schedulers fail its run; every pool is known where it is not set",
    };

    /// Reads it; a mistake is left with the reader.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        if reader.optional(&Self::VARIABLE).is_none_or(|text| text.trim().is_empty()) {
            return Self::default();
        }
        let pools: Vec<PoolName> = reader.list(&Self::VARIABLE);
        Self(Some(pools.into_iter().collect()))
    }

    /// Why a pool may not be named; absent if it may.
    pub fn refusal(&self, pool: &PoolName) -> Option<String> {
        let known = self.0.as_ref().filter(|known| !known.contains(pool))?;
        let listed = known.iter().map(PoolName::as_str).collect::<Vec<_>>().join(", ");
        Some(format!("the pool `{pool}` is none of the pools of this fleet ({}: {listed})", Self::VARIABLE.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn read(text: Option<&str>) -> KnownPools {
        let pairs = text.map(|text| ("COX_KNOWN_POOLS".to_owned(), text.to_owned()));
        let source = Source::from_pairs(pairs);
        let mut reader = Reader::new(&source);
        let pools = KnownPools::read(&mut reader);
        reader.finish(pools).unwrap()
    }

    #[test]
    fn a_pool_that_is_not_listed_is_refused_and_without_a_list_none_is() {
        let (gpu, standard) = (PoolName::new("gpu").unwrap(), PoolName::standard());
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(read(nothing).refusal(&gpu), None, "{nothing:?}");
        }
        let known = read(Some("default, web"));
        assert_eq!(known.refusal(&standard), None);
        let told = known.refusal(&gpu).unwrap();
        assert_eq!(told, "the pool `gpu` is none of the pools of this fleet (COX_KNOWN_POOLS: default, web)");
    }
}
