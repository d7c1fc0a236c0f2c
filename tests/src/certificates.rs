//! Certificates for servers that speak TLS.

use std::path::Path;

/// Makes a certificate for `localhost` that nobody vouches for, and its key, as PEM files.
pub async fn self_signed(certificate: &Path, key: &Path) {
    let mut openssl = tokio::process::Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(' '),
    );
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    let output = openssl.arg("-out").arg(certificate).arg("-keyout").arg(key).output().await;
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
