//! The operators' policies: sets and removes them, and says how much of what they allow is used.

use serde::{Serialize, Serializer};

use super::Error;
use super::patience::patiently;
use super::submit::check_text;
use crate::closest::closest;
use crate::id::PolicyName;
use crate::policy::{Limits, Named, Per, Policy, Reading, Usage};
use crate::store::{MeterCall, PolicyChange, PolicyChanged, Store};
use crate::time::Timestamp;

/// A policy, and what is used of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The policy.
    pub named: Named,
    /// What is used in its window; absent where subjects are counted apart and none is named.
    pub reading: Option<Reading>,
}

/// The policy's fields, and `reading`: what is `used` of each of its limits, when there is room again (`room_at`, absent where
/// there is now), and the store's time.
impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            named: &'a Named,
            #[serde(skip_serializing_if = "Option::is_none")]
            reading: Option<Figures>,
        }
        #[derive(Serialize)]
        struct Figures {
            used: Limits,
            #[serde(skip_serializing_if = "Option::is_none")]
            room_at: Option<Timestamp>,
            now: Timestamp,
        }
        let Self { named, reading } = self;
        let used = |Reading { used, room_at, now, .. }: &Reading| Figures {
            used: named.policy.limits.used(used),
            room_at: *room_at,
            now: *now,
        };
        Shown { named, reading: reading.as_ref().map(used) }.serialize(serializer)
    }
}

/// A change of one policy, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The policy.
    pub name: PolicyName,
    /// What came of it.
    pub answer: PolicyChanged,
}

/// Who changes policies, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// Sets policies; with `prune` all others are removed.
pub async fn apply(store: &dyn Store, policies: Vec<Named>, prune: bool, by: &By) -> Result<Vec<Change>, Error> {
    by.check()?;
    let mut changes = Vec::new();
    if prune {
        let known = patiently(async || store.policies().await).await?;
        let others = known.into_iter().filter(|known| policies.iter().all(|named| named.name != known.name));
        for Named { name, .. } in others {
            changes.push(change(store, name, None, by).await?);
        }
    }
    for Named { name, policy } in policies {
        changes.push(change(store, name, Some(policy), by).await?);
    }
    Ok(changes)
}

/// Removes policies; all of them must be there.
pub async fn remove(store: &dyn Store, names: &[PolicyName], by: &By) -> Result<Vec<Change>, Error> {
    by.check()?;
    for name in names {
        find(store, name).await?;
    }
    let mut changes = Vec::new();
    for name in names {
        changes.push(change(store, name.clone(), None, by).await?);
    }
    Ok(changes)
}

async fn change(store: &dyn Store, name: PolicyName, policy: Option<Policy>, by: &By) -> Result<Change, Error> {
    let By { actor, reason } = by.clone();
    let change = PolicyChange { name: name.clone(), policy, actor, reason };
    match patiently(async || store.set_policy(change.clone()).await).await? {
        PolicyChanged::TooMany => Err(Error::TooManyPolicies(name)),
        answer => Ok(Change { name, answer }),
    }
}

/// All policies.
pub async fn list(store: &dyn Store) -> Result<Vec<Standing>, Error> {
    let mut standings = Vec::new();
    for named in patiently(async || store.policies().await).await? {
        let reading = match named.policy.per {
            Per::All => Some(read(store, &named, "").await?),
            Per::Graph | Per::Thread | Per::Label(_) => None,
        };
        standings.push(Standing { named, reading });
    }
    Ok(standings)
}

/// One policy; what is used of it by a subject, if one is named.
pub async fn look(store: &dyn Store, name: &PolicyName, subject: Option<&str>) -> Result<Standing, Error> {
    let named = find(store, name).await?;
    let subject = match (&named.policy.per, subject) {
        (Per::All, Some(_)) => return Err(Error::NoSubjects(name.clone())),
        (Per::All, None) => Some(""),
        (Per::Graph | Per::Thread | Per::Label(_), subject) => subject,
    };
    let reading = match subject {
        Some(subject) => Some(read(store, &named, subject).await?),
        None => None,
    };
    Ok(Standing { named, reading })
}

async fn find(store: &dyn Store, name: &PolicyName) -> Result<Named, Error> {
    let known = patiently(async || store.policies().await).await?;
    known.iter().find(|named| named.name == *name).cloned().ok_or_else(|| Error::NoSuchPolicy {
        name: name.clone(),
        nearest: closest(name.as_str(), known.iter().map(|named| named.name.as_str())).map(str::to_owned),
    })
}

async fn read(store: &dyn Store, named: &Named, subject: &str) -> Result<Reading, Error> {
    let Policy { limits, window, .. } = named.policy.clone();
    let (policy, subject) = (named.name.clone(), subject.to_owned());
    let call = MeterCall { policy, subject, add: Usage::default(), must: false, limits, window };
    Ok(patiently(async || store.meter(call.clone()).await).await?)
}

impl By {
    fn check(&self) -> Result<(), Error> {
        check_text(|| "the actor".to_owned(), &self.actor)?;
        self.reason.as_ref().map_or(Ok(()), |reason| check_text(|| "the reason".to_owned(), reason))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::{self, Measure};

    #[test]
    fn what_is_used_is_shown_by_the_names_of_the_limits() {
        let read = policy::read("{dear: {window: 1h, limits: {cost: 20, wall_time: 1h, runs: 3}, then: stop}}");
        let named = read.unwrap().remove(0);
        let mut used = Usage::of(Measure::Cost, 1_500_000);
        used.add(Measure::WallTime, 61_000);
        used.add(Measure::Tokens, 7);
        let now = Timestamp::from_millis(5);
        let standing = Standing { named, reading: Some(Reading { counted: false, used, room_at: None, now }) };
        let shown = serde_json::to_value(&standing).unwrap();
        let wanted = json!({"used": {"cost": 1.5, "wall_time": "1m1s", "runs": 0}, "now": 5});
        assert_eq!((&shown["reading"], &shown["name"]), (&wanted, &json!("dear")), "tokens are not limited");
    }
}
