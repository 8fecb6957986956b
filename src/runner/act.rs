//! What all edges share: the stores, the clock, the right to act, the wake-ups and each host's health.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::{Breaker, Cause, Cure, Tripped, Trouble};
use super::lease::Right;
use super::plan::{HostPlan, Plan};
use super::reconcile::chain;
use crate::model::Timestamp;
use crate::model::clock::Clock;
use crate::store::{Applied, Ending, StoreError, Stores};
use crate::transport::{Answer, Operation, TransportError};

/// What all edges share.
pub struct Act {
    pub plan: Plan,
    pub stores: Stores,
    pub clock: Arc<dyn Clock>,
    /// Who acts, for histories: `runner@host`.
    pub by: String,
    pub right: Right,
    pub wake: Wake,
    /// Even while no jobs are being finished. A store without transactions shows a finished job some time before its
    /// children are READY: who counts jobs meanwhile finds too few.
    finishing: AtomicU64,
    health: Mutex<BTreeMap<String, Breaker>>,
    /// Since when the store does not do what it is asked.
    store_trouble: Mutex<Option<Instant>>,
    random: Mutex<StdRng>,
}

/// The hints by which a finished step wakes the next one. They carry no data.
#[derive(Default)]
pub struct Wake {
    pub checkout: Notify,
    pub complete: Notify,
    pub mend: Notify,
    /// Per host.
    pub hosts: BTreeMap<String, HostWake>,
}

/// The hints of the steps on one host.
#[derive(Default)]
pub struct HostWake {
    pub stage: Notify,
    pub submit: Notify,
    pub poll: Notify,
    pub collect: Notify,
    pub cancel: Notify,
}

/// Why an edge could not do its work this time.
#[derive(Debug, thiserror::Error)]
pub enum Hindrance {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's breaker has taken note; it will be asked again later.
    #[error("{0}")]
    Host(#[from] TransportError),
    /// The lease is in doubt: nothing is done until it is certain again.
    #[error("this runner does not hold the lease")]
    NoRight,
}

impl Act {
    /// Returns the shared part of a runner over `plan`.
    pub fn new(plan: Plan, stores: Stores, clock: Arc<dyn Clock>, by: String, random: StdRng) -> Self {
        let hosts = plan.hosts.iter().map(|h| (h.transport.host().to_owned(), HostWake::default())).collect();
        let wake = Wake { hosts, ..Wake::default() };
        let (health, random) = (Mutex::default(), Mutex::new(random));
        let (right, finishing) = (Right::default(), AtomicU64::new(0));
        let store_trouble = Mutex::default();
        Self { plan, stores, clock, by, right, wake, finishing, health, store_trouble, random }
    }

    /// Stores moves that end jobs, with all that follows.
    pub async fn finish(&self, endings: &[Ending]) -> Result<Vec<Applied>, StoreError> {
        self.finishing.fetch_add(1, Ordering::SeqCst);
        let finished = self.stores.queue.finish(endings).await;
        self.finishing.fetch_add(1, Ordering::SeqCst);
        finished
    }

    /// Returns what `look` finds, or nothing when jobs were being finished meanwhile.
    pub async fn undisturbed<T>(&self, look: impl Future<Output = T>) -> Option<T> {
        let before = self.finishing.load(Ordering::SeqCst);
        let found = look.await;
        (before.is_multiple_of(2) && self.finishing.load(Ordering::SeqCst) == before).then_some(found)
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time `after` from now.
    pub fn later(&self, after: Duration) -> Timestamp {
        let millis = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.now().timestamp_millis().saturating_add(millis))
    }

    /// Performs a batch on the host, in one round trip, and takes note of the host's health.
    ///
    /// Nothing is sent without the lease, and a round trip during which the lease is lost is cut: another runner may
    /// act from then on. On an error nothing is known about the batch.
    pub async fn perform(
        &self,
        host: &HostPlan,
        batch: Vec<Operation>,
        limit: Duration,
    ) -> Result<Vec<Answer>, Hindrance> {
        self.right.check()?;
        let performed = tokio::select! {
            biased;
            performed = host.transport.perform(batch, limit) => performed,
            () = self.right.lost() => return Err(Hindrance::NoRight),
        };
        match performed {
            Ok(answers) => {
                self.host_answered(host);
                Ok(answers)
            }
            Err(error) => {
                self.host_failed(host, &error);
                Err(error.into())
            }
        }
    }

    /// Returns how long the host has to be left alone.
    pub fn pause_left(&self, host: &HostPlan) -> Duration {
        let now = Instant::now();
        self.health().get(host.transport.host()).map_or(Duration::ZERO, |breaker| breaker.pause_left(now))
    }

    /// Returns each host's health.
    pub fn healths(&self) -> BTreeMap<String, Breaker> {
        self.health().clone()
    }

    fn host_answered(&self, host: &HostPlan) {
        let name = host.transport.host();
        let over = self.health().entry(name.to_owned()).or_default().answered(Instant::now());
        if let Some(trouble) = over {
            tell_end(name, &trouble, "answers again");
        }
    }

    /// Notes that files can be written on the host, or that none has to be: ends the trouble of a full disk.
    pub fn host_has_room(&self, host: &HostPlan) {
        let name = host.transport.host();
        let over = self.health().get_mut(name).and_then(Breaker::relieved);
        if let Some(trouble) = over {
            tell_end(name, &trouble, "can be written again");
        }
    }

    /// Notes that the store did not do what it was asked. Said loudly once, until it answers again.
    pub fn store_failed(&self, step: &str, error: &StoreError) {
        let mut trouble = self.store_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let first = trouble.is_none();
        if !error.is_passing() {
            tracing::warn!(step, "{step} pauses: {}", chain(error));
        } else if first {
            *trouble = Some(Instant::now());
            tracing::warn!(step, "all work pauses until the store answers again: {}", chain(error));
        } else {
            tracing::debug!(step, "{step} still pauses: {}", chain(error));
        }
    }

    /// Notes that the store answers, and wakes all steps if it did not before.
    pub fn store_answered(&self) {
        let over = self.store_trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = over {
            let seconds = since.elapsed().as_secs();
            tracing::info!(outage_seconds = seconds, "the store answers again, after {seconds} s");
            self.wake_all();
        }
    }

    /// Wakes every step.
    pub fn wake_all(&self) {
        self.wake.checkout.notify_one();
        self.wake.complete.notify_one();
        self.wake_hosts(|host| &host.stage);
        self.wake_hosts(|host| &host.submit);
        self.wake_hosts(|host| &host.poll);
        self.wake_hosts(|host| &host.collect);
        self.wake_hosts(|host| &host.cancel);
    }

    fn host_failed(&self, host: &HostPlan, error: &TransportError) {
        let hint = match error {
            TransportError::Connect { hint, .. } => hint.clone(),
            TransportError::Lost { .. }
            | TransportError::TimedOut { .. }
            | TransportError::Garbled { .. } => None,
        };
        self.note(host, Cause { why: error.to_string(), hint, cure: Cure::Answer });
    }

    /// Pauses the host because files cannot be written: a full disk, a missing right. An answer alone does not end
    /// it, but [`Act::host_has_room`] does.
    pub fn note_no_room(&self, host: &HostPlan, why: String, hint: &str) {
        self.note(host, Cause { why, hint: Some(hint.to_owned()), cure: Cure::Room });
    }

    fn note(&self, host: &HostPlan, cause: Cause) {
        let name = host.transport.host();
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut health = self.health();
        let breaker = health.entry(name.to_owned()).or_default();
        let hint = cause.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let message = format!("{}{hint}", cause.why);
        match breaker.fault(Instant::now(), cause, &mut *random) {
            Tripped::Newly => tracing::warn!(host = name, "host {name} is paused: {message}"),
            Tripped::Again => tracing::debug!(host = name, "host {name} stays paused: {message}"),
        }
    }

    fn health(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one step on every host.
    pub fn wake_hosts(&self, step: impl Fn(&HostWake) -> &Notify) {
        for host in self.wake.hosts.values() {
            step(host).notify_one();
        }
    }

    /// Returns the hints of a host.
    pub fn host_wake(&self, host: &HostPlan) -> Option<&HostWake> {
        self.wake.hosts.get(host.transport.host())
    }
}

fn tell_end(host: &str, trouble: &Trouble, what: &str) {
    let seconds = trouble.since.elapsed().as_secs();
    tracing::info!(host, outage_seconds = seconds, "host {host} {what}, after {seconds} s");
}
