//! Chooses and connects the adapters that the settings name: the store, and the broker if there is one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::broker::{self, Broker, RabbitBroker, RabbitConfig, is_prefix};
use crate::config::{Mistakes, Reader, Secret, Source, Variable, redact_url};
use crate::lifecycle::Tasks;
use crate::store::redis::{RedisConfig, RedisStore};
use crate::store::sqlite::{SqliteConfig, SqliteStore, files};
use crate::store::{self, Store};
use crate::telemetry::Probe;

/// How often the store is probed, for readiness.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a process that starts waits for its broker; readiness tells about it later on.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

const STORE: Variable = Variable {
    name: "COX_STORE",
    default: "sqlite:.cox/cox.db",
    meaning: "where runs are kept: sqlite:PATH, or redis://HOST:PORT for a fleet (rediss:// for TLS)",
};
const STORE_TLS_CA: Variable = Variable {
    name: "COX_STORE_TLS_CA",
    default: "none",
    meaning: "A file of PEM certificates to trust in place of the system's, for a store at rediss://.",
};
const STORE_PREFIX: Variable = Variable {
    name: "COX_STORE_PREFIX",
    default: "cox",
    meaning: "What all keys and channels in Redis begin with, and the queues in RabbitMQ where COX_BROKER_QUEUE_PREFIX is not set. \
              Fleets of different prefixes do not see each other. The same for the whole fleet.",
};
const RETENTION: Variable =
    Variable { name: "COX_RETENTION", default: "7d", meaning: "how long a finished run is kept" };

/// Which adapters, and how they are set up.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// Where runs are kept.
    pub store: StoreChoice,
    /// A file of PEM certificates to trust in place of the system's, for Redis behind TLS.
    pub store_tls_ca: Option<PathBuf>,
    /// What all keys and channels in Redis begin with.
    pub store_prefix: String,
    /// Where tasks are queued; none: inside the process.
    pub broker: Option<RabbitConfig>,
    /// How long a finished run is kept.
    pub retention: Duration,
}

/// Where runs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In a file.
    Sqlite(PathBuf),
    /// In Redis.
    Redis(Secret<String>),
}

impl BackendConfig {
    /// The variables it reads itself; the adapters' come beside them.
    const OWN: [Variable; 4] = [STORE, STORE_TLS_CA, STORE_PREFIX, RETENTION];

    /// All the variables that it reads.
    pub fn variables() -> Vec<Variable> {
        [&Self::OWN[..], &RabbitConfig::VARIABLES].concat()
    }

    /// Reads it. `program` is what the connections are called in the broker's lists.
    pub fn read(source: &Source, program: &str) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(source);
        let store = reader.text(&STORE);
        let store_tls_ca = reader.optional(&STORE_TLS_CA).map(PathBuf::from);
        let store_prefix = reader.text(&STORE_PREFIX);
        reader.check(is_prefix(&store_prefix), &STORE_PREFIX, "must be 1 to 64 characters of A-Z a-z 0-9 _ . -");
        let retention = reader.duration(&RETENTION);
        reader.check(retention >= Duration::from_secs(1), &RETENTION, "must be 1s or more");
        let choice = choose(&store);
        reader.check(choice.is_some(), &STORE, "write sqlite:PATH, redis://HOST:PORT or rediss://HOST:PORT");
        if let Some(StoreChoice::Redis(url)) = &choice
            && let Some(why) = RedisConfig::new(url.expose()).mistake_of_url()
        {
            reader.check(false, &STORE, format!("{}: {why}", redact_url(url.expose())));
        }
        let broker = RabbitConfig::read(&mut reader, program, &store_prefix);
        let store = choice.unwrap_or_else(|| StoreChoice::Sqlite(PathBuf::new()));
        reader.finish(Self { store, store_tls_ca, store_prefix, broker, retention })
    }

    /// The settings of a Redis store at this URL.
    pub fn redis(&self, url: &Secret<String>) -> RedisConfig {
        RedisConfig {
            retention: self.retention,
            tls_ca: self.store_tls_ca.clone(),
            key_prefix: self.store_prefix.clone(),
            ..RedisConfig::new(url.expose())
        }
    }
}

fn choose(store: &str) -> Option<StoreChoice> {
    if let Some(path) = store.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return (!path.is_empty()).then(|| StoreChoice::Sqlite(PathBuf::from(path)));
    }
    let is_redis = store.starts_with("redis://") || store.starts_with("rediss://");
    is_redis.then(|| StoreChoice::Redis(Secret::new(store.to_owned())))
}

/// The adapters, connected.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The broker, if one is set; else tasks are queued inside the process.
    pub broker: Option<Arc<dyn Broker>>,
    /// Where the store is, without credentials.
    pub place: String,
    /// Whether the store is embedded, so that a process that submits may well execute.
    pub is_embedded: bool,
}

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error("cannot open the store {place}")]
    Store {
        /// Where it is, without credentials.
        place: String,
        /// Why.
        #[source]
        source: store::Error,
    },
    /// The broker cannot be reached.
    #[error("cannot reach the broker")]
    Broker(#[source] broker::Error),
    /// The folder of the store's file cannot be made.
    #[error("cannot make the folder {place}")]
    Folder {
        /// Which folder.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the settings are mistaken, so that nothing but other settings helps.
    pub const fn is_mistake(&self) -> bool {
        match self {
            Self::Store { source, .. } => matches!(source, store::Error::Unsuitable { .. }),
            Self::Broker(source) => matches!(source, broker::Error::Unsuitable { .. }),
            Self::Folder { .. } => true,
        }
    }
}

impl Backend {
    /// Connects the adapters. What they need in the background runs on `tasks`, which must outlive their users.
    pub async fn connect(config: &BackendConfig, tasks: &Tasks) -> Result<Self, Error> {
        let (store, place, is_embedded) = open_store(config, tasks).await?;
        let broker = match &config.broker {
            Some(settings) => Some(connect_broker(settings).await?),
            None => None,
        };
        Ok(Self { store, broker, place, is_embedded })
    }

    /// A probe that says whether the store can be worked with, and else why not. It asks every second for as long as the tasks run.
    pub fn probe(&self, tasks: &Tasks) -> Probe {
        let found: Arc<Mutex<Option<String>>> = Arc::default();
        let (noted, store) = (Arc::clone(&found), Arc::clone(&self.store));
        tasks.spawn(async move {
            loop {
                let complaint = store.probe().await.err().map(|error| error.to_string());
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
                tokio::time::sleep(PROBE_EVERY).await;
            }
        });
        Arc::new(move || found.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err))
    }
}

async fn open_store(config: &BackendConfig, tasks: &Tasks) -> Result<(Arc<dyn Store>, String, bool), Error> {
    match &config.store {
        StoreChoice::Sqlite(path) => {
            let place = format!("sqlite:{}", path.display());
            make_folder(path)?;
            let settings = SqliteConfig { retention: config.retention, ..SqliteConfig::file(path) };
            let opened = SqliteStore::open(settings);
            let store = opened.map_err(|source| Error::Store { place: place.clone(), source })?;
            Ok((Arc::new(store), place, true))
        }
        StoreChoice::Redis(url) => {
            let place = redact_url(url.expose());
            let settings = config.redis(url);
            let opened = RedisStore::connect(settings, tasks).await;
            let store = opened.map_err(|source| Error::Store { place: place.clone(), source })?;
            Ok((Arc::new(store), place, false))
        }
    }
}

fn make_folder(file: &Path) -> Result<(), Error> {
    files::make_folder(file).map_err(|source| {
        let folder = file.parent().unwrap_or(file);
        Error::Folder { place: folder.display().to_string(), source }
    })
}

async fn connect_broker(settings: &RabbitConfig) -> Result<Arc<dyn Broker>, Error> {
    let broker = RabbitBroker::start(settings.clone()).map_err(Error::Broker)?;
    broker.connected(CONNECT_WITHIN).await.map_err(Error::Broker)?;
    Ok(Arc::new(broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &str, broker: &str) -> Result<BackendConfig, Mistakes> {
        let pairs = [("COX_STORE", store), ("COX_BROKER", broker)];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        BackendConfig::read(&Source::from_pairs(pairs), "test")
    }

    #[test]
    fn a_store_is_chosen_by_its_scheme() {
        assert_eq!(read("", "").unwrap().store, StoreChoice::Sqlite(".cox/cox.db".into()));
        assert_eq!(read("sqlite:///tmp/x.db", "").unwrap().store, StoreChoice::Sqlite("/tmp/x.db".into()));
        for url in ["redis://h:1", "rediss://h:1"] {
            assert!(matches!(read(url, "").unwrap().store, StoreChoice::Redis(_)));
        }
    }

    #[test]
    fn one_prefix_keeps_fleets_apart_in_both_servers() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let url =
                [("COX_STORE".to_owned(), "redis://h".to_owned()), ("COX_BROKER".to_owned(), "amqp://h".to_owned())];
            BackendConfig::read(&Source::from_pairs(pairs.chain(url)), "test")
        };
        let prefixes = |config: &BackendConfig| {
            let StoreChoice::Redis(url) = &config.store else { panic!("not Redis") };
            (config.redis(url).key_prefix, config.broker.as_ref().unwrap().queue_prefix.clone())
        };
        let of = |store: &str, broker: &str| (store.to_owned(), broker.to_owned());
        assert_eq!(prefixes(&read(&[]).unwrap()), of("cox", "cox"));
        assert_eq!(prefixes(&read(&[("COX_STORE_PREFIX", "blue")]).unwrap()), of("blue", "blue"));
        let both = [("COX_STORE_PREFIX", "blue"), ("COX_BROKER_QUEUE_PREFIX", "green")];
        assert_eq!(prefixes(&read(&both).unwrap()), of("blue", "green"));
        for wrong in ["a b", "{x}", "a:b", &"x".repeat(65)] {
            let told = read(&[("COX_STORE_PREFIX", wrong)]).unwrap_err().to_string();
            assert!(told.contains("COX_STORE_PREFIX") && told.contains("1 mistake"), "{told}");
        }
    }

    #[test]
    fn a_mistaken_store_and_a_mistaken_broker_are_told_at_once_and_without_the_password() {
        let told = read("mysql://root:hunter2@h", "http://ann:hunter2@h").unwrap_err().to_string();
        assert!(told.contains("COX_STORE") && told.contains("COX_BROKER") && !told.contains("hunter2"), "{told}");
        let told = read("redis://:hunter2/x@h:6379/0", "amqp://u:1/hunter2@h").unwrap_err().to_string();
        assert!(told.contains("2 mistake(s)") && told.contains("redis://***@h:6379/0"), "{told}");
        assert!(told.contains("%2F") && !told.contains("hunter2"), "{told}");
    }
}
