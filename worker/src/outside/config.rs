//! The settings of calls to the outside: which private addresses may be called, and which secrets graphs may refer to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use coxswain_shared::config::Source;
use coxswain_shared::graph::Reference;
use ipnet::IpNet;
use reqwest::Url;

use super::address::is_public;
use super::prices::Prices;
use super::upstream::Upstreams;

/// What calls to the outside may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideConfig {
    /// What may be called beside the public internet. `COX_OUTSIDE_ALLOW`, default none.
    pub allow: Vec<Allowed>,
    /// Variables that graphs may refer to, and the hosts that they and files may go to. `COX_SECRETS`, default `*_API_KEY` and `*_BASE_URL`.
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
            secrets: ["*_API_KEY", "*_BASE_URL"]
                .map(|name| Pattern { name: name.to_owned(), is_file: false, host: None })
                .into(),
            secrets_dir: None,
            upstreams: Upstreams::default(),
            prices: Prices::default(),
        }
    }
}

/// Something that may be called although it is private: a network, an address, or a host by its name; at one port, or at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A network, or one address.
    Network(IpNet),
    /// A host, whatever its addresses are.
    Host(String),
}

/// A text that is neither a network nor a name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address, network or host: write 127.0.0.1, 10.0.0.0/8 or chroma.internal, with a port if only that one is meant: 10.0.0.5:8080, 10.0.0.0/8:443, [::1]:8080"
)]
pub struct NotAllowed(String);

impl FromStr for Allowed {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        if let Some(target) = network(text) {
            return Ok(Self { target, port: None });
        }
        let (target, port) = split_port(text).ok_or_else(|| NotAllowed(text.to_owned()))?;
        let target = network(target).or_else(|| host(target).map(Target::Host));
        target.map(|target| Self { target, port }).ok_or_else(|| NotAllowed(text.to_owned()))
    }
}

/// A text without the port behind it, and that port. An address of IPv6 stands in brackets before one.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (target, behind) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match behind.strip_prefix(':') {
        Some(port) => Some((target, Some(port.parse().ok().filter(|port| *port > 0)?))),
        None => behind.is_empty().then_some((target, None)),
    }
}

fn network(text: &str) -> Option<Target> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).ok().map(Target::Network)
}

/// The name of a host, as URLs have it.
fn host(text: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!text.is_empty() && text.chars().all(is_name)).then(|| text.trim_end_matches('.').to_ascii_lowercase())
}

impl OutsideConfig {
    /// Whether a host may be called at this address and port.
    pub(super) fn admits(&self, host: &str, address: IpAddr, port: Option<u16>) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_allowed = |allowed: &Allowed| {
            let is_target = match &allowed.target {
                Target::Network(network) => network.contains(&address.to_canonical()),
                Target::Host(name) => *name == host,
            };
            is_target && (allowed.port.is_none() || allowed.port == port)
        };
        is_public(address) || self.allow.iter().any(is_allowed)
    }

    /// Whether some private addresses may be called at certain ports alone.
    pub(super) fn minds_ports(&self) -> bool {
        self.allow.iter().any(|allowed| allowed.port.is_some())
    }

    /// Whether graphs may refer to a variable of this name.
    pub(crate) fn shares(&self, variable: &str) -> bool {
        self.secrets.iter().any(|pattern| pattern.means(&Reference::Env(variable.to_owned())))
    }

    /// The hosts that a secret may go to; none where it is bound to none.
    pub(super) fn hosts(&self, reference: &Reference) -> Vec<Destination> {
        let meant = self.secrets.iter().filter(|pattern| pattern.means(reference));
        meant.filter_map(|pattern| pattern.host.clone()).collect()
    }

    /// The variables of this process that graphs may send anywhere: they are set, shared, and bound to no host.
    pub(crate) fn unbound(&self) -> Vec<String> {
        let is_unbound = |name: &str| {
            let reference = Reference::Env(name.to_owned());
            self.shares(name) && !is_address(&reference) && self.hosts(&reference).is_empty()
        };
        Source::all_foreign(is_unbound).into_iter().map(|(name, _)| name).collect()
    }
}

/// Whether a reference is to where something is, which failures have to tell, and not to a secret.
pub(super) fn is_address(reference: &Reference) -> bool {
    matches!(reference, Reference::Env(name) if name.ends_with("_BASE_URL"))
}

/// An entry of `COX_SECRETS`: variables that graphs may refer to, or files of the folder of secrets, and the host that they
/// may go to. Each `*` of the name stands for any letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    name: String,
    is_file: bool,
    host: Option<Destination>,
}

/// A host that a secret may go to: by its name, or all beneath one (`*.example.com`); at one port, or at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    host: String,
    /// Whether the hosts beneath it are meant, and not the host itself.
    is_beneath: bool,
    port: Option<u16>,
}

/// An entry of `COX_SECRETS` that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It has no name.
    #[error("`{0}` names no secret: write OPENAI_API_KEY, *_API_KEY or OPENAI_API_KEY@api.openai.com")]
    Nameless(String),
    /// What follows the `@` is no host.
    #[error(
        "`{0}` has no host behind the @: write api.openai.com, *.example.com or localhost:8080, and a further entry for each further host"
    )]
    Host(String),
    /// A file without a host.
    #[error("`{0}` binds no file to a host: all files of COX_SECRETS_DIR are shared, so write file:NAME@HOST")]
    Unbound(String),
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (name, host) = text.split_once('@').map_or((text, None), |(name, host)| (name, Some(host)));
        let host =
            host.map(|host| Destination::read(host).ok_or_else(|| BadPattern::Host(text.to_owned()))).transpose()?;
        let (name, is_file) = match name.strip_prefix("file:") {
            Some(name) => (name, true),
            None => (name.strip_prefix("env:").unwrap_or(name), false),
        };
        if name.is_empty() {
            return Err(BadPattern::Nameless(text.to_owned()));
        }
        if is_file && host.is_none() {
            return Err(BadPattern::Unbound(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), is_file, host })
    }
}

impl Destination {
    fn read(text: &str) -> Option<Self> {
        let (beneath, is_beneath) = text.strip_prefix("*.").map_or((text, false), |beneath| (beneath, true));
        if let Ok(address) = beneath.parse::<Ipv6Addr>() {
            return (!is_beneath).then(|| Self { host: format!("[{address}]"), is_beneath, port: None });
        }
        let (host, port) = split_port(beneath)?;
        // As a URL has it, so that both can be compared: in lower case, and in Punycode.
        let is_bracketed = beneath.starts_with('[');
        let url = if is_bracketed { format!("http://[{host}]/") } else { format!("http://{host}/") };
        let url = Url::parse(&url).ok().filter(|url| url.path() == "/" && url.username().is_empty())?;
        let host = url.host_str()?.trim_end_matches('.').to_owned();
        (!host.is_empty() && !host.contains('*')).then_some(Self { host, is_beneath, port })
    }

    /// Whether a URL leads there.
    pub(super) fn is_of(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let is_host = if self.is_beneath {
            host.strip_suffix(&self.host).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
        } else {
            host == self.host
        };
        is_host && (self.port.is_none() || self.port == url.port_or_known_default())
    }

    /// Whether it names a port.
    pub(super) const fn has_port(&self) -> bool {
        self.port.is_some()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beneath = if self.is_beneath { "*." } else { "" };
        write!(f, "{beneath}{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Pattern {
    /// Whether it means this secret.
    fn means(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Env(name) => !self.is_file && is_like(&self.name, name),
            Reference::File(name) => self.is_file && is_like(&self.name, name),
        }
    }
}

/// Whether a name is like a pattern, in which each `*` stands for any letters.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
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
        assert!(!allowing(&[]).admits("localhost", local, Some(80)));
        assert!(allowing(&["127.0.0.1"]).admits("localhost", local, Some(80)));
        assert!(
            allowing(&["10.1.0.0/16"]).admits("chroma", inner, None)
                && !allowing(&["10.2.0.0/16"]).admits("chroma", inner, None)
        );
        assert!(
            allowing(&["Chroma"]).admits("chroma.", inner, None)
                && !allowing(&["chroma"]).admits("chroma2", inner, None)
        );
        assert!(allowing(&["127.0.0.0/8"]).admits("x", "::ffff:127.0.0.1".parse().unwrap(), None));
        assert!(allowing(&[]).admits("example.org", "1.1.1.1".parse().unwrap(), None));
    }

    #[test]
    fn what_is_allowed_at_one_port_is_refused_at_another() {
        let admits = |allowed: &str, host: &str, address: &str, port: u16| {
            allowing(&[allowed]).admits(host, address.parse().unwrap(), Some(port))
        };
        for (allowed, host, address, port) in [
            ("10.0.0.5:8080", "x", "10.0.0.5", 8_080),
            ("10.0.0.0/8:443", "x", "10.9.9.9", 443),
            ("[::1]:8080", "x", "::1", 8_080),
            ("[fd00::/8]:443", "x", "fd00::7", 443),
            ("chroma.internal:8000", "chroma.internal", "10.0.0.1", 8_000),
        ] {
            assert!(admits(allowed, host, address, port), "{allowed}");
            assert!(!admits(allowed, host, address, port + 1), "{allowed}");
            assert!(
                !allowing(&[allowed]).admits(host, address.parse().unwrap(), None)
                    && allowing(&[allowed]).minds_ports()
            );
        }
        for (allowed, address) in
            [("::1", "::1"), ("[::1]", "::1"), ("fd00::/8", "fd00::7"), ("127.0.0.1", "127.0.0.1")]
        {
            assert!(admits(allowed, "x", address, 1) && !allowing(&[allowed]).minds_ports(), "{allowed}");
        }
    }

    fn sharing(entries: &[&str]) -> OutsideConfig {
        OutsideConfig {
            secrets: entries.iter().map(|text| text.parse().unwrap()).collect(),
            ..OutsideConfig::default()
        }
    }

    #[test]
    fn a_secret_is_bound_to_the_hosts_that_its_entries_name() {
        let config =
            sharing(&["*_API_KEY", "OPENAI_API_KEY@api.openai.com", "OPENAI_API_KEY@*.Example.com", "B@localhost:81"]);
        let goes = |name: &str, url: &str| {
            let hosts = config.hosts(&Reference::Env(name.to_owned()));
            hosts.is_empty() || hosts.iter().any(|host| host.is_of(&Url::parse(url).unwrap()))
        };
        for url in [
            "https://api.openai.com/v1",
            "https://API.OpenAI.com.:8443/",
            "http://a.example.com",
            "http://a.b.example.com",
        ] {
            assert!(goes("OPENAI_API_KEY", url), "{url}");
        }
        for url in [
            "https://evil.example/",
            "https://api.openai.com.evil.example/",
            "https://example.com/",
            "https://badexample.com/",
            "https://api.openai.com@evil.example/",
            "https://127.0.0.1/",
        ] {
            assert!(!goes("OPENAI_API_KEY", url), "{url}");
        }
        assert!(goes("OTHER_API_KEY", "https://evil.example/"), "what is bound to nothing goes anywhere");
        assert!(goes("B", "http://localhost:81/") && !goes("B", "http://localhost/"));
        assert!(config.shares("B") && !config.shares("C"));
        let file = |entries: &[&str]| sharing(entries).hosts(&Reference::File("token".to_owned())).len();
        assert_eq!((file(&["file:tok*@h", "token@h"]), file(&["token@h"])), (1, 0));
        assert!(
            sharing(&["A@[::1]:8"]).hosts(&Reference::Env("A".to_owned()))[0]
                .is_of(&Url::parse("http://[::1]:8").unwrap())
        );
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_refused() {
        for bad in [
            "",
            "@host",
            "file:",
            "A@",
            "A@*",
            "A@h:x",
            "A@https://h",
            "A@h/path",
            "A@*.*.h",
            "A@u@h",
            "file:token",
            "A@a b",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_no_host() {
        for bad in ["10.0.0.0/33", "http://x", "a b", "", "h:", "h:0", "h:65536", "[::1]8080", "[::1", ":80", "h:80:80"]
        {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_any_letters() {
        let means = is_like;
        assert!(means("*_API_KEY", "OPENAI_API_KEY") && !means("*_API_KEY", "OPENAI_API_KEY_2"));
        assert!(means("A", "A") && !means("A", "AB") && !means("", "A"));
        assert!(means("*", "ANY") && means("A*B*C", "AxxByC") && !means("A*B*C", "AxC"));
        assert!(means("A*A", "AA") && !means("A*A", "A"));
    }
}
