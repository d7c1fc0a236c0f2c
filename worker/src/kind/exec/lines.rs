//! Lines that a process prints: each within a limit, and all together within another.

use coxswain_shared::limits::OUTCOME_BYTES_MAX;
use coxswain_shared::outcome::FailureKind;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use crate::handler::NodeError;

/// Bytes of one line: a result of the largest size, and what stands around it.
const LINE_BYTES_MAX: usize = OUTCOME_BYTES_MAX + 1024;
/// Bytes of all lines together.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of a bad line is quoted.
const QUOTED_CHARS: usize = 120;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    number: usize,
    bytes: usize,
    /// The line that has begun.
    text: Vec<u8>,
    is_cut: bool,
}

impl Lines {
    /// Reads the next line; none at the end. Cancel safe.
    pub(super) async fn next(&mut self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<u8>>, NodeError> {
        loop {
            // A pipe that breaks has ended.
            let chunk = from.fill_buf().await.unwrap_or_default();
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            self.text.extend_from_slice(part);
            let (taken, is_end) = (part.len() + usize::from(end.is_some()), chunk.is_empty());
            from.consume(taken);
            self.bytes += taken;
            if self.text.len() > LINE_BYTES_MAX {
                let number = self.number + 1;
                return Err(too_large(&format!("line {number} of its output has more than {LINE_BYTES_MAX} bytes")));
            }
            if self.bytes > OUTPUT_BYTES_MAX {
                return Err(too_large(&format!("its output has more than {OUTPUT_BYTES_MAX} bytes")));
            }
            if end.is_some() || is_end && !self.text.is_empty() {
                self.number += 1;
                self.is_cut = end.is_none();
                return Ok(Some(std::mem::take(&mut self.text)));
            }
            if is_end {
                return Ok(None);
            }
        }
    }

    /// Whether the output ended within the line that was read last. If that is no JSON, its end is missing: whoever wrote it
    /// has ended in the middle.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The number of the line that was read last.
    pub(super) const fn number(&self) -> usize {
        self.number
    }
}

/// The failure of a line that is not what was promised.
pub(super) fn bad(line: usize, why: &str, text: &[u8]) -> NodeError {
    let message = format!(
        "line {line} of its output {why}: {}; print one JSON value a line there, and all else to standard error",
        quoted(text)
    );
    NodeError::refused(FailureKind::BadOutput, message)
}

/// The beginning of what was printed.
pub(super) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown: String = text.chars().take(QUOTED_CHARS).collect();
    let more = if text.chars().nth(QUOTED_CHARS).is_some() { " …" } else { "" };
    format!("`{shown}{more}`")
}

fn too_large(what: &str) -> NodeError {
    let message = format!("{what}: put it somewhere else, and print where it is");
    NodeError::refused(FailureKind::TooLarge, message)
}
