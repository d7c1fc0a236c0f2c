//! What is wrong with the store while a command works or waits: told at once on standard error, and again when it is over.
//!
//! A process over a file may read on while all writes fail, as on a full disk: so the store is asked how it stands. One on a
//! server is asked for its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coxswain_shared::control::FOLLOW_PATIENCE;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::{Store, Trouble};
use tokio::time::Instant;

use crate::exit::Exit;
use crate::failure::Failed;
use crate::output::Output;

/// How often it is looked at: below what a user takes for silence.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a server is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The trouble that lasts, and since when.
type Lasting = Arc<Mutex<Option<(Trouble, Instant)>>>;

/// Looks at the store for as long as it lives.
#[derive(Debug)]
pub(crate) struct Troubles {
    lasting: Lasting,
    tasks: Tasks,
}

impl Drop for Troubles {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Troubles {
    /// Looks at the store from now on, and tells what it finds.
    pub(crate) fn watch(output: &Arc<Output>, store: &Arc<dyn Store>) -> Self {
        let (tasks, lasting) = (Tasks::new(), Lasting::default());
        tasks.spawn(look(Arc::clone(output), Arc::clone(store), Arc::clone(&lasting)));
        Self { lasting, tasks }
    }

    /// How a command ends that leaves while something is wrong.
    pub(crate) fn failed(&self) -> Option<Failed> {
        self.get().map(|(trouble, _)| failed(trouble))
    }

    /// How a command ends once something has been wrong for too long.
    pub(crate) fn outlasted(&self) -> Option<Failed> {
        let (trouble, since) = self.get()?;
        (since.elapsed() >= FOLLOW_PATIENCE).then(|| failed(trouble))
    }

    fn get(&self) -> Option<(Trouble, Instant)> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn failed(trouble: Trouble) -> Failed {
    Failed { exit: Exit::Unavailable, message: trouble.why, remedy: Some(trouble.remedy) }
}

async fn look(output: Arc<Output>, store: Arc<dyn Store>, lasting: Lasting) {
    let mut told = None;
    let (mut silent, mut asked_at) = (None, Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if asked_at.elapsed() >= ASK_EVERY {
            silent = store.now().await.err().map(|error| Trouble::of(&error));
            asked_at = Instant::now();
        }
        let found = store.trouble().or_else(|| silent.clone());
        match (&found, &told) {
            (Some(trouble), before) if before.as_ref() != Some(&trouble.remedy) => {
                output.trouble(trouble);
                told = Some(trouble.remedy.clone());
            }
            (None, Some(_)) => {
                output.note("the store does its work again");
                told = None;
            }
            (Some(_) | None, _) => {}
        }
        let mut lasting = lasting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = lasting.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        *lasting = found.map(|trouble| (trouble, since));
    }
}
