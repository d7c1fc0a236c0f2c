//! The conformance suite over the Redis store: with a clock that is stepped, with the server's own, and on a cluster.

use std::sync::Arc;

use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::Store;
use coxswain_shared::store::conformance::Fixture;
use coxswain_shared::store::model::hold_to_the_model;
use coxswain_shared::store::redis::RedisStore;
use coxswain_shared::time::{Clock, Timestamp};

use crate::rig::{config, shared_cluster, shared_server, store_at};

async fn stepped_at(url: String) -> Fixture {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let store = RedisStore::connect_with_clock(config(url), &Tasks::new(), clock.clone()).await.unwrap();
    Fixture::stepped(Arc::new(store), clock, ())
}

mod stepped {
    use super::*;

    async fn make() -> Fixture {
        stepped_at(shared_server().await.url()).await
    }

    coxswain_shared::store_conformance!(make);
}

mod real {
    use super::*;

    async fn make() -> Fixture {
        let store = RedisStore::connect(config(shared_server().await.url()), &Tasks::new()).await.unwrap();
        Fixture::real(Arc::new(store), ())
    }

    coxswain_shared::store_conformance!(make);
}

mod cluster {
    use super::*;

    async fn make() -> Fixture {
        stepped_at(shared_cluster().await.urls()[0].clone()).await
    }

    coxswain_shared::store_conformance!(make);
}

#[test]
fn random_operations_are_answered_as_the_model_answers_them() {
    hold_to_the_model(96, async || {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let store: Arc<dyn Store> = Arc::new(store_at(&clock).await);
        (store, clock)
    });
}
