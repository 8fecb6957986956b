//! Ends the processes of attempts that nobody wants any more: their jobs were stopped, run again or deleted.
//!
//! Who takes a job away from its runner leaves an order behind ([`Cancellation`]); where somebody else did it, without
//! an order, the edges that lose the job write it ([`abandoned`]). An order stays until the scheduler no longer has
//! the attempt: it is given again and again, so that neither a host that is away nor a killed runner makes it
//! forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::act::{Act, Hindrance};
use super::plan::{HostPlan, Place};
use super::reconcile::Found;
use super::remote::{limit_of, printed, question};
use crate::model::Timestamp;
use crate::model::ids::{JobKey, Token};
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Page};
use crate::model::state::State;
use crate::scheduler::{Observed, Phase, Scheduler, Watched};
use crate::store::StoreError;
use crate::store::actions::{Cancellation, is_due};
use crate::transport::{Answer, Operation};
use crate::worker::layout;

/// How often orders are looked for without a hint: users give them from other programs. The list is short and mostly
/// empty.
const LOOK: Duration = Duration::from_secs(2);

/// How soon it is looked whether an order was followed.
const CONFIRM_HERE: Duration = Duration::from_millis(500);
const CONFIRM_AWAY: Duration = Duration::from_secs(5);

/// How long an attempt whose submission was never recorded may still turn up: longer than a command that submits may
/// take, and than a scheduler takes to show what it was given.
const MAY_TURN_UP: Duration = Duration::from_secs(120);

/// How long a new attempt waits for the end of the one before it on the same worker. Both have their own directories,
/// so this is for programs that meet elsewhere (scratch files, licences).
const WAIT_FOR_END: Duration = Duration::from_secs(60);

/// Orders in one round trip.
const BATCH: usize = 500;

/// What the cancelling on one host remembers. Losing it costs a second order, which does nothing.
#[derive(Default)]
pub struct Memory {
    /// When the scheduler was last told, and how often.
    told: BTreeMap<Token, (Instant, u32)>,
}

/// Gives the orders for this host that are due, and forgets those that were followed.
pub async fn activate(act: &Act, host: &HostPlan, memory: &mut Memory) -> Result<Found, Hindrance> {
    let pause = act.pause_left(host);
    if !pause.is_zero() {
        return Ok(Found::Nothing { again_in: pause });
    }
    let due = due(act, host).await?;
    let tokens: BTreeSet<&Token> = due.iter().map(|due| &due.order.token).collect();
    memory.told.retain(|token, _| tokens.contains(token));
    let confirm = match host.place {
        Place::Here => CONFIRM_HERE,
        Place::Away => CONFIRM_AWAY,
    };
    let ready = |due: &&Due| memory.told.get(&due.order.token).is_none_or(|(at, _)| at.elapsed() >= confirm);
    let ready: Vec<&Due> = due.iter().filter(ready).take(BATCH).collect();
    if ready.is_empty() {
        return Ok(Found::Nothing { again_in: if due.is_empty() { LOOK } else { confirm } });
    }
    let mut over = Vec::new();
    for (scheduler, group) in by_scheduler(host, ready) {
        over.extend(one_round(act, host, memory, scheduler.as_ref(), &group).await?);
    }
    if !over.is_empty() {
        remove_directories(act, host, &over).await?;
        let tokens: Vec<Token> = over.iter().map(|due| due.order.token.clone()).collect();
        act.stores.cancellations.clear_cancellations(&tokens).await?;
        if let Some(wake) = act.host_wake(host) {
            wake.stage.notify_one();
            wake.submit.notify_one();
        }
    }
    Ok(Found::Nothing { again_in: confirm })
}

/// An order whose attempt is nobody's any more.
#[derive(Clone)]
struct Due {
    order: Cancellation,
    is_deleted: bool,
}

async fn due(act: &Act, host: &HostPlan) -> Result<Vec<Due>, StoreError> {
    let mut orders = act.stores.cancellations.cancellations().await?;
    orders.retain(|order| host.worker(&order.worker).is_some());
    let keys = orders.iter().filter_map(|order| Some(order.token.parts()?.0)).collect();
    let jobs = states(act, keys).await?;
    let due = orders.into_iter().filter_map(|order| {
        let job = order.token.parts().and_then(|(key, _)| jobs.get(&key).copied());
        is_due(&order, job).then_some(Due { order, is_deleted: job.is_none() })
    });
    Ok(due.collect())
}

/// Returns state and attempt of those of the jobs that exist.
async fn states(act: &Act, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, (State, i32)>, StoreError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (filter, page) =
        (JobFilter { keys, ..JobFilter::default() }, Page { limit: None, ..Page::default() });
    let jobs = act.stores.queue.jobs(&filter, &page, Detail::Summary).await?;
    Ok(jobs.into_iter().map(|job| (job.key, (job.state, job.ferry.attempt))).collect())
}

type Group<'a> = (Arc<dyn Scheduler>, Vec<&'a Due>);

fn by_scheduler<'a>(host: &HostPlan, due: Vec<&'a Due>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<&'static str, Group<'a>> = BTreeMap::new();
    for one in due {
        let Some(worker) = host.worker(&one.order.worker) else { continue };
        let group = groups.entry(worker.scheduler.name());
        group.or_insert_with(|| (Arc::clone(&worker.scheduler), Vec::new())).1.push(one);
    }
    groups.into_values().collect()
}

/// Looks what of the group is still there, tells the scheduler to end it, and returns what is over.
///
/// Nothing is over before the scheduler was told once: it may know a job later than its first answer.
async fn one_round(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
    scheduler: &dyn Scheduler,
    group: &[&Due],
) -> Result<Vec<Due>, Hindrance> {
    let limit = limit_of(host);
    let tokens: Vec<Token> = group.iter().map(|due| due.order.token.clone()).collect();
    let found = ask(act, host, scheduler.find(&tokens)).await?;
    let Some(Ok(found)) = found.map(|found| scheduler.read_find(&found, &tokens)) else {
        return Ok(Vec::new());
    };
    let watched: Vec<Watched> = group.iter().zip(&found).flat_map(|(due, ids)| watched(due, ids)).collect();
    let seen = ask(act, host, scheduler.poll(&watched)).await?;
    let Some(Ok(seen)) = seen.map(|seen| scheduler.read_poll(&seen, &watched)) else { return Ok(Vec::new()) };
    let alive: Vec<&Watched> =
        watched.iter().zip(&seen).filter(|(_, seen)| is_alive(seen)).map(|(watched, _)| watched).collect();
    let (mut over, mut ids) = (Vec::new(), BTreeSet::new());
    for due in group {
        let token = &due.order.token;
        let living = alive.iter().filter(|watched| watched.token == *token).map(|watched| watched.id.clone());
        let living: Vec<String> = living.collect();
        let told = memory.told.contains_key(token);
        if living.is_empty() && (told || due.order.process_id.is_none()) && !may_turn_up(act, due) {
            over.push((*due).clone());
            continue;
        }
        let is_known = !living.is_empty() || due.order.process_id.is_some();
        ids.extend(living);
        ids.extend(due.order.process_id.clone().filter(|_| !told));
        note(host, memory, &due.order, is_known);
    }
    if !ids.is_empty() {
        let ids: Vec<String> = ids.into_iter().collect();
        act.perform(host, vec![question(scheduler.cancel(&ids), limit)], limit).await?;
    }
    Ok(over)
}

async fn ask(
    act: &Act,
    host: &HostPlan,
    asked: crate::scheduler::Question,
) -> Result<Option<crate::scheduler::Printed>, Hindrance> {
    let limit = limit_of(host);
    let answers = act.perform(host, vec![question(asked, limit)], limit).await?;
    Ok(answers.first().and_then(printed))
}

/// Returns what to look for: the id that was recorded, and those under which the token was found.
fn watched(due: &Due, found: &[String]) -> Vec<Watched> {
    let ids: BTreeSet<&String> = due.order.process_id.iter().chain(found).collect();
    let one = |id: &String| Watched {
        id: id.clone(),
        token: due.order.token.clone(),
        // What lies in the run directory may be the next attempt's.
        run_dir: String::new(),
        submitted: None,
    };
    ids.into_iter().map(one).collect()
}

fn is_alive(seen: &Observed) -> bool {
    matches!(seen, Observed::Seen(status) if !matches!(status.phase, Phase::Ended(_)))
}

/// Returns whether an attempt without an id may be in a queue that has not shown it yet.
fn may_turn_up(act: &Act, due: &Due) -> bool {
    due.order.process_id.is_none() && age(act, due.order.ordered_on) < MAY_TURN_UP
}

fn age(act: &Act, since: Timestamp) -> Duration {
    let millis = act.now().timestamp_millis().saturating_sub(since.timestamp_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn note(host: &HostPlan, memory: &mut Memory, order: &Cancellation, is_known: bool) {
    let name = host.transport.host();
    let (at, times) = memory.told.entry(order.token.clone()).or_insert((Instant::now(), 0));
    *at = Instant::now();
    *times = times.saturating_add(u32::from(is_known));
    let id = order.process_id.as_deref().unwrap_or("an unknown id");
    match *times {
        0 => {}
        1 => tracing::info!(host = name, "ending {id} of {}: {} took its job away", order.token, order.by),
        20 => tracing::warn!(host = name, "{id} of {} does not end; it is told again", order.token),
        _ => tracing::debug!(host = name, "{id} of {} is still there", order.token),
    }
}

/// Removes the directories of deleted jobs that were to go with their process.
async fn remove_directories(act: &Act, host: &HostPlan, over: &[Due]) -> Result<(), Hindrance> {
    let of_deleted = over.iter().filter(|due| due.is_deleted && due.order.remove_directory);
    let batch: Vec<Operation> = of_deleted
        .filter_map(|due| due.order.run_dir.clone())
        .map(|directory| Operation::RemoveTree { directory, marker: layout::INPUT.to_owned() })
        .collect();
    if batch.is_empty() {
        return Ok(());
    }
    for answer in act.perform(host, batch, limit_of(host)).await? {
        if let Answer::Failed(error) = answer {
            tracing::warn!(host = host.transport.host(), "a run directory stays: {error}");
        }
    }
    Ok(())
}

/// Stores orders for attempts in a queue whose jobs somebody took away without one.
pub async fn abandoned(
    act: &Act,
    host: &HostPlan,
    jobs: &[(JobRecord, Option<String>)],
) -> Result<(), StoreError> {
    let order = |(job, id): &(JobRecord, Option<String>)| Cancellation {
        token: job.token(),
        worker: job.worker.clone(),
        process_id: id.clone(),
        run_dir: job.run_dir.clone(),
        remove_directory: false,
        ordered_on: act.now(),
        by: "somebody".to_owned(),
    };
    let orders: Vec<Cancellation> = jobs.iter().map(order).collect();
    if !orders.is_empty() {
        act.stores.cancellations.order_cancellations(&orders).await?;
        act.host_wake(host).iter().for_each(|wake| wake.cancel.notify_one());
    }
    Ok(())
}

/// Returns whether an attempt in the queue is no longer its job's, given what became of the job.
pub fn is_abandoned(attempt: &JobRecord, now: Option<&JobRecord>) -> bool {
    now.is_none_or(|now| {
        let goes_on = now.state.is_active()
            || matches!(now.state, State::RemoteError | State::Completed | State::Failed);
        now.ferry.attempt != attempt.ferry.attempt || !goes_on
    })
}

/// Returns the jobs among these whose last attempt is still being ended on the same worker.
pub async fn still_ending(act: &Act, jobs: &[JobRecord]) -> Result<BTreeSet<JobKey>, StoreError> {
    if jobs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let orders = act.stores.cancellations.cancellations().await?;
    let young = orders.iter().filter(|order| age(act, order.ordered_on) < WAIT_FOR_END);
    let ending: BTreeSet<(JobKey, &str)> = young
        .filter(|order| order.process_id.is_some())
        .filter_map(|order| Some((order.token.parts()?.0, order.worker.as_str())))
        .collect();
    let waits = |job: &&JobRecord| ending.contains(&(job.key.clone(), job.worker.as_str()));
    Ok(jobs.iter().filter(waits).map(|job| job.key.clone()).collect())
}

/// Returns whether a process of one of these workers is still to be ended and known by its id.
pub async fn is_anything_left(act: &Act) -> bool {
    for host in &act.plan.hosts {
        let due = due(act, host).await;
        if !due.is_ok_and(|due| due.iter().all(|due| due.order.process_id.is_none())) {
            return true;
        }
    }
    false
}
