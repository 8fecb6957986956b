//! A store that fails before or after the effect, or takes its time, as the seed says.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobferry::model::Timestamp;
use jobferry::model::ids::{JobKey, Token};
use jobferry::model::job::{FlowId, FlowRecord, JobRecord, NewFlow};
use jobferry::model::query::{Detail, FlowFilter, JobFilter, Page};
use jobferry::model::state::State;
use jobferry::store::actions::{Action, Answer, Cancellation, Cancellations, Deletion, Mandate, UserActions};
use jobferry::store::{
    Applied, Claim, Ending, Files, Lease, LeaseAnswer, LeaseClaim, Load, Move, NewFile, OutputDocument,
    Outputs, Queue, StoreError, Stores, Work,
};

use rand::RngExt as _;
use tokio::time::Instant;

use super::world::World;

/// Three times as long as the lease.
const LONGEST_HANG: Duration = Duration::from_secs(90);

pub(super) struct FaultyStore {
    inner: Stores,
    world: Arc<World>,
}

impl FaultyStore {
    /// Returns `inner` behind a connection that fails as the world says.
    pub(super) fn stores(inner: Stores, world: &Arc<World>) -> Stores {
        let store = Arc::new(Self { inner, world: Arc::clone(world) });
        Stores::of(store)
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let (fails, before, hangs) = {
            let mut world = self.world.lock();
            let (percent, hang) = (world.faults.store_percent, world.faults.hang_permille);
            (world.chance(percent), world.chance(50), world.chance(10) && world.chance(hang))
        };
        self.wait(hangs && before).await;
        self.world.may_die().await;
        if fails && before {
            return Err(unreachable());
        }
        let result = call.await;
        // A runner that is killed here has written and does not know it.
        self.world.may_die().await;
        self.wait(hangs && !before).await;
        if fails { Err(unreachable()) } else { result }
    }

    /// Takes the store's time: mostly none.
    async fn wait(&self, hangs: bool) {
        if hangs {
            self.world.note(|| "the store hangs".to_owned());
            tokio::time::sleep(self.world.pause(LONGEST_HANG)).await;
        } else if self.world.chance(20) {
            tokio::time::sleep(self.world.pause(Duration::from_millis(500))).await;
        }
    }

    /// Returns whether somebody else holds the lock of the job.
    fn is_locked(&self, key: &JobKey) -> bool {
        self.world.lock().locked.get(key).is_some_and(|until| Instant::now() < *until)
    }

    /// Lets somebody else lock jobs, as seldom as the world says.
    fn lock_some(&self, jobs: &[JobRecord]) {
        let mut world = self.world.lock();
        for job in jobs {
            let percent = world.faults.lock_percent;
            if world.chance(percent) {
                let until = Instant::now() + Duration::from_secs(world.random.random_range(0..30));
                world.locked.insert(job.key.clone(), until);
            }
        }
    }

    /// Makes the moves of jobs that nobody else holds; the others are lost.
    async fn make<T: Clone>(
        &self,
        moves: &[T],
        key_of: impl Fn(&T) -> &JobKey,
        make: impl AsyncFnOnce(&[T]) -> Result<Vec<Applied>, StoreError>,
    ) -> Result<Vec<Applied>, StoreError> {
        let free: Vec<bool> = moves.iter().map(|one| !self.is_locked(key_of(one))).collect();
        let to_make: Vec<T> =
            moves.iter().zip(&free).filter(|(_, free)| **free).map(|(one, _)| one.clone()).collect();
        let mut made = make(&to_make).await?.into_iter();
        Ok(free.iter().map(|free| if *free { made.next().unwrap() } else { Applied::Lost }).collect())
    }
}

fn unreachable() -> StoreError {
    StoreError::Unreachable { place: "the simulated store".into(), source: "the connection was cut".into() }
}

#[async_trait]
impl Queue for FaultyStore {
    async fn migrate(&self) -> Result<Vec<u32>, StoreError> {
        self.call(self.inner.queue.migrate()).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.call(self.inner.queue.ping()).await
    }
    async fn insert_flow(&self, flow: &NewFlow) -> Result<Vec<FlowId>, StoreError> {
        self.call(self.inner.queue.insert_flow(flow)).await
    }
    async fn claim(&self, claim: &Claim) -> Result<u32, StoreError> {
        self.call(self.inner.queue.claim(claim)).await
    }
    async fn work(&self, work: &Work) -> Result<Vec<JobRecord>, StoreError> {
        let mut jobs = self.call(self.inner.queue.work(work)).await?;
        jobs.retain(|job| !self.is_locked(&job.key));
        self.lock_some(&jobs);
        Ok(jobs)
    }
    async fn apply(&self, moves: &[Move]) -> Result<Vec<Applied>, StoreError> {
        self.call(self.make(moves, |one| &one.key, async |free| self.inner.queue.apply(free).await)).await
    }
    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Applied>, StoreError> {
        let finish = async |free: &[Ending]| self.inner.queue.finish(free).await;
        self.call(self.make(endings, |one| &one.step.key, finish)).await
    }
    async fn repair(&self, at: Timestamp) -> Result<u64, StoreError> {
        self.call(self.inner.queue.repair(at)).await
    }
    async fn load(&self, states: &[State]) -> Result<Load, StoreError> {
        self.call(self.inner.queue.load(states)).await
    }
    async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
        detail: Detail,
    ) -> Result<Vec<JobRecord>, StoreError> {
        self.call(self.inner.queue.jobs(filter, page, detail)).await
    }
    async fn count_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        self.call(self.inner.queue.count_jobs(filter)).await
    }
    async fn count_jobs_by_state(&self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, StoreError> {
        self.call(self.inner.queue.count_jobs_by_state(filter)).await
    }
    async fn flows(&self, filter: &FlowFilter, page: &Page) -> Result<Vec<FlowRecord>, StoreError> {
        self.call(self.inner.queue.flows(filter, page)).await
    }
    async fn count_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError> {
        self.call(self.inner.queue.count_flows(filter)).await
    }
    async fn take_lease(&self, claim: &LeaseClaim) -> Result<LeaseAnswer, StoreError> {
        self.call(self.inner.queue.take_lease(claim)).await
    }
    async fn release_lease(&self, owner: &str) -> Result<(), StoreError> {
        self.call(self.inner.queue.release_lease(owner)).await
    }
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.call(self.inner.queue.lease()).await
    }
}

#[async_trait]
impl Outputs for FaultyStore {
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError> {
        self.call(self.inner.job_store.outputs.put_outputs(outputs)).await
    }
    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError> {
        self.call(self.inner.job_store.outputs.newest_outputs(uuids)).await
    }
    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError> {
        self.call(self.inner.job_store.outputs.output(key)).await
    }
    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        self.call(self.inner.job_store.outputs.remove_outputs(keys)).await
    }
}

#[async_trait]
impl UserActions for FaultyStore {
    async fn act(
        &self,
        jobs: &[JobKey],
        action: &Action,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        self.call(self.inner.actions.act(jobs, action, mandate)).await
    }
    async fn delete_flows(
        &self,
        flows: &[String],
        deletion: Deletion,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        self.call(self.inner.actions.delete_flows(flows, deletion, mandate)).await
    }
    async fn set_flow_store(
        &self,
        flow: &str,
        store: Option<&str>,
        mandate: &Mandate,
    ) -> Result<Answer, StoreError> {
        self.call(self.inner.actions.set_flow_store(flow, store, mandate)).await
    }
}

#[async_trait]
impl Cancellations for FaultyStore {
    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        self.call(self.inner.cancellations.cancellations()).await
    }
    async fn order_cancellations(&self, orders: &[Cancellation]) -> Result<(), StoreError> {
        self.call(self.inner.cancellations.order_cancellations(orders)).await
    }
    async fn clear_cancellations(&self, tokens: &[Token]) -> Result<(), StoreError> {
        self.call(self.inner.cancellations.clear_cancellations(tokens)).await
    }
}

#[async_trait]
impl Files for FaultyStore {
    async fn put_files(&self, files: &[NewFile]) -> Result<(), StoreError> {
        self.call(self.inner.files.put_files(files)).await
    }
    async fn get_file(&self, sha256: &str, path: &Path) -> Result<(), StoreError> {
        self.call(self.inner.files.get_file(sha256, path)).await
    }
}
