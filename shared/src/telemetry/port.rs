//! The port of the pages: connections within limits, so that nobody holds off who asks for health, or uses up the files.
//!
//! When there are as many connections as may be, the oldest one is closed for the next. One that asks is answered within
//! milliseconds; the oldest one is slow, or idle.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::exhaustion::Resource;
use crate::lifecycle::Tasks;

/// How much the port takes upon itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// From the connection to the end of the request's head.
    pub(super) header: Duration,
    /// From the connection to the end of the answer.
    pub(super) whole: Duration,
    /// Bytes of a request's head.
    pub(super) header_bytes: usize,
}

/// What those who scrape and probe need, many times over.
pub(super) const BOUNDS: Bounds =
    Bounds { connections: 64, header: Duration::from_secs(5), whole: Duration::from_secs(15), header_bytes: 16 * 1024 };

/// After an error in accepting: the next one is likely to be the same.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that are open, the oldest first.
#[derive(Debug, Default, Clone)]
struct Open(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: VecDeque<(u64, CancellationToken)>,
}

/// A connection's place among the open ones.
#[derive(Debug)]
struct Place {
    open: Open,
    number: u64,
    closed: CancellationToken,
}

impl Open {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection.
    fn enter(&self, max: usize) -> Place {
        let mut state = self.state();
        while state.open.len() >= max {
            let Some((_, oldest)) = state.open.pop_front() else { break };
            oldest.cancel();
        }
        let (number, closed) = (state.next, CancellationToken::new());
        state.next += 1;
        state.open.push_back((number, closed.clone()));
        Place { open: self.clone(), number, closed }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.state().open.retain(|(number, _)| *number != self.number);
    }
}

/// Serves the pages until its tasks abort.
pub(super) async fn run(listener: TcpListener, pages: Router, bounds: Bounds, tasks: Tasks) {
    let open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let place = open.enter(bounds.connections);
                let closed = place.closed.clone();
                let served = serve_one(stream, pages.clone(), bounds);
                drop(tasks.spawn(async move {
                    let _ = closed.run_until_cancelled_owned(served).await;
                    drop(place);
                }));
            }
            Err(error) => {
                if Resource::behind(&error).is_none() {
                    tracing::debug!(%error, "a connection to the pages was not accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request, and closes: who comes again connects again.
fn serve_one(stream: TcpStream, pages: Router, bounds: Bounds) -> impl Future<Output = ()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header).max_buf_size(bounds.header_bytes);
    let connection = builder.keep_alive(false).serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    async move {
        // What goes wrong in a connection is its client's concern.
        let _ = tokio::time::timeout(bounds.whole, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn start(bounds: Bounds, tasks: &Tasks) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new().route("/healthz", get(|| async { "ok\n" }));
        drop(tasks.spawn(run(listener, pages, bounds, tasks.clone())));
        address
    }

    async fn ask(address: std::net::SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before it has all.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        read.expect("it is closed").unwrap_or_default();
        answer
    }

    #[tokio::test]
    async fn a_thousand_slow_connections_hold_off_no_health_check_and_are_closed() {
        let tasks = Tasks::new();
        let address = start(Bounds { connections: 8, ..BOUNDS }, &tasks).await;
        let mut slow = VecDeque::new();
        for number in 0..1_000 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx:").await.unwrap();
            slow.push_back(stream);
            if slow.len() > 16 {
                // The oldest is closed: it reads its end, or that it was reset.
                let mut oldest = slow.pop_front().unwrap();
                let read = tokio::time::timeout(PATIENCE, oldest.read(&mut [0; 64])).await;
                assert!(matches!(read.expect("it is closed"), Ok(0) | Err(_)), "connection {number}");
            }
            if number % 100 == 0 {
                let answer = ask(address, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
                assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
            }
        }
        tasks.abort();
    }

    #[tokio::test]
    async fn a_head_that_is_slow_or_too_long_and_a_second_request_end_the_connection() {
        let tasks = Tasks::new();
        let header = Duration::from_millis(200);
        let address = start(Bounds { header, ..BOUNDS }, &tasks).await;
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nx: ").await;
        assert!(!answer.contains("200 OK"), "{answer}");
        let answer = ask(address, &format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000))).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        let one = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = ask(address, &format!("{one}{one}")).await;
        assert_eq!(answer.matches("200 OK").count(), 1, "{answer}");
        tasks.abort();
    }
}
