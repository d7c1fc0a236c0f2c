//! Where those who measure wait for a moment in the life of a run, and those who see it happen say so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use coxswain_shared::id::RunId;
use tokio::sync::oneshot;

/// A moment, awaited.
pub(super) type Awaited = oneshot::Receiver<Instant>;

/// One kind of moment: that a handler started, that its future was dropped, that a run ended.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<HashMap<RunId, oneshot::Sender<Instant>>>);

impl Board {
    /// Begins to wait for the moment of a run. One that comes before this is missed.
    pub(super) fn expect(&self, run: &RunId) -> Awaited {
        let (tell, told) = oneshot::channel();
        self.lock().insert(run.clone(), tell);
        told
    }

    /// Says that the moment of a run is now. Only the first one counts, and only if it is waited for.
    pub(super) fn happened(&self, run: &RunId) {
        let now = Instant::now();
        if let Some(tell) = self.lock().remove(run) {
            // Who waited may have left meanwhile.
            let _ = tell.send(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, oneshot::Sender<Instant>>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_moment_counts_and_what_nobody_waits_for_is_forgotten() {
        let board = Board::default();
        let run = RunId::fresh();
        board.happened(&run);
        let told = board.expect(&run);
        let before = Instant::now();
        board.happened(&run);
        board.happened(&run);
        assert!(told.await.unwrap() >= before);
        assert!(board.lock().is_empty());
    }
}
