//! The adapter's settings, and the broker's URL, which is never shown with its credentials.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::broker::Error;
use crate::config::{Reader, Secret, Variable, has_split_login, redact_url, url_remedy};

const URL: Variable = Variable {
    name: "COX_BROKER",
    default: "",
    meaning: "Where RabbitMQ is: amqp:// or amqps://, user:password@host:port/virtual-host, %2f for the virtual host `/`. \
              None: tasks are queued inside the process.",
};
const TLS_CA: Variable = Variable {
    name: "COX_BROKER_TLS_CA",
    default: "",
    meaning: "A file of PEM certificates to trust besides the system's, for amqps://.",
};
const QUEUE_PREFIX: Variable = Variable {
    name: "COX_BROKER_QUEUE_PREFIX",
    default: "COX_STORE_PREFIX",
    meaning: "The queues are <prefix>.tasks.<pool>, <prefix>.tasks-high.<pool>, <prefix>.tasks-low.<pool> and <prefix>.dead. The same for the whole fleet.",
};
const PUBLISH_TIMEOUT: Variable = Variable {
    name: "COX_BROKER_PUBLISH_TIMEOUT",
    default: "10s",
    meaning: "How long a call may wait for the broker: for a connection, a confirm, or the end of an alarm.",
};
const BACKOFF_MIN: Variable = Variable {
    name: "COX_BROKER_BACKOFF_MIN",
    default: "100ms",
    meaning: "The pause before the first try to connect again; it doubles.",
};
const BACKOFF_MAX: Variable = Variable {
    name: "COX_BROKER_BACKOFF_MAX",
    default: "1s",
    meaning: "The longest pause between two tries to connect again.",
};
const DELIVERY_LIMIT: Variable = Variable {
    name: "COX_BROKER_DELIVERY_LIMIT",
    default: "20",
    meaning: "How often the broker delivers one message before it goes to the dead letters. Every restart of a worker gives \
              messages back, so a small number buries innocent ones; their tasks are sent again by the sweep. To change it, \
              delete the queues: their tasks are sent again too.",
};
const QUEUE_LENGTH_MAX: Variable = Variable {
    name: "COX_BROKER_QUEUE_LENGTH_MAX",
    default: "5000000",
    meaning: "Messages that one queue of a pool holds; beyond it publishes are refused, and the sweep sends the tasks again later. \
              To change it, delete the queues: their tasks are sent again too.",
};

const QUEUE_EXPIRES: Variable = Variable {
    name: "COX_BROKER_QUEUE_EXPIRES",
    default: "1d",
    meaning: "After how long without a worker the broker deletes the queues of a pool; tasks whose messages were there are sent \
              again by the sweep, which makes the queues anew. 0: never. To change it, delete the queues.",
};

/// The longest that RabbitMQ takes for a queue to expire.
const EXPIRES_MAX: Duration = Duration::from_hours(45 * 24);

/// Stands in for a URL that is not set while the other settings are read; never connected to.
const ANY_URL: &str = "amqp://localhost/%2f";
/// The longest queue prefix: with the longest pool name it stays below AMQP's 255 bytes.
const PREFIX_LENGTH_MAX: usize = 64;

/// How to reach RabbitMQ, and how to use it.
#[derive(Debug, Clone)]
pub struct RabbitConfig {
    /// Where it is. `COX_BROKER`.
    pub url: BrokerUrl,
    /// A file of PEM certificates to trust besides the system's. `COX_BROKER_TLS_CA`.
    pub tls_ca: Option<PathBuf>,
    /// What the connections are called in the broker's lists, before `: publish` and `: consume`.
    pub connection_name: String,
    /// What all queue names begin with. `COX_BROKER_QUEUE_PREFIX`, by default as `COX_STORE_PREFIX`: `cox`.
    pub queue_prefix: String,
    /// How long a call may wait for the broker. `COX_BROKER_PUBLISH_TIMEOUT`, default 10 s.
    pub publish_timeout: Duration,
    /// The pause before the first try to connect again. `COX_BROKER_BACKOFF_MIN`, default 100 ms.
    pub backoff_min: Duration,
    /// The longest pause between two tries to connect again. `COX_BROKER_BACKOFF_MAX`, default 1 s.
    pub backoff_max: Duration,
    /// How often one message is delivered before it is a dead letter. `COX_BROKER_DELIVERY_LIMIT`, default 20.
    pub delivery_limit: u32,
    /// Messages that one queue of a pool holds. `COX_BROKER_QUEUE_LENGTH_MAX`, default 5,000,000.
    pub queue_length_max: u32,
    /// After how long without a worker the queues of a pool are deleted. `COX_BROKER_QUEUE_EXPIRES`, default 1 d; absent: never.
    pub queue_expires: Option<Duration>,
}

impl RabbitConfig {
    /// The variable that says where the broker is.
    pub const URL_NAME: &'static str = URL.name;

    /// The settings that are read from the environment.
    pub const VARIABLES: [Variable; 9] = [
        URL,
        TLS_CA,
        QUEUE_PREFIX,
        PUBLISH_TIMEOUT,
        BACKOFF_MIN,
        BACKOFF_MAX,
        DELIVERY_LIMIT,
        QUEUE_LENGTH_MAX,
        QUEUE_EXPIRES,
    ];

    /// The defaults, for a broker at this URL.
    pub fn new(url: BrokerUrl) -> Self {
        Self {
            url,
            tls_ca: None,
            connection_name: "coxswain".to_owned(),
            queue_prefix: "cox".to_owned(),
            publish_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            delivery_limit: 20,
            queue_length_max: 5_000_000,
            queue_expires: Some(Duration::from_hours(24)),
        }
    }

    /// Reads the settings; mistakes are left with the reader. None if no broker is set, or its URL is mistaken. `prefix`
    /// is that of the queues where none is set.
    pub fn read(reader: &mut Reader<'_>, connection_name: &str, prefix: &str) -> Option<Self> {
        let url = read_url(reader);
        let queue_prefix = reader.optional(&QUEUE_PREFIX);
        // The other settings are read even without a URL, so that all mistakes are told at once.
        let read = Self {
            url: url.clone().unwrap_or_else(|| BrokerUrl::new(ANY_URL).expect("the constant is a URL")),
            tls_ca: reader.optional(&TLS_CA).map(PathBuf::from),
            connection_name: connection_name.to_owned(),
            queue_prefix: queue_prefix.clone().unwrap_or_else(|| prefix.to_owned()),
            publish_timeout: reader.duration(&PUBLISH_TIMEOUT),
            backoff_min: reader.duration(&BACKOFF_MIN),
            backoff_max: reader.duration(&BACKOFF_MAX),
            delivery_limit: narrow(reader.number(&DELIVERY_LIMIT, 1..=1_000_000)),
            queue_length_max: narrow(reader.number(&QUEUE_LENGTH_MAX, 1..=u64::from(u32::MAX))),
            queue_expires: Some(reader.duration(&QUEUE_EXPIRES)).filter(|after| !after.is_zero()),
        };
        reader.check(queue_prefix.as_deref().is_none_or(is_prefix), &QUEUE_PREFIX, PREFIX_RULE);
        reader.check(read.is_expiry_good(), &QUEUE_EXPIRES, EXPIRES_RULE);
        reader.check(read.is_backoff_ordered(), &BACKOFF_MIN, BACKOFF_RULE);
        reader.check(!read.publish_timeout.is_zero(), &PUBLISH_TIMEOUT, "it must be longer than nothing");
        url.map(|_| read)
    }

    /// Refuses settings that cannot work, for those that were not read by [`Self::read`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let rules = [
            (is_prefix(&self.queue_prefix), PREFIX_RULE),
            (self.is_backoff_ordered(), BACKOFF_RULE),
            (self.is_expiry_good(), EXPIRES_RULE),
            (!self.publish_timeout.is_zero(), "the publish timeout must be longer than nothing"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Unsuitable { place: self.url.to_string(), why: (*rule).to_owned() }),
            None => Ok(()),
        }
    }

    fn is_expiry_good(&self) -> bool {
        self.queue_expires.is_none_or(|after| (Duration::from_secs(1)..=EXPIRES_MAX).contains(&after))
    }

    fn is_backoff_ordered(&self) -> bool {
        !self.backoff_min.is_zero() && self.backoff_min <= self.backoff_max
    }
}

const EXPIRES_RULE: &str = "queues expire after 1s to 45d, or never (0)";
const PREFIX_RULE: &str = "the queue prefix has 1 to 64 characters of A-Z a-z 0-9 _ . -";
const BACKOFF_RULE: &str = "the shortest pause between tries must be above zero and not above the longest";

/// Whether the names of queues, and of keys in the store, may begin so.
pub fn is_prefix(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= PREFIX_LENGTH_MAX && text.bytes().all(is_allowed)
}

/// Not by `Reader::parse`, which would show the text with its credentials.
fn read_url(reader: &mut Reader<'_>) -> Option<BrokerUrl> {
    match BrokerUrl::new(&reader.optional(&URL)?) {
        Ok(url) => Some(url),
        Err(error) => {
            reader.check(false, &URL, error.to_string());
            None
        }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("the reader's range ends below")
}

/// Where a RabbitMQ is, with the credentials for it. Shown, it has none.
#[derive(Clone)]
pub struct BrokerUrl {
    uri: Secret<AMQPUri>,
    shown: String,
}

impl BrokerUrl {
    /// Reads a URL. What is wrong with one is told without repeating it.
    pub fn new(text: &str) -> Result<Self, Error> {
        let unsuitable = |why: &str| Error::Unsuitable { place: redact_url(text), why: why.to_owned() };
        let unreadable = || {
            let form = "the URL is not of the form amqp://user:password@host:5672/virtual-host";
            unsuitable(&url_remedy(text).map_or_else(|| form.to_owned(), |remedy| format!("{form}; {remedy}")))
        };
        if has_split_login(text) {
            return Err(unreadable());
        }
        // The client library takes a host that it cannot read for `localhost`.
        if text.contains("@[") || text.contains("://[") {
            return Err(unsuitable("an IPv6 address in the URL is not understood: use a host name"));
        }
        let uri: AMQPUri = text.parse().map_err(|_| unreadable())?;
        if uri.vhost.is_empty() {
            return Err(unsuitable("the URL names an empty virtual host: write %2f for `/`, or leave out the last /"));
        }
        Ok(Self { uri: Secret::new(uri), shown: redact_url(text) })
    }

    pub(super) fn uri(&self) -> &AMQPUri {
        self.uri.expose()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri().scheme == AMQPScheme::AMQPS
    }
}

impl FromStr for BrokerUrl {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<RabbitConfig>, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let source = Source::from_pairs(pairs);
        let mut reader = Reader::new(&source);
        let config = RabbitConfig::read(&mut reader, "test", "cox");
        reader.finish(config).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let url = "amqp://guest:guest@127.0.0.1:5672/%2f";
        let (read, new) = (read(&[("COX_BROKER", url)]).unwrap().unwrap(), RabbitConfig::new(url.parse().unwrap()));
        assert_eq!(format!("{read:?}").replace("\"test\"", "\"coxswain\""), format!("{new:?}"));
        new.check().unwrap();
    }

    #[test]
    fn all_mistakes_are_told_and_no_credentials() {
        let told = read(&[
            ("COX_BROKER", "http://me:hunter2@host/"),
            ("COX_BROKER_QUEUE_PREFIX", "a b"),
            ("COX_BROKER_BACKOFF_MIN", "5s"),
            ("COX_BROKER_DELIVERY_LIMIT", "0"),
        ]);
        let told = told.unwrap_err();
        assert!(told.contains("4 mistake(s)"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_url_is_shown_without_its_credentials() {
        let url = BrokerUrl::new("amqps://me:hunter2@rabbit:5671/prod").unwrap();
        assert!(url.is_tls());
        for shown in [url.to_string(), format!("{url:?}"), format!("{:?}", RabbitConfig::new(url.clone()))] {
            assert!(shown.contains("***@rabbit:5671/prod") && !shown.contains("hunter2") && !shown.contains("//me"));
        }
    }

    #[test]
    fn a_url_that_would_be_misread_is_refused() {
        for (url, word) in [
            ("amqp://[::1]:5672/%2f", "IPv6"),
            ("amqp://u:p@[::1]/%2f", "IPv6"),
            ("amqp://u:p@host:5672/", "%2f"),
            ("u:p@host", "form"),
            ("amqp:u:hunter2", "form"),
            ("amqp://u:hunter2/x@host:5672/%2f", "%2F"),
            ("amqp://u:1?hunter2@host:5672/%2f", "%3F"),
            ("amqp://u:1/hunter2@host", "%2F"),
        ] {
            let refused = BrokerUrl::new(url).unwrap_err().to_string();
            assert!(refused.contains(word) && !refused.contains("hunter2"), "{refused}");
        }
    }
}
