//! The right to act: one runner per project, by a lease in the store that is renewed well before it ends.
//!
//! The runner believes in its lease until the moment the last *sent* claim would run out, counted on its own
//! monotonic clock: so it stops acting before the store could give the lease to another, whatever the clocks of the
//! machines say. A process that was stopped and wakes up finds its right gone before its next effect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::act::{Act, Hindrance};
use super::reconcile::chain;
use crate::store::{Holder, LeaseAnswer, LeaseClaim};

/// Whether this runner may act now.
#[derive(Debug, Clone, Default)]
pub struct Right {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Right {
    /// Returns without error while the lease is certain.
    pub fn check(&self) -> Result<(), Hindrance> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| Instant::now() < *until).map(|_| ()).ok_or(Hindrance::NoRight)
    }

    /// Returns when the lease is no longer certain.
    pub async fn lost(&self) {
        loop {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| Instant::now() < *until) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// How many times a lease is renewed in its duration: two renewals may fail before the third would be too late.
const RENEWALS: u32 = 4;

/// How soon the lease is asked for again when the last question brought no answer.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(200);

/// How much earlier than the store the runner takes its lease for lost: covers the step in hand.
const SAFETY: u32 = 5;

/// Keeps the lease until `stop` turns true.
pub struct Keeper {
    pub owner: String,
    pub holder: Holder,
    /// Owners that begin with this are earlier runners of the same daemon directory, whose lock this process holds:
    /// they are dead, and their lease need not run out first.
    pub predecessors: Option<String>,
}

/// What the keeper knows, for the status and for whoever waits for the first lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not asked yet, or the store does not answer.
    Unknown,
    Held,
    /// Another runner acts; this one waits. Who it is, in words.
    Waiting(String),
}

impl Keeper {
    /// Takes and renews the lease until `stop` turns true, and then gives it back.
    ///
    /// On the first acquisition, and on each one after a loss, `acquired` is called before the right is given.
    pub async fn run(
        &self,
        act: &Act,
        standing: &watch::Sender<Standing>,
        mut stop: watch::Receiver<bool>,
        acquired: impl AsyncFn() -> Result<(), Hindrance>,
    ) {
        while !*stop.borrow_and_update() {
            let now = self.renew(act, standing, &acquired).await;
            standing.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
            // What is unknown is asked again soon: a take-over, a store that comes back.
            let pause =
                if now == Standing::Unknown { UNKNOWN_PAUSE } else { act.plan.options.lease / RENEWALS };
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Gives the lease back, so that another runner need not wait for its end.
    pub async fn release(&self, act: &Act) {
        act.right.set(None);
        if let Err(error) = act.stores.queue.release_lease(&self.owner).await {
            tracing::warn!("the lease was not given back and ends by itself: {}", chain(&error));
        }
    }

    fn is_predecessor(&self, owner: &str) -> bool {
        owner != self.owner && self.predecessors.as_ref().is_some_and(|name| owner.starts_with(name))
    }

    async fn renew(
        &self,
        act: &Act,
        standing: &watch::Sender<Standing>,
        acquired: &impl AsyncFn() -> Result<(), Hindrance>,
    ) -> Standing {
        let sent = Instant::now();
        let duration = act.plan.options.lease;
        let claim =
            LeaseClaim { owner: self.owner.clone(), holder: self.holder.clone(), duration, at: act.now() };
        let answer = act.stores.queue.take_lease(&claim).await;
        if answer.is_ok() {
            act.store_answered();
        }
        match answer {
            Ok(LeaseAnswer::Yours) => {
                let fresh = act.right.check().is_err();
                if fresh && let Err(hindrance) = acquired().await {
                    tracing::warn!("the lease is held, but the store cannot be mended yet: {hindrance}");
                    return Standing::Unknown;
                }
                act.right.set(Some(sent + duration - duration / SAFETY));
                if fresh {
                    tracing::info!(owner = self.owner, "this runner acts for project {}", act.plan.project);
                    act.wake_all();
                }
                Standing::Held
            }
            Ok(LeaseAnswer::Taken(lease)) if self.is_predecessor(&lease.owner) => {
                tracing::info!("taking over from the runner of pid {}, which died", lease.holder.pid);
                if let Err(error) = act.stores.queue.release_lease(&lease.owner).await {
                    tracing::warn!("its lease cannot be ended yet: {}", chain(&error));
                }
                Standing::Unknown
            }
            Ok(LeaseAnswer::Taken(lease)) => {
                act.right.set(None);
                let holder = lease.holder;
                let other = format!("{}@{} (pid {})", holder.user, holder.host, holder.pid);
                if !matches!(*standing.borrow(), Standing::Waiting(_)) {
                    tracing::info!("the runner of {other} acts for this project; this one waits");
                }
                Standing::Waiting(other)
            }
            Err(error) => {
                act.store_failed("the renewal of the lease", &error);
                // The right ends by itself; until then the last answer holds.
                if act.right.check().is_ok() { Standing::Held } else { Standing::Unknown }
            }
        }
    }
}

/// The default duration of a lease: a runner that dies is followed after this long; one that is merely slow (a
/// database failing over takes some ten seconds) keeps it.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
