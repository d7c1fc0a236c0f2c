//! What a script of an `exec` node leaves behind: a line a note, `milliseconds word run task fence attempt pid`.

use std::path::Path;

use coxswain_shared::id::{RunId, TaskId};
use coxswain_shared::time::Timestamp;

/// One note of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// When, by the machine's clock, which is the store's too.
    pub at: Timestamp,
    /// What: `start`, `done` or the test's own word.
    pub word: String,
    /// Of which run.
    pub run: RunId,
    /// Of which task.
    pub task: TaskId,
    /// Under which fence.
    pub fence: u64,
    /// On which attempt.
    pub attempt: u32,
    /// By which process, the leader of its group.
    pub pid: i32,
}

/// All effects of a file, in its order. A missing file holds none.
pub(super) fn read(file: &Path) -> Vec<Effect> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // A line that is being written has no end yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}` is no effect"))).collect()
}

fn parse(line: &str) -> Option<Effect> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [at, word, run, task, fence, attempt, pid] = words[..] else { return None };
    Some(Effect {
        at: Timestamp::from_millis(at.parse().ok()?),
        word: word.to_owned(),
        run: RunId::new(run).ok()?,
        task: task.parse().ok()?,
        fence: fence.parse().ok()?,
        attempt: attempt.parse().ok()?,
        pid: pid.parse().ok()?,
    })
}
