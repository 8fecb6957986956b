//! The one loop shape of the runner: work, then wait for a hint, the timer or the end.

use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::act::{Act, Hindrance};

/// What an activation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There may be more to do at once.
    More,
    /// Nothing more to do before a hint, or this much time.
    Nothing { again_in: Duration },
}

/// Why an activation happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A step before this one has finished something, or the loop has just begun, or the last activation found more.
    Hint,
    /// Nothing was heard for as long as the last activation allowed.
    Timer,
}

/// The first pause after the store did not answer, doubled up to [`LONGEST_STORE_PAUSE`].
const FIRST_STORE_PAUSE: Duration = Duration::from_millis(500);

/// A store that comes back is found again within this time.
const LONGEST_STORE_PAUSE: Duration = Duration::from_secs(30);

/// The least pause after a round trip that failed.
const HOST_PAUSE: Duration = Duration::from_millis(100);

/// How long a loop without the lease waits before it looks again; the keeper of the lease wakes all loops anyway.
const NO_RIGHT_PAUSE: Duration = Duration::from_millis(500);

/// Runs `activate` again and again until `stop` turns true; the activation in hand is finished first.
///
/// An activation that was hindered is repeated after a pause that grows; it changes nothing else. A panic is not
/// caught: the process ends, and the next one goes on from the store.
pub async fn run(
    name: &str,
    act: &Act,
    hint: &Notify,
    stop: watch::Receiver<bool>,
    mut activate: impl AsyncFnMut(Why) -> Result<Found, Hindrance>,
) {
    let mut stop = stop;
    let mut store_pause = FIRST_STORE_PAUSE;
    let mut why = Why::Hint;
    while !*stop.borrow_and_update() {
        let wait = match act.right.check() {
            Err(_) => NO_RIGHT_PAUSE,
            Ok(()) => match activate(why).await {
                Ok(Found::More) => {
                    store_answered(act, &mut store_pause);
                    why = Why::Hint;
                    // Lets the other loops of this thread have their turn.
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Found::Nothing { again_in }) => {
                    store_answered(act, &mut store_pause);
                    again_in
                }
                Err(hindrance) => pause_after(name, act, &hindrance, &mut store_pause),
            },
        };
        // All arms are cancel-safe, and none awaits in its body; their order is fixed, so that a simulation is the
        // same each time. A hint that came while the activation ran is kept
        // by `Notify` and ends the wait at once.
        why = tokio::select! {
            biased;
            changed = stop.changed() => if changed.is_err() { return } else { Why::Hint },
            () = hint.notified() => Why::Hint,
            () = tokio::time::sleep(wait) => Why::Timer,
        };
    }
}

/// A step that comes through after one that the store hindered tells that the store is back.
fn store_answered(act: &Act, store_pause: &mut Duration) {
    if *store_pause != FIRST_STORE_PAUSE {
        *store_pause = FIRST_STORE_PAUSE;
        act.store_answered();
    }
}

fn pause_after(name: &str, act: &Act, hindrance: &Hindrance, store_pause: &mut Duration) -> Duration {
    match hindrance {
        Hindrance::Store(error) => {
            act.store_failed(name, error);
            let pause = *store_pause;
            *store_pause = pause.saturating_mul(2).min(LONGEST_STORE_PAUSE);
            pause
        }
        // The breaker has logged it and knows the rest of the pause.
        Hindrance::Host(_) => HOST_PAUSE,
        Hindrance::NoRight => NO_RIGHT_PAUSE,
    }
}

/// Returns the error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}
