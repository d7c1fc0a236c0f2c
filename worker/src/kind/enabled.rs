//! Which kinds of nodes a worker runs, as its operators say; and what becomes of a task of another kind.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use coxswain_shared::outcome::{Failure, FailureKind};

use crate::handler::NodeError;
use crate::hint::hint;

/// The kinds that workers run.
const KINDS: [&str; 7] = ["exec", "http", "llm", "rust", "set", "vector_search", "vector_upsert"];
/// How long a task is away that this worker does not run: another worker of its pool may get it next.
const AWAY: Duration = Duration::from_secs(1);

/// The name of a kind of nodes that workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindName(&'static str);

impl FromStr for KindName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KINDS
            .into_iter()
            .find(|kind| *kind == text)
            .map(Self)
            .ok_or_else(|| format!("no worker runs nodes of a kind `{text}`{}", hint(text, KINDS)))
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The kinds that a worker runs.
#[derive(Debug)]
pub(super) struct Enabled {
    /// None of them stands for all.
    kinds: BTreeSet<&'static str>,
    /// Those of which the log says that tasks are left to others.
    told: Mutex<BTreeSet<&'static str>>,
}

impl Enabled {
    pub(super) fn new(kinds: &[KindName]) -> Self {
        Self { kinds: kinds.iter().map(|kind| kind.0).collect(), told: Mutex::default() }
    }

    /// Leaves a task to others if this worker does not run its kind: it has done nothing, and this was no try.
    pub(super) fn check(&self, kind: &'static str) -> Result<(), NodeError> {
        if self.kinds.is_empty() || self.kinds.contains(kind) {
            return Ok(());
        }
        let is_first = self.told.lock().expect("nothing panics while it holds the names").insert(kind);
        if is_first {
            tracing::warn!(
                kind,
                "tasks of a kind that COX_KINDS does not name have come, and are left to other workers"
            );
        }
        let message = format!(
            "it waits for a worker that runs nodes of the kind `{kind}`: the one that took it does not (COX_KINDS); \
             give the node a pool whose workers do"
        );
        Err(NodeError::PutOff { failure: Failure::new(FailureKind::PutOff, message), after: AWAY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_not_named_is_left_to_others_and_none_named_is_all() {
        let some = Enabled::new(&["llm", "http"].map(|name| name.parse().unwrap()));
        assert!(some.check("llm").is_ok() && Enabled::new(&[]).check("exec").is_ok());
        let Err(NodeError::PutOff { failure, .. }) = some.check("exec") else { panic!("it is put off") };
        assert!(failure.message.contains("`exec`") && failure.message.contains("COX_KINDS"), "{failure}");
    }

    #[test]
    fn a_kind_that_nobody_runs_is_named_with_what_is_like_it() {
        let told = "exce".parse::<KindName>().unwrap_err();
        assert!(told.contains("`exce`") && told.contains("`exec`") && told.contains("vector_upsert"), "{told}");
    }
}
