//! The client that reads pages of programs under test: on loopback, within a time, past no proxy.

use std::time::Duration;

/// A client whose answers may take so long.
pub fn client(within: Duration) -> reqwest::Client {
    // The workspace's client brings no cryptography of its own; a provider that was set before serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(within).no_proxy().build().expect("a client with a provider can be made")
}

/// Whether a page answers as it should, for a server that is waited for.
pub(crate) async fn is_up(url: &str) -> Result<(), String> {
    match client(Duration::from_secs(5)).get(url).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(answer.status().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The text of a page.
pub async fn page(url: &str) -> anyhow::Result<String> {
    Ok(client(Duration::from_secs(5)).get(url).send().await?.text().await?)
}
