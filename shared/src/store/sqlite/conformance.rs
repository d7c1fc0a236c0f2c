//! The conformance suite over the embedded adapter: in memory, and with a file.

use std::sync::Arc;

use super::{SqliteConfig, SqliteStore};
use crate::store::conformance::Fixture;
use crate::time::{Clock, Timestamp};

fn open(config: SqliteConfig) -> (Arc<SqliteStore>, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let store = SqliteStore::open(SqliteConfig { clock: clock.clone(), ..config }).unwrap();
    (Arc::new(store), clock)
}

mod memory {
    use super::*;

    async fn make() -> Fixture {
        let (store, clock) = open(SqliteConfig::memory());
        Fixture::stepped(store, clock, ())
    }

    crate::store_conformance!(make);
}

mod file {
    use super::*;

    async fn make() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock) = open(SqliteConfig::file(folder.path().join("store.db")));
        Fixture::stepped(store, clock, folder)
    }

    crate::store_conformance!(make);
}

#[test]
fn random_operations_have_the_effects_that_the_model_has() {
    crate::store::model::hold_to_the_model(256, async || {
        let (store, clock) = open(SqliteConfig { partitions: 2, ..SqliteConfig::memory() });
        (store as Arc<dyn crate::store::Store>, clock)
    });
}
