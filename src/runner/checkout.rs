//! READY → CHECKED_OUT: claims as many jobs as the workers can soon take, by priority, then age.

use std::collections::BTreeMap;

use super::act::{Act, Hindrance};
use super::plan::Worker;
use super::reconcile::Found;
use crate::model::state::State;
use crate::store::{Claim, Load};

/// How many jobs of a worker may be checked out or uploaded and not yet submitted: enough to keep its queue full
/// while the next ones are prepared, few enough that a later job of higher priority is not kept behind thousands,
/// and that a worker with a limit does not get thousands of directories long before it can take them.
const AHEAD: u64 = 256;

/// With a limit of jobs in the queue, this many more than the limit are prepared.
const AHEAD_OF_LIMIT: u64 = 16;

/// Claims READY jobs for every worker whose host answers.
pub async fn activate(act: &Act) -> Result<Found, Hindrance> {
    let nothing = Found::Nothing { again_in: act.plan.options.checkout_every };
    let load = act.stores.queue.load(counted(act)).await?;
    let room = room(act, &load);
    if room.is_empty() {
        return Ok(nothing);
    }
    let claimed = act.stores.queue.claim(&Claim { room, at: act.now(), by: act.by.clone() }).await?;
    if claimed == 0 {
        return Ok(nothing);
    }
    tracing::debug!(jobs = claimed, "checked out {claimed} jobs");
    act.wake_hosts(|host| &host.stage);
    Ok(Found::More)
}

/// Jobs in the queue are counted only where somebody limits them: there may be very many.
fn counted(act: &Act) -> &'static [State] {
    let mut workers = act.plan.hosts.iter().flat_map(|host| &host.workers);
    match workers.any(|worker| worker.max_jobs.is_some()) {
        true => &[State::CheckedOut, State::Uploaded, State::Submitted, State::Running],
        false => &[State::CheckedOut, State::Uploaded],
    }
}

fn room(act: &Act, load: &Load) -> BTreeMap<String, u32> {
    let hosts = act.plan.hosts.iter().filter(|host| act.pause_left(host).is_zero());
    let workers = hosts.flat_map(|host| &host.workers);
    workers.map(|worker| (worker.name.clone(), room_of(worker, load))).filter(|(_, room)| *room > 0).collect()
}

fn room_of(worker: &Worker, load: &Load) -> u32 {
    let ours = [worker.name.clone()];
    let waiting = count(load, &ours, State::CheckedOut) + count(load, &ours, State::Uploaded);
    let queued = count(load, &ours, State::Submitted) + count(load, &ours, State::Running);
    let ahead = AHEAD.saturating_sub(waiting);
    let room = worker.max_jobs.map_or(ahead, |limit| {
        ahead.min((u64::from(limit) + AHEAD_OF_LIMIT).saturating_sub(waiting + queued))
    });
    u32::try_from(room).unwrap_or(u32::MAX)
}

/// Returns how many jobs of these workers are in `state`.
pub fn count(load: &Load, workers: &[String], state: State) -> u64 {
    workers.iter().filter_map(|worker| load.get(worker)).filter_map(|states| states.get(&state)).sum()
}
