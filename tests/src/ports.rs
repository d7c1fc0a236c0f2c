//! Free loopback ports for the private servers.
//!
//! Not the kernel's ephemeral range: a client that reconnects to a closed ephemeral port may be handed that very port as
//! its own, connect to itself, and keep the restarted server from binding.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below 32,768, where Linux begins to hand out ephemeral ports, and above what services usually claim.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port that fails this often to be free means that something else is wrong.
const TRIES_MAX: usize = 1_000;

/// What this process has given out. Never taken back: a stopped server may come again on its port.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a loopback port that nobody listens on and that this process won't return again.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    (0..TRIES_MAX)
        .map(|_| rand::random_range(RANGE))
        .find(|port| is_free(*port) && taken.insert(*port))
        .expect("some port between 15,000 and 32,000 is free on loopback")
}

/// Says whether a server could listen on the port now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_out_once() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_somebody_listens_on_is_not_free() {
        let port = free();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port can be bound");
        assert!(!is_free(port));
    }
}
