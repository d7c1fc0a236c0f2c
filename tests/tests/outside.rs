//! Calls to the outside, of real processes.

use std::time::Duration;

use coxswain_tests::Cox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Enough for anything that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (server, proxy) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (address, proxy_url) = (server.local_addr().unwrap(), format!("http://{}", proxy.local_addr().unwrap()));
    let graph = format!(
        "name: call\nstate: {{ text: }}\nnodes:\n  get: {{ kind: http, url: \"http://{address}/\", into: text }}\n\
         edges: [START -> get -> END]\n"
    );
    std::fs::write(folder.path().join("call.yaml"), graph).unwrap();
    let mut launch = Cox::program("cox").args(["run", "call.yaml"]).current_dir(folder.path());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        launch = launch.env(name, &proxy_url);
    }
    let command = launch.env("COX_OUTSIDE_ALLOW", "127.0.0.1").run(SOON);
    let answer = async {
        let (mut stream, _) = tokio::select! {
            taken = server.accept() => taken.unwrap(),
            _ = proxy.accept() => panic!("the proxy was asked"),
        };
        let read = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").await.unwrap();
        read
    };
    let (output, read) = tokio::join!(command, answer);
    assert!(read > 0 && output.status.success() && output.stdout.contains("\"hi\""), "{output:?}");
}
