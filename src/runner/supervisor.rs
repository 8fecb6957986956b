//! Runs all edges and the keeper of the lease, in one task, until it is told to stop or nothing is left to do.
//!
//! Shutdown is ordered and bounded: the edges finish the step in hand and take up no other, then the lease is given
//! back. An edge that does not end in time is dropped where it stands; every step may be dropped anywhere and done
//! again.

use std::pin::Pin;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::act::{Act, Hindrance};
use super::lease::{Keeper, Standing};
use super::plan::{HostPlan, Place};
use super::reconcile::{self, Found, Why};
use super::{cancel, checkout, collect, complete, poll, stage, submit};
use crate::model::query::Detail;
use crate::model::state::State;
use crate::store::Work;

/// When a run ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only when it is told to.
    Stopped,
    /// When nothing is left to do, or after the limit.
    Idle { limit: Option<Duration> },
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Stopped,
    Idle,
    /// The limit of [`Until::Idle`] was over before the work was.
    OutOfTime,
}

/// How long the steps in hand may take once the runner is told to stop: longer than any one command on a host
/// (60 s by default), so that a step is only cut when its host hangs.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(75);

/// How often half-done work is looked for. It costs a look at the unfinished flows.
const MEND_EVERY: Duration = Duration::from_secs(300);

/// Bounds of the pause between two looks for "nothing left to do". It grows with the length of the run, of which it
/// never is more than a fiftieth.
const IDLE_FLOOR: Duration = Duration::from_millis(20);
const IDLE_CEILING: Duration = Duration::from_secs(2);

/// Runs the runner.
///
/// The lease is held only while this runs; on return it has been given back. `standing` follows it.
pub async fn run(
    act: &Act,
    keeper: &Keeper,
    until: Until,
    standing: &watch::Sender<Standing>,
    stop: watch::Receiver<bool>,
) -> Ended {
    let (stop_edges, edges_stop) = watch::channel(false);
    let (stop_keeper, keeper_stop) = watch::channel(false);
    let edges = async {
        join_all(edges(act, &edges_stop)).await;
    };
    let work = async {
        let mut edges = Box::pin(edges);
        let ended = tokio::select! {
            biased;
            ended = wait_for_end(act, until, stop) => ended,
            () = &mut edges => Ended::Stopped,
        };
        stop_edges.send_replace(true);
        if tokio::time::timeout(SHUTDOWN_LIMIT, edges).await.is_err() {
            tracing::warn!("a step did not end within {} s and is left as it is", SHUTDOWN_LIMIT.as_secs());
        }
        stop_keeper.send_replace(true);
        ended
    };
    let (ended, ()) = tokio::join!(work, keeper.run(act, standing, keeper_stop, async || mend(act).await));
    keeper.release(act).await;
    ended
}

/// Finishes what interrupted steps have left half-done: at the beginning of each reign, and now and then, because a
/// database server may still do what a dead client sent it last.
async fn mend(act: &Act) -> Result<(), Hindrance> {
    let mended = act.stores.queue.repair(act.now()).await?;
    if mended > 0 {
        tracing::info!("mended {mended} jobs and flows that an interrupted step had left half-done");
        act.wake.checkout.notify_one();
    }
    Ok(())
}

type Edge<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn edges<'a>(act: &'a Act, stop: &watch::Receiver<bool>) -> Vec<Edge<'a>> {
    let mut edges: Vec<Edge<'a>> = Vec::new();
    let (first, second) = (stop.clone(), stop.clone());
    edges.push(Box::pin(reconcile::run("checkout", act, &act.wake.checkout, first, async |_| {
        checkout::activate(act).await
    })));
    let mut completion = complete::Memory::default();
    edges.push(Box::pin(reconcile::run("complete", act, &act.wake.complete, second, async move |_| {
        complete::activate(act, &mut completion).await
    })));
    edges.push(Box::pin(reconcile::run("mend", act, &act.wake.mend, stop.clone(), async |why| {
        if why == Why::Timer {
            mend(act).await?;
        }
        Ok(Found::Nothing { again_in: MEND_EVERY })
    })));
    for host in &act.plan.hosts {
        edges.extend(host_edges(act, host, stop));
    }
    edges
}

fn host_edges<'a>(act: &'a Act, host: &'a HostPlan, stop: &watch::Receiver<bool>) -> Vec<Edge<'a>> {
    let Some(wake) = act.host_wake(host) else { return Vec::new() };
    let (mut staging, mut submission, mut polling) =
        (stage::Memory::default(), submit::Memory::default(), poll::Memory::default());
    let mut edges: Vec<Edge<'a>> = Vec::new();
    let stage = async move |_| stage::activate(act, host, &mut staging).await;
    edges.push(Box::pin(reconcile::run("stage", act, &wake.stage, stop.clone(), stage)));
    let submit = async move |_| submit::activate(act, host, &mut submission).await;
    edges.push(Box::pin(reconcile::run("submit", act, &wake.submit, stop.clone(), submit)));
    let poll = async move |why: Why| poll::activate(act, host, &mut polling, why).await;
    edges.push(Box::pin(reconcile::run("poll", act, &wake.poll, stop.clone(), poll)));
    let mut cancelling = cancel::Memory::default();
    let cancel = async move |_| cancel::activate(act, host, &mut cancelling).await;
    edges.push(Box::pin(reconcile::run("cancel", act, &wake.cancel, stop.clone(), cancel)));
    if host.place == Place::Away {
        let collect = async move |_| collect::activate(act, host).await;
        edges.push(Box::pin(reconcile::run("collect", act, &wake.collect, stop.clone(), collect)));
    }
    edges
}

async fn wait_for_end(act: &Act, until: Until, mut stop: watch::Receiver<bool>) -> Ended {
    let limit = match until {
        Until::Stopped => None,
        Until::Idle { limit } => limit,
    };
    let out_of_time = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Ended::Stopped,
        () = idle(act, until) => Ended::Idle,
        () = out_of_time => Ended::OutOfTime,
    }
}

/// Returns when no job of the plan's workers can move on by itself.
async fn idle(act: &Act, until: Until) {
    if until == Until::Stopped {
        std::future::pending::<()>().await;
    }
    let begin = Instant::now();
    while act.right.check().is_err() || !nothing_to_do(act).await {
        tokio::time::sleep((begin.elapsed() / 50).clamp(IDLE_FLOOR, IDLE_CEILING)).await;
    }
}

async fn nothing_to_do(act: &Act) -> bool {
    let workers = act.plan.worker_names();
    let moving = |state: &State| state.is_active() || *state == State::Ready;
    let moving: Vec<State> = State::ALL.into_iter().filter(moving).collect();
    // One job that is at work says it all, and is found without counting.
    let (states, detail) = (moving.clone(), Detail::Summary);
    let one = Work { states, workers: workers.clone(), due: act.now(), limit: 1, detail };
    if act.stores.queue.work(&one).await.is_ok_and(|jobs| !jobs.is_empty()) {
        return false;
    }
    let Some(Ok(load)) = act.undisturbed(act.stores.queue.load(&moving)).await else { return false };
    moving.iter().all(|state| checkout::count(&load, &workers, *state) == 0)
        && !cancel::is_anything_left(act).await
}
