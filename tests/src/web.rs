//! The client that reads pages of programs under test: on loopback, within a time, past no proxy.

use std::time::Duration;

/// A client whose answers may take so long.
pub fn client(within: Duration) -> reqwest::Client {
    // The workspace's client brings no cryptography of its own; a provider that was set before serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(within).no_proxy().build().expect("a client with a provider can be made")
}

/// The text of a page.
pub async fn page(url: &str) -> anyhow::Result<String> {
    Ok(client(Duration::from_secs(5)).get(url).send().await?.text().await?)
}
