//! A private Redis Cluster of masters, to prove that a script touches one slot only.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::redis::{RedisOptions, RedisServer};
use crate::wait::wait_for;

/// The number of hash slots of every Redis Cluster.
const SLOTS: usize = 16_384;

/// Gossip among three nodes takes about two seconds.
const FORMED_WITHIN: Duration = Duration::from_secs(30);

/// Masters without replicas that share the slots evenly, in order.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts `masters` nodes and returns when each of them knows all and serves its slots.
    pub async fn start(masters: usize) -> Self {
        assert!(masters > 0, "a cluster has a master");
        let mut nodes = Vec::with_capacity(masters);
        for _ in 0..masters {
            nodes.push(RedisServer::start(RedisOptions { cluster: true, ..RedisOptions::default() }).await);
        }
        let this = Self { nodes };
        this.join().await;
        this.formed().await;
        this
    }

    /// The URLs of all nodes, in the order of their slots.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The nodes, in the order of their slots.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The node that serves the key.
    pub async fn node_of(&self, key: &str) -> &RedisServer {
        let mut connection = self.nodes[0].connection().await;
        let mut ask = redis::cmd("CLUSTER");
        let slot = ask.arg("KEYSLOT").arg(key).query_async::<usize>(&mut connection).await;
        let slot = slot.expect("a node computes a key's slot");
        let owner = (0..self.nodes.len()).find(|node| self.slots(*node).contains(&slot));
        &self.nodes[owner.expect("the nodes share all slots")]
    }

    /// Gives each node its slots and introduces it to the first.
    async fn join(&self) {
        let first = &self.nodes[0];
        for (index, node) in self.nodes.iter().enumerate() {
            let mut connection = node.connection().await;
            let slots = self.slots(index);
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(slots.start).arg(slots.end - 1);
            add.query_async::<()>(&mut connection).await.expect("a new node takes slots");
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg(Ipv4Addr::LOCALHOST.to_string()).arg(first.port()).arg(first.bus_port());
            meet.query_async::<()>(&mut connection).await.expect("a new node meets another");
        }
    }

    async fn formed(&self) {
        for node in &self.nodes {
            let mut connection = node.connection().await;
            wait_for("the cluster to form", FORMED_WITHIN, async || {
                let info = redis::cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await;
                let info = info.map_err(|error| error.to_string())?;
                let known = format!("cluster_size:{}\r\n", self.nodes.len());
                let is_formed = info.contains("cluster_state:ok") && info.contains(&known);
                if is_formed { Ok(()) } else { Err(info) }
            })
            .await;
        }
    }

    fn slots(&self, node: usize) -> std::ops::Range<usize> {
        let count = self.nodes.len();
        SLOTS * node / count..SLOTS * (node + 1) / count
    }
}
