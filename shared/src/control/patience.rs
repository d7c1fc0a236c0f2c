//! Repeats a call of the store that did not get through. Safe for every call of the port.

use std::time::Duration;

use crate::store;

/// The pauses between tries: together they outlast a failover's first moments, and not a user's patience.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900)];

/// Calls until the store answers, or the pauses are used up.
pub(super) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, store::Error>) -> Result<T, store::Error> {
    for pause in PAUSES {
        match call().await {
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "the store did not answer; asking again");
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> store::Error {
        store::Error::Unavailable { place: "here".to_owned(), why: "gone".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_reply_was_lost_is_repeated() {
        let mut tries = 0;
        let answer = patiently(async || {
            tries += 1;
            if tries == 3 { Ok(tries) } else { Err(unavailable()) }
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stays_away_is_told() {
        let mut tries = 0;
        let answer = patiently(async || {
            tries += 1;
            Err::<(), _>(unavailable())
        });
        assert!(answer.await.is_err_and(|error| error.is_retryable()));
        assert_eq!(tries, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_will_not_change_is_not_asked_for_again() {
        let mut tries = 0;
        let answer = patiently(async || {
            tries += 1;
            Err::<(), _>(store::Error::TooLarge { what: "input".to_owned(), size: 2, max: 1 })
        });
        assert!(answer.await.is_err());
        assert_eq!(tries, 1);
    }
}
