//! The end of a child's standard error, for its failure. The rest is read and forgotten, so that the child never blocks.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is kept: what fits into a failure beside its message.
const KEPT_BYTES: usize = 6 * 1024;

/// The end of what was read.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    /// Reads to the end. What was read so far stays if this is dropped.
    pub(super) async fn read(&mut self, mut from: impl AsyncRead + Unpin) {
        let mut chunk = [0; 8 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            self.push(&chunk[..length]);
        }
    }

    /// Adds what was read, and forgets what is too old.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        if let Some(surplus @ 1..) = self.bytes.len().checked_sub(KEPT_BYTES) {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
    }

    /// What is shown: nothing if there was nothing.
    pub(super) fn shown(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim();
        let mark = if self.cut { "… " } else { "" };
        (!text.is_empty()).then(|| format!("its standard error: {mark}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_the_rest_is_marked_as_cut() {
        let mut tail = Tail::default();
        let long = format!("{}the end\n", "x".repeat(100_000));
        tail.read(long.as_bytes()).await;
        let shown = tail.shown().unwrap();
        assert!(shown.starts_with("its standard error: … xxx") && shown.ends_with("the end"));
        assert!(shown.len() < KEPT_BYTES + 50);
        assert_eq!(Tail::default().shown(), None);
    }
}
