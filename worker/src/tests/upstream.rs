//! A server of the outside that does just what a test tells it to, well or badly, byte by byte.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coxswain_shared::lifecycle::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bench::wait_for;

/// The server; it ends with this.
pub(super) struct Upstream {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    left: Arc<Mutex<usize>>,
    tasks: Tasks,
}

/// One exchange: the request was read, the answer is to be written.
pub(super) struct Exchange {
    stream: TcpStream,
    /// Which exchange it is, from 0.
    pub(super) number: usize,
    /// The request: its head and its body.
    pub(super) request: String,
    left: Arc<Mutex<usize>>,
}

impl Upstream {
    /// Starts it; each request is answered by `answer`.
    pub(super) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Exchange) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, left, tasks) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default(), Tasks::new());
        let (inner, all, gone) = (tasks.clone(), Arc::clone(&seen), Arc::clone(&left));
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (all, gone, answer) = (Arc::clone(&all), Arc::clone(&gone), answer.clone());
                inner.spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    let number = {
                        let mut all = all.lock().unwrap();
                        all.push(request.clone());
                        all.len() - 1
                    };
                    answer(Exchange { stream, number, request, left: gone }).await;
                });
            }
        });
        Self { address, seen, left, tasks }
    }

    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, each with head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many clients have closed their connection in the middle of an answer.
    pub(super) async fn clients_left(&self, count: usize) {
        wait_for(|| async {
            let left = *self.left.lock().unwrap();
            if left >= count { Ok(()) } else { Err(format!("{left} clients have left")) }
        })
        .await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Exchange {
    /// Writes bytes as they are; false if the client has gone.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// A whole answer, after which the connection is closed.
    pub(super) async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        self.write(head).await;
        self.write(body).await;
    }

    /// A JSON answer.
    pub(super) async fn json(self, body: &str) {
        self.answer("200 OK", "content-type: application/json\r\n", body).await;
    }

    /// The head of an answer in chunks.
    pub(super) async fn begin(&mut self, kind: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        self.write(head).await;
    }

    /// One chunk; false if the client has gone.
    pub(super) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(chunk).await
    }

    /// Says nothing until the client has closed the connection.
    pub(super) async fn hang(mut self) {
        let mut nothing = [0; 64];
        while self.stream.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
        self.has_left();
    }

    /// Notes that the client has closed the connection.
    pub(super) fn has_left(self) {
        *self.left.lock().unwrap() += 1;
    }

    /// Sends a byte again and again until the client has gone.
    pub(super) async fn trickle(mut self, every: Duration) {
        while self.chunk("x").await {
            tokio::time::sleep(every).await;
        }
        self.has_left();
    }
}

/// Reads one request: its head, and as much of a body as the head names.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}
