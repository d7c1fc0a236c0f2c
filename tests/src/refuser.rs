//! A stand-in for an address behind which a Redis fails over: it hands commands on to a server, or answers each with an
//! error that a real server gives in such a state, and new connections may be led to another server than those that are open.
//!
//! It understands just enough of the protocol to answer in order. It is not for lost bytes: that is [`Proxy`](crate::Proxy).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a new connection, and each command, meets.
#[derive(Debug, Clone)]
struct Behaviour {
    upstream: u16,
    refusal: Option<String>,
    /// Counts the cuts; a change ends every connection.
    cuts: u64,
}

/// The address. Dropped, its port and its connections are closed.
#[derive(Debug)]
pub struct Refuser {
    port: u16,
    behaviour: watch::Sender<Behaviour>,
    refused: Arc<AtomicU64>,
    // Held for its Drop, which ends the listener and with it all connections.
    _tasks: JoinSet<()>,
}

impl Refuser {
    /// Starts before a server on loopback, and hands everything on.
    pub async fn start(upstream: u16) -> Self {
        let port = crate::ports::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port can be bound");
        let behaviour = watch::Sender::new(Behaviour { upstream, refusal: None, cuts: 0 });
        let refused = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, behaviour.subscribe(), Arc::clone(&refused)));
        Self { port, behaviour, refused, _tasks: tasks }
    }

    /// The URL for clients; `user` is what comes before the host, such as `ann:secret@`, or nothing.
    pub fn url(&self, user: &str) -> String {
        format!("redis://{user}{}:{}/", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Answers every command with this error from now on, such as `READONLY You can't write …`.
    pub fn refuse(&self, error: &str) {
        self.behaviour.send_modify(|behaviour| behaviour.refusal = Some(error.to_owned()));
    }

    /// Hands commands on again.
    pub fn serve(&self) {
        self.behaviour.send_modify(|behaviour| behaviour.refusal = None);
    }

    /// Leads new connections to this port of loopback; those that are open stay where they are.
    pub fn lead_to(&self, upstream: u16) {
        self.behaviour.send_modify(|behaviour| behaviour.upstream = upstream);
    }

    /// Ends every open connection.
    pub fn cut(&self) {
        self.behaviour.send_modify(|behaviour| behaviour.cuts += 1);
    }

    /// How many commands were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn listen(listener: TcpListener, behaviour: watch::Receiver<Behaviour>, refused: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        // Both are cancel safe.
        let client = tokio::select! {
            accepted = listener.accept() => accepted.ok(),
            Some(_) = connections.join_next() => None,
        };
        if let Some((client, _)) = client {
            connections.spawn(carry(client, behaviour.clone(), Arc::clone(&refused)));
        }
    }
}

/// Carries one connection to its end.
async fn carry(mut client: TcpStream, mut behaviour: watch::Receiver<Behaviour>, refused: Arc<AtomicU64>) {
    let Behaviour { upstream, cuts, .. } = behaviour.borrow().clone();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else { return };
    let (mut commands, mut replies, mut unanswered) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        // In order: an answer of our own waits until the server has given those that are due before it.
        if unanswered == 0 && behaviour.borrow().refusal.is_some() {
            while let Some(length) = whole(&commands) {
                commands.drain(..length);
                refused.fetch_add(1, Ordering::SeqCst);
                let answer = format!("-{}\r\n", behaviour.borrow().refusal.clone().unwrap_or_default());
                if client.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        } else if behaviour.borrow().refusal.is_none() {
            while let Some(length) = whole(&commands) {
                unanswered += 1;
                if server.write_all(&commands.drain(..length).collect::<Vec<_>>()).await.is_err() {
                    return;
                }
            }
        }
        let done = tokio::select! {
            read = client.read_buf(&mut commands) => !matches!(read, Ok(1..)),
            read = server.read_buf(&mut replies) => !matches!(read, Ok(1..)),
            changed = behaviour.changed() => changed.is_err() || behaviour.borrow().cuts != cuts,
        };
        if done {
            return;
        }
        while let Some(length) = whole(&replies) {
            // Pushes are answers to nothing.
            unanswered = unanswered.saturating_sub(1);
            if client.write_all(&replies.drain(..length).collect::<Vec<_>>()).await.is_err() {
                return;
            }
        }
    }
}

/// The length of the first whole value of the protocol, if it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    let values = |each: i64| (0..count()? * each).try_fold(line, |from, _| Some(from + whole(bytes.get(from..)?)?));
    match bytes[0] {
        b'$' | b'=' | b'!' => {
            let length = usize::try_from(count()?).map_or(line, |length| line + length + 2);
            (bytes.len() >= length).then_some(length)
        }
        b'*' | b'~' | b'>' => values(1),
        b'%' | b'|' => values(2),
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_once_all_of_it_is_there() {
        let texts = [
            "+OK\r\n",
            "-ERR no\r\n",
            ":7\r\n",
            "$2\r\nab\r\n",
            "$-1\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "*-1\r\n",
            "*0\r\n",
        ];
        for text in texts {
            let followed = format!("{text}+next\r\n");
            assert_eq!(whole(followed.as_bytes()), Some(text.len()), "{text}");
            for cut in 0..text.len() {
                assert_eq!(whole(&text.as_bytes()[..cut]), None, "{text} cut at {cut}");
            }
        }
    }
}
