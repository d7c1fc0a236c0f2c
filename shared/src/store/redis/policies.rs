//! The operators' policies, and what they count. Each policy's count of one subject has a slot of its own.

use redis::cmd;

use super::encode::json;
use super::reply::Reply;
use super::store::RedisStore;
use crate::limits::POLICIES_MAX;
use crate::policy::{Measure, Named, PARTS, Reading, Usage, part_of};
use crate::store::{Error, MeterCall, PolicyChange, PolicyChanged};
use crate::time::millis;

impl RedisStore {
    pub(super) async fn change_policy(&self, change: &PolicyChange) -> Result<PolicyChanged, Error> {
        let trail = PolicyChange::trail();
        let mut call = self.on(&self.scripts.set_policy, self.partition_of(trail.as_str()));
        call.arg(change.name.as_str()).arg(change.policy.as_ref().map(json).unwrap_or_default());
        call.arg(&change.actor).arg(change.reason.as_deref().unwrap_or_default());
        call.arg(POLICIES_MAX).arg(trail.as_str()).arg(change.action());
        let mut reply = self.send(&mut call).await?;
        let word = reply.text()?;
        let known = PolicyChanged::ALL.into_iter().find(|changed| changed.name() == word);
        known.ok_or_else(|| reply.corrupt(&format!("the answer `{word}` is unknown")))
    }

    pub(super) async fn read_policies(&self) -> Result<Vec<Named>, Error> {
        let key = self.keys.of(self.partition_of(PolicyChange::trail().as_str()), "policies");
        let value = self.link.call(cmd("HGETALL").arg(&key)).await?;
        let mut reply = Reply::new(key, value);
        let mut policies = Vec::with_capacity(reply.len() / 2);
        while !reply.is_empty() {
            let (name, text) = (reply.parsed()?, reply.text()?);
            let policy = serde_json::from_str(&text)
                .map_err(|error| reply.corrupt(&format!("the policy {name} cannot be read: {error}")))?;
            policies.push(Named { name, policy });
        }
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(policies)
    }

    pub(super) async fn count(&self, meter: &MeterCall) -> Result<Reading, Error> {
        let part = part_of(meter.window);
        let key = self.keys.meter(&meter.policy, &meter.subject, part);
        let mut call = self.scripts.meter.on_all(&[&key]);
        call.arg(part).arg(PARTS).arg(if meter.must { "1" } else { "0" }).arg(millis(meter.window));
        for measure in Measure::ALL {
            call.arg(meter.add.get(measure));
        }
        for measure in Measure::ALL {
            call.arg(meter.limits.get(measure).map(|limit| limit.to_string()).unwrap_or_default());
        }
        let mut reply = self.send(&mut call).await?;
        let (counted, now) = (reply.text()? == "1", reply.time()?);
        let room_at = match reply.optional()? {
            Some(text) => Some(
                text.parse()
                    .map(crate::time::Timestamp::from_millis)
                    .map_err(|_| reply.corrupt("the time of room is no time"))?,
            ),
            None => None,
        };
        let mut used = Usage::default();
        for measure in Measure::ALL {
            used.add(measure, reply.parsed()?);
        }
        Ok(Reading { counted, used, room_at, now })
    }
}
