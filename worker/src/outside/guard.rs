//! The guard at the door: connections are made only to addresses that may be called.
//!
//! It stands where the connection is made: a name is judged by the addresses that are then called, so that a name which
//! answers otherwise the second time, or a redirect, does not lead past it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::config::OutsideConfig;

/// An address that may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, which is private: the worker calls it only if COX_OUTSIDE_ALLOW has the host, the address or its network{}",
    .port.map(|port| format!(", alone or with the port {port}")).unwrap_or_default()
)]
pub(super) struct Private {
    host: String,
    address: IpAddr,
    /// Where it matters.
    port: Option<u16>,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the host {0} has no address")]
struct NoAddress(String);

/// Looks names up, and leaves out the addresses that may not be called.
#[derive(Debug)]
pub(super) struct Guard {
    config: Arc<OutsideConfig>,
    port: Option<u16>,
}

impl Guard {
    /// A guard of calls to one port, where that matters.
    pub(super) const fn new(config: Arc<OutsideConfig>, port: Option<u16>) -> Self {
        Self { config, port }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (config, port) = (Arc::clone(&self.config), self.port);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let Some(first) = found.first().map(SocketAddr::ip) else { return Err(NoAddress(host).into()) };
            let open: Vec<_> = found.into_iter().filter(|found| config.admits(&host, found.ip(), port)).collect();
            if open.is_empty() {
                return Err(Private { host, address: first, port }.into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

/// Judges an address whose host is no name: it is never looked up.
pub(super) fn check(config: &OutsideConfig, url: &Url) -> Result<(), Private> {
    let Some(host) = url.host_str() else { return Ok(()) };
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Ok(()) };
    let port = url.port_or_known_default();
    if config.admits(host, address, port) {
        return Ok(());
    }
    Err(Private { host: host.to_owned(), address, port: port.filter(|_| config.minds_ports()) })
}
