//! Redis behind TLS: what works, and how it is told what does not.

use std::path::PathBuf;
use std::time::Duration;

use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Claimed, Error, Settle, Settled, Signal, Store, Verdict};
use coxswain_tests::{RedisOptions, RedisServer, certificates, ports};
use tempfile::TempDir;

use crate::rig::*;

/// A server that speaks TLS on a second port.
struct Encrypted {
    server: RedisServer,
    port: u16,
    folder: TempDir,
}

impl Encrypted {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
        certificates::self_signed(&certificate, &key).await;
        let port = ports::free();
        let settings = vec![
            ("tls-port", port.to_string()),
            ("tls-cert-file", certificate.display().to_string()),
            ("tls-key-file", key.display().to_string()),
            ("tls-auth-clients", "no".to_owned()),
        ];
        let server = RedisServer::start(RedisOptions { settings, ..RedisOptions::default() }).await;
        Self { server, port, folder }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn config(&self) -> RedisConfig {
        RedisConfig { tls_ca: Some(self.certificate()), ..config(format!("rediss://localhost:{}/", self.port)) }
    }
}

async fn refusal(config: RedisConfig) -> String {
    match RedisStore::connect(config, &Tasks::new()).await {
        Err(Error::Unsuitable { why, .. }) => why,
        Err(Error::Unavailable { why, .. }) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_works_behind_tls_with_a_certificate_of_ones_own() {
    let encrypted = Encrypted::start().await;
    let store = RedisStore::connect(encrypted.config(), &Tasks::new()).await.unwrap();
    let mut signals = store.signals();
    // The shared connection, that of the pushes, and those of long reads.
    let task = dispatched(&store, "r1").await;
    let pushed = tokio::time::timeout(Duration::from_secs(20), signals.recv()).await.expect("a push comes");
    assert_eq!(pushed.unwrap(), Signal::Ready(task.run.partition));
    let Claimed::Leased(lease) = store.claim(claim(&task)).await.unwrap() else { panic!("not leased") };
    let settle = Settle {
        task: task.clone(),
        fence: lease.fence,
        verdict: Verdict::Done(Outcome::wrote(values(&[]))),
        spent: Spend::default(),
    };
    assert_eq!(store.settle(settle).await.unwrap(), Settled::Accepted { step_complete: true });
    assert_eq!(store.tasks(&task.run, task.task.step, 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_keeps_tls_from_coming_about_is_told_with_the_remedy() {
    let encrypted = Encrypted::start().await;
    let unknown = refusal(RedisConfig { tls_ca: None, ..encrypted.config() }).await;
    assert!(unknown.contains("COX_STORE_TLS_CA") && unknown.contains("certificate"), "{unknown}");
    let plain = encrypted.server.url().replace("redis://127.0.0.1", "rediss://me:hunter2@localhost");
    let plain = refusal(RedisConfig { url: config(plain).url, ..encrypted.config() }).await;
    assert!(plain.contains("does the port speak TLS?") && !plain.contains("hunter2"), "{plain}");
    let missing = refusal(RedisConfig { tls_ca: Some("/nowhere/ca.pem".into()), ..encrypted.config() }).await;
    assert!(missing.contains("/nowhere/ca.pem") && missing.contains("COX_STORE_TLS_CA"), "{missing}");
    std::fs::write(encrypted.certificate(), "no certificate").unwrap();
    let garbage = refusal(encrypted.config()).await;
    assert!(garbage.contains("COX_STORE_TLS_CA"), "{garbage}");
}
