//! UPLOADED → SUBMITTED: hands scripts to the scheduler, many per round trip, each exactly once.
//!
//! The token of an attempt is in the store since its checkout, so a submission has a name before it has an id. The
//! script that submits on the host keeps, in the run directory, a lock from before and the id from after the
//! submission: sending it again answers the same id. Only where it died in between, or the scheduler's own answer
//! was unclear, the token is looked up in the scheduler before a second try; and the start lock of the wrapper lets
//! but one copy run, should there ever be two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::act::{Act, Hindrance};
use super::cancel::{abandoned, is_abandoned};
use super::checkout::count;
use super::failure::{Fault, step_failed};
use super::plan::{HostPlan, Place, Worker};
use super::reconcile::Found;
use super::remote::{limit_of, printed, question};
use crate::model::ids::{JobKey, Token};
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Page};
use crate::model::state::{Event, State};
use crate::scheduler::{Scheduler, Submission};
use crate::store::actions::Cancellation;
use crate::store::{Applied, Change, Move, Work};
use crate::transport::Operation;
use crate::worker::submission::{self, Mode, ToSubmit};

/// Submissions per round trip: enough that a login shell's second hardly counts, few enough that the first job of a
/// batch runs while the last is being submitted, and that a lost connection leaves few to be looked up.
const BATCH: u32 = 64;

/// How long a worker rests after its scheduler said "not now": the limits meant are freed by jobs that end.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// How long an unclear submission is left to appear in the scheduler before it is tried again.
const SETTLE_HERE: Duration = Duration::from_secs(2);
const SETTLE_AWAY: Duration = Duration::from_secs(20);

/// How soon an unclear submission is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the submission on one host remembers. Losing it costs a look-up, never a second copy.
#[derive(Default)]
pub struct Memory {
    /// Since when a submission is unclear.
    unclear: BTreeMap<Token, Instant>,
    /// Jobs that may be in the queue although their document does not say so: sent, and not recorded yet. They take
    /// places under their worker's limit.
    sent: BTreeMap<Token, Sent>,
    /// Submissions that the scheduler clearly did not take: the next try need not look them up.
    refused: BTreeSet<Token>,
    /// Workers whose scheduler said "not now", and until when they rest.
    resting: BTreeMap<String, Instant>,
}

/// A job that was handed to the scheduler.
struct Sent {
    job: JobRecord,
    /// Once the scheduler has said it.
    id: Option<String>,
    /// Whether the order to end it was given: its job has moved on.
    is_ending: bool,
}

/// Submits what the workers of the host have room for.
pub async fn activate(act: &Act, host: &HostPlan, memory: &mut Memory) -> Result<Found, Hindrance> {
    let pause = act.pause_left(host);
    if !pause.is_zero() {
        return Ok(Found::Nothing { again_in: pause });
    }
    memory.resting.retain(|_, until| *until > Instant::now());
    let ending = settle_sent(act, host, memory).await?;
    let jobs = uploaded(act, host, memory, &ending).await?;
    if jobs.is_empty() {
        return Ok(Found::Nothing { again_in: act.plan.options.advance_every.min(memory.pause()) });
    }
    let moves = submit(act, host, memory, &jobs).await?;
    let submitted = record(act, host, memory, &moves).await?;
    if submitted > 0 {
        return Ok(Found::More);
    }
    Ok(Found::Nothing { again_in: LOOK_AGAIN })
}

impl Memory {
    fn rest(&mut self, job: &JobRecord, why: &str) {
        tracing::info!(job = job.db_id, worker = job.worker, "worker {} rests: {why}", job.worker);
        self.resting.insert(job.worker.clone(), Instant::now() + COOL_DOWN);
    }

    /// Each leave to submit again holds for one order: until an answer says otherwise the job may be in the queue,
    /// and is looked up before the next one. First orders need no note: the lock on the host holds up the second.
    fn use_up<'a>(&mut self, jobs: impl Iterator<Item = &'a &'a JobRecord>) {
        for token in jobs.map(|job| job.token()) {
            if self.refused.remove(&token) || self.unclear.contains_key(&token) {
                self.unclear.insert(token, Instant::now());
            }
        }
    }

    fn may_be_queued(&self, job: &JobRecord) -> bool {
        let token = job.token();
        self.unclear.contains_key(&token) || self.sent.contains_key(&token)
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        let rest = self.resting.values().map(|until| until.saturating_duration_since(now)).min();
        rest.unwrap_or(Duration::MAX).max(Duration::from_millis(1))
    }
}

/// Returns uploaded jobs, at most as many per worker as fit under its limit.
///
/// A job whose submission is unclear may be in the queue already: it takes a place, and is returned to be looked up.
async fn uploaded(
    act: &Act,
    host: &HostPlan,
    memory: &Memory,
    ending: &[Cancellation],
) -> Result<Vec<JobRecord>, Hindrance> {
    let awake: Vec<&Worker> =
        host.workers.iter().filter(|worker| !memory.resting.contains_key(&worker.name)).collect();
    let limited = awake.iter().any(|worker| worker.max_jobs.is_some());
    let in_queue = [State::Submitted, State::Running];
    let load = if limited { act.stores.queue.load(&in_queue).await? } else { BTreeMap::new() };
    let mut jobs = Vec::new();
    for worker in awake.iter().filter(|worker| worker.max_jobs.is_some()) {
        let ours = [worker.name.clone()];
        let queued = count(&load, &ours, State::Submitted) + count(&load, &ours, State::Running);
        let room = u64::from(worker.max_jobs.unwrap_or(u32::MAX)).saturating_sub(queued);
        let found = waiting(act, ours.to_vec()).await?;
        let (perhaps_queued, fresh): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|job| memory.may_be_queued(job));
        let elsewhere = memory.sent.values().filter(|sent| sent.job.worker == worker.name);
        let elsewhere =
            elsewhere.filter(|sent| perhaps_queued.iter().all(|job| job.token() != sent.job.token())).count();
        let ending = ending.iter().filter(|order| order.worker == worker.name);
        let ending = ending.filter(|order| !memory.sent.contains_key(&order.token)).count();
        let taken = perhaps_queued.len() + elsewhere + ending;
        let room = usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(taken);
        jobs.extend(perhaps_queued);
        jobs.extend(fresh.into_iter().take(room));
    }
    let unlimited: Vec<String> =
        awake.iter().filter(|worker| worker.max_jobs.is_none()).map(|worker| worker.name.clone()).collect();
    if !unlimited.is_empty() {
        jobs.extend(waiting(act, unlimited).await?);
    }
    Ok(jobs)
}

/// Returns the next batch of uploaded jobs of these workers.
async fn waiting(act: &Act, workers: Vec<String>) -> Result<Vec<JobRecord>, Hindrance> {
    let (states, due, detail) = (vec![State::Uploaded], act.now(), Detail::Summary);
    Ok(act.stores.queue.work(&Work { states, workers, due, limit: BATCH, detail }).await?)
}

type Group<'a> = (Arc<dyn Scheduler>, Vec<&'a JobRecord>);

fn by_scheduler<'a>(host: &HostPlan, jobs: impl IntoIterator<Item = &'a JobRecord>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<&'static str, Group<'a>> = BTreeMap::new();
    for job in jobs {
        let Some(worker) = host.worker(&job.worker) else { continue };
        let group = groups.entry(worker.scheduler.name());
        group.or_insert_with(|| (Arc::clone(&worker.scheduler), Vec::new())).1.push(job);
    }
    groups.into_values().collect()
}

async fn submit(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
    jobs: &[JobRecord],
) -> Result<Vec<Move>, Hindrance> {
    let settled = look_up(act, host, memory, jobs).await?;
    let to_submit = jobs.iter().filter(|job| match memory.unclear.get(&job.token()) {
        None => true,
        Some(_) => settled.get(&job.token()) == Some(&Whereabouts::Nowhere),
    });
    let groups = by_scheduler(host, to_submit);
    let limit = limit_of(host);
    let batch: Vec<Operation> = groups.iter().map(|group| order(group, memory, limit)).collect();
    let mut moves: Vec<Move> =
        jobs.iter().filter_map(|job| adopted(act, job, settled.get(&job.token())?)).collect();
    if batch.is_empty() {
        return Ok(moves);
    }
    memory.use_up(groups.iter().flat_map(|(_, jobs)| jobs));
    for job in groups.iter().flat_map(|(_, jobs)| jobs) {
        memory.sent.entry(job.token()).or_insert_with(|| Sent {
            job: (*job).clone(),
            id: None,
            is_ending: false,
        });
    }
    let answers = act.perform(host, batch, limit).await?;
    for ((scheduler, jobs), answer) in groups.iter().zip(answers) {
        let orders: Vec<ToSubmit> = jobs.iter().map(|job| order_of(job, memory)).collect();
        let read = printed(&answer)
            .map(|printed| submission::read_submissions(&printed, &orders, scheduler.as_ref()));
        let Some(Ok(submissions)) = read else {
            tracing::warn!(
                host = host.transport.host(),
                "no usable answer from {}; its submissions are looked up",
                scheduler.name()
            );
            continue;
        };
        let results = jobs.iter().zip(submissions);
        moves.extend(results.filter_map(|(job, submission)| judge(act, memory, job, submission)));
    }
    Ok(moves)
}

fn order(group: &Group<'_>, memory: &Memory, limit: Duration) -> Operation {
    let orders: Vec<ToSubmit> = group.1.iter().map(|job| order_of(job, memory)).collect();
    question(submission::submission(group.0.as_ref(), &orders), limit)
}

fn order_of(job: &JobRecord, memory: &Memory) -> ToSubmit {
    let token = job.token();
    let again = memory.unclear.contains_key(&token) || memory.refused.contains(&token);
    let mode = if again { Mode::Again } else { Mode::First };
    ToSubmit { mode, token, run_dir: job.run_dir.clone().unwrap_or_default() }
}

/// What a look-up says about an unclear submission.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whereabouts {
    Queued(String),
    /// The scheduler answered, long enough after the submission, and does not know it.
    Nowhere,
}

/// Asks the schedulers for the tokens of unclear submissions.
async fn look_up(
    act: &Act,
    host: &HostPlan,
    memory: &Memory,
    jobs: &[JobRecord],
) -> Result<BTreeMap<Token, Whereabouts>, Hindrance> {
    let unclear = jobs.iter().filter(|job| memory.unclear.contains_key(&job.token()));
    let groups = by_scheduler(host, unclear);
    let tokens: Vec<Vec<Token>> =
        groups.iter().map(|(_, jobs)| jobs.iter().map(|job| job.token()).collect()).collect();
    if groups.is_empty() {
        return Ok(BTreeMap::new());
    }
    let limit = limit_of(host);
    let asked =
        groups.iter().zip(&tokens).map(|((scheduler, _), tokens)| question(scheduler.find(tokens), limit));
    let answers = act.perform(host, asked.collect(), limit).await?;
    let mut settled = BTreeMap::new();
    for (((scheduler, _), tokens), answer) in groups.iter().zip(&tokens).zip(answers) {
        let Some(Ok(found)) = printed(&answer).map(|printed| scheduler.read_find(&printed, tokens)) else {
            continue;
        };
        for (token, ids) in tokens.iter().zip(found) {
            let old_enough = memory.unclear.get(token).is_some_and(|since| since.elapsed() >= settle(host));
            match ids.into_iter().next() {
                Some(id) => drop(settled.insert(token.clone(), Whereabouts::Queued(id))),
                None if old_enough => drop(settled.insert(token.clone(), Whereabouts::Nowhere)),
                None => {}
            }
        }
    }
    Ok(settled)
}

fn settle(host: &HostPlan) -> Duration {
    match host.place {
        Place::Here => SETTLE_HERE,
        Place::Away => SETTLE_AWAY,
    }
}

fn adopted(act: &Act, job: &JobRecord, found: &Whereabouts) -> Option<Move> {
    let Whereabouts::Queued(id) = found else { return None };
    Some(accepted(act, job, id.clone()).because("found in the queue after an unclear submission"))
}

fn accepted(act: &Act, job: &JobRecord, id: String) -> Move {
    let changes = [Change::ProcessId(Some(id)), Change::QueueState(Some("QUEUED".to_owned()))];
    Move::step(job, Event::Submit, act.now(), &act.by).with(changes)
}

/// Returns the move that one scheduler's answer justifies; none while it is unclear.
fn judge(act: &Act, memory: &mut Memory, job: &JobRecord, submission: Submission) -> Option<Move> {
    match submission {
        Submission::Accepted { id } => {
            memory.sent.entry(job.token()).and_modify(|sent| sent.id = Some(id.clone()));
            Some(accepted(act, job, id))
        }
        Submission::Wait { why } => {
            memory.rest(job, &why);
            memory.sent.remove(&job.token());
            memory.unclear.remove(&job.token());
            memory.refused.insert(job.token());
            None
        }
        // An earlier try whose answer was lost may be in the queue: the next one must find its lock.
        Submission::NotTried { why } => {
            memory.rest(job, &why);
            None
        }
        // File systems lag: a few tries before the user is asked.
        Submission::Missing { why } => Some(step_failed(act, job, Fault::Passing(why))),
        Submission::Refused { why } => {
            memory.sent.remove(&job.token());
            Some(step_failed(act, job, Fault::Lasting(why)))
        }
        Submission::Unclear { why } => {
            tracing::warn!(
                job = job.db_id,
                "the submission of job {} is unclear and will be looked up: {why}",
                job.db_id
            );
            memory.unclear.entry(job.token()).or_insert_with(Instant::now);
            None
        }
    }
}

/// Stores the moves and returns how many jobs were submitted.
async fn record(act: &Act, host: &HostPlan, memory: &mut Memory, moves: &[Move]) -> Result<usize, Hindrance> {
    if moves.is_empty() {
        return Ok(0);
    }
    let applied = act.stores.queue.apply(moves).await?;
    let mut submitted = 0;
    for (one, applied) in moves.iter().zip(applied) {
        let token = Token::new(&one.key, one.attempt);
        memory.unclear.remove(&token);
        memory.refused.remove(&token);
        if applied == Applied::Done {
            memory.sent.remove(&token);
            submitted += usize::from(one.event == Some(Event::Submit));
        }
    }
    if submitted > 0 {
        act.host_wake(host).iter().for_each(|wake| wake.poll.notify_one());
        act.wake.checkout.notify_one();
    }
    Ok(submitted)
}

/// Looks what became of jobs that may be in the queue although nothing says so: those whose document somebody moved on
/// while they were submitted are to be ended, and take their places until they are. Returns all that are to be ended.
///
/// A job that is still to be submitted, or merely locked, stays: its submission is answered with the same id next
/// time.
async fn settle_sent(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
) -> Result<Vec<Cancellation>, Hindrance> {
    if !memory.sent.is_empty() {
        let keys = memory.sent.values().map(|sent| sent.job.key.clone()).collect();
        let (filter, page) =
            (JobFilter { keys, ..JobFilter::default() }, Page { limit: None, ..Page::default() });
        let now = act.stores.queue.jobs(&filter, &page, Detail::Summary).await?;
        let now: BTreeMap<&JobKey, &JobRecord> = now.iter().map(|job| (&job.key, job)).collect();
        memory.sent.retain(|_, sent| sent.is_ending || !is_settled(sent, &now));
        let lost = memory.sent.values().filter(|sent| !sent.is_ending);
        let lost = lost.filter(|sent| is_abandoned(&sent.job, now.get(&sent.job.key).copied()));
        let lost: Vec<_> = lost.map(|sent| (sent.job.clone(), sent.id.clone())).collect();
        abandoned(act, host, &lost).await?;
        for (job, _) in &lost {
            memory.sent.entry(job.token()).and_modify(|sent| sent.is_ending = true);
        }
    }
    let ending = act.stores.cancellations.cancellations().await?;
    let tokens: BTreeSet<&Token> = ending.iter().map(|order| &order.token).collect();
    memory.sent.retain(|token, sent| !sent.is_ending || tokens.contains(token));
    Ok(ending)
}

/// Returns whether the document of a job says that it is in the queue, or how it ended.
fn is_settled(sent: &Sent, now: &BTreeMap<&JobKey, &JobRecord>) -> bool {
    now.get(&sent.job.key).is_some_and(|job| {
        let is_mine = job.ferry.attempt == sent.job.ferry.attempt;
        is_mine && job.state != State::Uploaded && !is_abandoned(&sent.job, Some(*job))
    })
}
