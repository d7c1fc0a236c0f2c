//! What cannot work is refused in words that name the remedy, and never the credentials.

use std::time::Duration;

use coxswain_shared::broker::conformance::{backlog_becomes, lane, publish};
use coxswain_shared::broker::{Broker, Error, RabbitBroker, RabbitConfig};
use coxswain_tests::{RabbitServer, certificates};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::rig::{self, SOON};

static SERVER: OnceCell<RabbitServer> = OnceCell::const_new();

async fn server() -> &'static RabbitServer {
    SERVER.get_or_init(RabbitServer::start).await
}

/// Both of the calls that are made first say that it cannot work, long before their time is up.
async fn assert_unsuitable(config: RabbitConfig, words: &[&str]) {
    let mut config = config;
    config.publish_timeout = 2 * SOON;
    let broker = RabbitBroker::start(config).unwrap();
    let connected = broker.connected(2 * SOON).await.unwrap_err();
    let published =
        broker.publish_confirmed(&[(lane("a"), coxswain_shared::broker::conformance::task(0))]).await.remove(0);
    for error in [connected, published.unwrap_err()] {
        let Error::Unsuitable { place, why } = &error else { panic!("{error}") };
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
        assert!(place.contains("***@127.0.0.1") || place.contains("***@localhost"), "{place}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert!(!broker.is_ready());
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let url = server().await.url().replace("guest:guest", "guest:hunter2");
    assert_unsuitable(rig::config(&url), &["user or the password", "URL"]).await;
}

#[tokio::test]
async fn a_virtual_host_that_is_not_there_is_told() {
    let url = server().await.url_of("nowhere");
    assert_unsuitable(rig::config(&url), &["virtual host", "nowhere"]).await;
}

#[tokio::test]
async fn tls_on_a_plain_port_is_refused_in_clear_words() {
    let url = server().await.url().replace("amqp://guest:guest", "amqps://guest:hunter2");
    assert_unsuitable(rig::config(&url), &["TLS", "amqps", "port"]).await;
}

/// The library has shipped builds that speak plainly to an amqps port, password included.
#[tokio::test]
async fn amqps_sends_nothing_but_a_tls_hello() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = RabbitBroker::start(rig::config(&format!("amqps://me:hunter2@127.0.0.1:{port}/%2f"))).unwrap();
    let (mut client, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let mut hello = [0; 6];
    tokio::time::timeout(SOON, client.read_exact(&mut hello)).await.unwrap().unwrap();
    assert_eq!((hello[0], hello[1], hello[5]), (0x16, 0x03, 0x01), "a handshake record with a client's hello");
    drop(broker);
}

#[tokio::test]
async fn a_certificate_file_that_is_not_there_is_told() {
    let mut config = rig::config(&server().await.url().replace("amqp://", "amqps://"));
    config.tls_ca = Some("/nowhere/ca.pem".into());
    let broker = RabbitBroker::start(config).unwrap();
    let refused = broker.connected(Duration::from_secs(2)).await.unwrap_err().to_string();
    assert!(refused.contains("COX_BROKER_TLS_CA") && refused.contains("/nowhere/ca.pem"), "{refused}");
}

#[tokio::test]
async fn a_queue_of_another_kind_is_refused_with_the_remedy() {
    let url = server().await.url();
    let config = rig::config(&url);
    let queue = format!("{}.tasks.a", config.queue_prefix);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = rig::channel(&url).await;
    channel.queue_declare(queue.clone().into(), options, FieldTable::default()).await.unwrap();

    let broker = rig::connected(config).await;
    let refused = broker.consume(&lane("a"), 1).await.unwrap_err();
    let Error::Unsuitable { why, .. } = &refused else { panic!("{refused}") };
    assert!(why.contains(&queue) && why.contains("delete it") && why.contains("COX_BROKER_QUEUE_PREFIX"), "{why}");
    // A channel was closed over it, and nothing else.
    publish(&broker, &lane("b"), 1).await;
    backlog_becomes(&broker, &lane("b"), 1).await;
    assert!(broker.is_ready());
    assert_eq!(broker.reconnects(), 0);
}

#[tokio::test]
async fn amqps_works_with_a_certificate_of_ones_own() {
    let server = RabbitServer::start().await;
    let port = coxswain_tests::ports::free();
    let (certificate, key) = (server.folder().join("certificate.pem"), server.folder().join("key.pem"));
    certificates::self_signed(&certificate, &key).await;
    let listener = format!(
        "ok = rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}, inet}}, \
         [{{certfile, \"{}\"}}, {{keyfile, \"{}\"}}], 2).",
        certificate.display(),
        key.display()
    );
    server.ctl(&["eval", &listener]).await;

    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let mut config = rig::config(&url);
    config.tls_ca = Some(certificate);
    let broker = rig::connected(config).await;
    publish(&broker, &lane("a"), 1).await;
    backlog_becomes(&broker, &lane("a"), 1).await;
    assert_unsuitable(rig::config(&url), &["TLS", "certificate"]).await;
}
