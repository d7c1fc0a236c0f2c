//! Overload: how pools are judged, each in a slot of its own, and runs that are shed.

use std::time::Duration;

use super::decode;
use super::encode::{self, json, ms};
use super::store::RedisStore;
use crate::id::{PoolName, RunKey};
use crate::load::PoolLoad;
use crate::stop::NewOrder;
use crate::store::{Error, Shed};

impl RedisStore {
    pub(super) async fn keep_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error> {
        let key = self.keys.load(&load.pool);
        let mut call = self.scripts.load.on(&key);
        call.arg(&load.by).arg(json(load)).arg(ms(ttl));
        decode::parse(&key, "the judgement", &self.send(&mut call).await?.text()?)
    }

    pub(super) async fn read_load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error> {
        let key = self.keys.load(pool);
        let mut call = self.scripts.load.on(&key);
        call.arg("");
        let found = self.send(&mut call).await?.optional()?;
        found.map(|text| decode::parse(&key, "the judgement", &text)).transpose()
    }

    pub(super) async fn shed_run(&self, run: &RunKey, order: &NewOrder) -> Result<Shed, Error> {
        let mut call = self.on(&self.scripts.shed, run.partition);
        call.arg(run.id.as_str());
        for part in encode::order(order) {
            call.arg(part);
        }
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "stopped" => Ok(Shed::Stopped),
            "begun" => Ok(Shed::Begun),
            "frozen" => Ok(Shed::Frozen),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }
}
