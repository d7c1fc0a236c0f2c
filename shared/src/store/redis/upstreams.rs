//! Upstreams: how often they are called, and their breakers. Each upstream has a slot of its own.

use super::encode::ms;
use super::reply::Reply;
use super::store::RedisStore;
use crate::store::{BreakerCall, BreakerView, Error};
use crate::upstream::{Admission, Breaker, BreakerEvent, Rate, UpstreamName};

impl RedisStore {
    pub(super) async fn admit_call(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error> {
        let key = self.keys.upstream(upstream, "rate");
        let mut call = self.scripts.admit.on_all(&[&key]);
        call.arg(rate.interval_micros()).arg(rate.burst());
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "admitted" => Ok(Admission::Admitted),
            "after" => Ok(Admission::After(std::time::Duration::from_millis(reply.parsed()?))),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    pub(super) async fn move_breaker(&self, moved: &BreakerCall) -> Result<BreakerView, Error> {
        let key = self.keys.upstream(&moved.upstream, "breaker");
        let mut call = self.scripts.breaker.on_all(&[&key]);
        let limits = &moved.limits;
        call.arg(limits.failures).arg(limits.of).arg(ms(limits.within)).arg(ms(limits.open_for));
        call.arg(moved.last.as_deref().unwrap_or_default());
        match &moved.event {
            BreakerEvent::Reported { calls, failed } => call.arg("reported").arg(calls).arg(failed),
            BreakerEvent::Asked { probe } => call.arg("asked").arg(probe.as_str()),
            BreakerEvent::Probed { probe, well } => {
                call.arg("probed").arg(probe.as_str()).arg(if *well { "1" } else { "0" })
            }
        };
        let mut reply = self.send(&mut call).await?;
        Ok(BreakerView { breaker: breaker(&mut reply)?, last: reply.optional()?, now: reply.time()? })
    }
}

fn breaker(reply: &mut Reply) -> Result<Breaker, Error> {
    match reply.text()?.as_str() {
        "closed" => Ok(Breaker::Closed { since: reply.time()?, calls: reply.parsed()?, failed: reply.parsed()? }),
        "open" => Ok(Breaker::Open { until: reply.time()?, calls: reply.parsed()?, failed: reply.parsed()? }),
        "half-open" => Ok(Breaker::HalfOpen { until: reply.time()?, probe: reply.parsed()? }),
        other => Err(reply.corrupt(&format!("the breaker is `{other}`, which is no state"))),
    }
}
