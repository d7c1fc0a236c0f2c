//! The settings of calls to the outside: which private addresses may be called, and which secrets graphs may refer to.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use super::address::is_public;
use super::prices::Prices;
use super::upstream::Upstreams;

/// What calls to the outside may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideConfig {
    /// What may be called beside the public internet. `COX_OUTSIDE_ALLOW`, default none.
    pub allow: Vec<Allowed>,
    /// Variables that graphs may refer to. `COX_SECRETS`, default `*_API_KEY` and `*_BASE_URL`.
    pub secrets: Vec<Pattern>,
    /// The folder whose files graphs may refer to. `COX_SECRETS_DIR`, default none.
    pub secrets_dir: Option<PathBuf>,
    /// What calls to one upstream may take of the worker.
    pub upstreams: Upstreams,
    /// What models cost. `COX_PRICES`, default nothing.
    pub prices: Prices,
}

impl Default for OutsideConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            secrets: ["*_API_KEY", "*_BASE_URL"].map(|name| Pattern(name.to_owned())).into(),
            secrets_dir: None,
            upstreams: Upstreams::default(),
            prices: Prices::default(),
        }
    }
}

/// Something that may be called although it is private: a network, an address, or a host by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A network, or one address.
    Network(IpNet),
    /// A host, whatever its addresses are.
    Host(String),
}

/// A text that is neither a network nor a name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address, network or host: write 127.0.0.1, 10.0.0.0/8 or chroma.internal")]
pub struct NotAllowed(String);

impl FromStr for Allowed {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network));
        }
        let is_name =
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if is_name { Ok(Self::Host(text.to_ascii_lowercase())) } else { Err(NotAllowed(text.to_owned())) }
    }
}

impl OutsideConfig {
    /// Whether a host may be called at this address.
    pub(super) fn admits(&self, host: &str, address: IpAddr) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        is_public(address)
            || self.allow.iter().any(|allowed| match allowed {
                Allowed::Network(network) => network.contains(&address.to_canonical()),
                Allowed::Host(name) => *name == host,
            })
    }
}

/// Names of variables; each `*` stands for any letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether it means this name.
    pub(super) fn means(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let parts: Vec<_> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(list: &[&str]) -> OutsideConfig {
        OutsideConfig { allow: list.iter().map(|text| text.parse().unwrap()).collect(), ..OutsideConfig::default() }
    }

    #[test]
    fn what_is_private_is_called_only_where_it_is_allowed() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let inner: IpAddr = "10.1.2.3".parse().unwrap();
        assert!(!allowing(&[]).admits("localhost", local));
        assert!(allowing(&["127.0.0.1"]).admits("localhost", local));
        assert!(
            allowing(&["10.1.0.0/16"]).admits("chroma", inner) && !allowing(&["10.2.0.0/16"]).admits("chroma", inner)
        );
        assert!(allowing(&["Chroma"]).admits("chroma.", inner) && !allowing(&["chroma"]).admits("chroma2", inner));
        assert!(allowing(&["127.0.0.0/8"]).admits("x", "::ffff:127.0.0.1".parse().unwrap()));
        assert!(allowing(&[]).admits("example.org", "1.1.1.1".parse().unwrap()));
    }

    #[test]
    fn a_slip_of_the_pen_is_no_host() {
        for bad in ["10.0.0.0/33", "http://x", "a b", ""] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_any_letters() {
        let means = |pattern: &str, name: &str| Pattern(pattern.to_owned()).means(name);
        assert!(means("*_API_KEY", "OPENAI_API_KEY") && !means("*_API_KEY", "OPENAI_API_KEY_2"));
        assert!(means("A", "A") && !means("A", "AB") && !means("", "A"));
        assert!(means("*", "ANY") && means("A*B*C", "AxxByC") && !means("A*B*C", "AxC"));
        assert!(means("A*A", "AA") && !means("A*A", "A"));
    }
}
