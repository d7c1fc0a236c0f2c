//! The pause before a call that failed is repeated: doubling, bounded, jittered, so that a fleet does not come back
//! in one wave. Not for a node's retries: those are the graph's policy.

use std::time::Duration;

use rand::RngExt as _;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses of one call that is being repeated.
#[derive(Debug)]
pub(crate) struct Pause {
    next: Duration,
}

impl Pause {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// Waits, longer each time.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    fn step(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut pause = Pause::new();
        let all: Vec<_> = (0..20).map(|_| pause.step()).collect();
        assert!(all[0] <= FIRST && all[19] >= LONGEST / 2);
        assert!(all.iter().all(|one| *one <= LONGEST));
    }
}
