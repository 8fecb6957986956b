//! SUBMITTED → RUNNING → TERMINATED (or DOWNLOADED on this machine): one question per host for all its jobs.
//!
//! Two sources are asked in one round trip. The *spool* of each worker holds an empty file per ended attempt, written
//! by the wrapper after its end marker: one listing tells all that ended. The *scheduler* is asked more rarely; it
//! tells what runs, and what left the queue without an end marker. A job whose scheduler says it ended, or does not
//! know it, is looked at in its run directory, then in the accounting; only when both are silent for a grace time is
//! it taken for ended. No answer changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::act::{Act, Hindrance};
use super::cancel::{abandoned, is_abandoned};
use super::plan::{HostPlan, Place};
use super::reconcile::{Found, Why};
use super::remote::{fetched_paths, limit_of, printed, question};
use crate::model::ids::Token;
use crate::model::job::{JobRecord, Outcome};
use crate::model::query::Detail;
use crate::model::state::{Event, State};
use crate::scheduler::{Observed, Phase, Scheduler, Status, Watched};
use crate::store::{Applied, Change, Move, Work};
use crate::transport::{Answer, Destination, Fetch, FetchFile, Operation, Part};
use crate::worker::layout;

/// The most jobs one host is asked about. Beyond it the oldest come first; the others follow when those end.
const MOST_WATCHED: u32 = 100_000;

/// Jobs are read again from the store after this time even without a hint: users and other tools change them too.
const REFRESH: Duration = Duration::from_secs(5);

/// Bounds of the pause between two listings of the spool, for hosts here and away. The pause grows with the time
/// since anything last happened on the host, so that a short job is seen at once and a long one costs next to
/// nothing.
const SPOOL_FLOOR_HERE: Duration = Duration::from_millis(15);
const SPOOL_FLOOR_AWAY: Duration = Duration::from_millis(200);
const SPOOL_CEILING_HERE: Duration = Duration::from_secs(1);

/// The least pause between two questions to the processes of this machine. Elsewhere the workers' own floor holds.
const QUEUE_FLOOR_HERE: Duration = Duration::from_secs(1);

/// How long a job may be missing from the queue, with no end marker and no accounting, before it is taken for ended:
/// here nothing lags behind; away, file systems and accounting do.
const GRACE_HERE: Duration = Duration::from_secs(3);
const GRACE_AWAY: Duration = Duration::from_secs(60);

/// What the poll of one host remembers between two ticks. Losing it costs time, never a job.
#[derive(Default)]
pub struct Memory {
    watched: Vec<JobRecord>,
    /// Jobs that were watched and are no longer found; nobody knows yet why.
    vanished: Vec<JobRecord>,
    read: Option<Instant>,
    asked: Option<Instant>,
    changed: Option<Instant>,
    /// Since when a job is missing or said to have ended, without an end marker.
    doubtful: BTreeMap<Token, Instant>,
    /// Spool entries to be removed with the next round trip: their jobs have moved on.
    done: Vec<String>,
    /// Spool entries of jobs that this project does not have.
    foreign: BTreeSet<Token>,
}

/// What was learned about the watched jobs in one round trip.
#[derive(Default)]
struct Learned {
    /// Ended attempts, and the worker whose spool has them.
    spooled: BTreeMap<Token, String>,
    observed: BTreeMap<Token, Observed>,
}

/// Asks the host about all its jobs in the queue, once, and records what changed.
pub async fn activate(act: &Act, host: &HostPlan, memory: &mut Memory, why: Why) -> Result<Found, Hindrance> {
    let pause = act.pause_left(host);
    if !pause.is_zero() {
        return Ok(Found::Nothing { again_in: pause });
    }
    refresh(act, host, memory, why).await?;
    if memory.watched.is_empty() && memory.done.is_empty() {
        return Ok(Found::Nothing { again_in: REFRESH });
    }
    let learned = ask(act, host, memory).await?;
    adopt_unknown(act, memory, &learned).await?;
    let moves = decide(act, host, memory, &learned).await?;
    record(act, host, memory, &learned, &moves).await?;
    Ok(Found::Nothing { again_in: memory.spool_pause(act, host) })
}

async fn refresh(act: &Act, host: &HostPlan, memory: &mut Memory, why: Why) -> Result<(), Hindrance> {
    let stale = memory.read.is_none_or(|read| read.elapsed() >= REFRESH);
    if why == Why::Timer && !stale {
        return Ok(());
    }
    let work = Work {
        states: vec![State::Submitted, State::Running],
        workers: host.worker_names(),
        due: act.now(),
        limit: MOST_WATCHED,
        detail: Detail::Summary,
    };
    let known: BTreeSet<Token> = memory.watched.iter().map(JobRecord::token).collect();
    let watched = act.stores.queue.work(&work).await?;
    let before = std::mem::replace(&mut memory.watched, watched);
    memory.read = Some(Instant::now());
    if memory.watched.iter().any(|job| !known.contains(&job.token())) {
        memory.changed = Some(Instant::now());
    }
    let now: BTreeSet<Token> = memory.watched.iter().map(JobRecord::token).collect();
    memory.doubtful.retain(|token, _| now.contains(token));
    memory.vanished.extend(before);
    memory.vanished.retain(|job| !now.contains(&job.token()));
    look_after_vanished(act, host, memory).await
}

/// Looks why watched jobs are no longer found, though none of our moves took them away: somebody holds them for a while,
/// or has stopped them, deleted them or run them again. Then their attempts are ended.
async fn look_after_vanished(act: &Act, host: &HostPlan, memory: &mut Memory) -> Result<(), Hindrance> {
    if memory.vanished.is_empty() {
        return Ok(());
    }
    let keys = memory.vanished.iter().map(|job| job.key.clone()).collect();
    let filter = crate::model::query::JobFilter { keys, ..Default::default() };
    let page = crate::model::query::Page { limit: None, ..Default::default() };
    let found = act.stores.queue.jobs(&filter, &page, Detail::Summary).await?;
    let now: BTreeMap<_, &JobRecord> = found.iter().map(|job| (&job.key, job)).collect();
    let lost = memory.vanished.iter().filter(|job| is_abandoned(job, now.get(&job.key).copied()));
    let lost: Vec<_> = lost.map(|job| (job.clone(), job.remote.process_id.clone())).collect();
    abandoned(act, host, &lost).await?;
    let waits = |job: &JobRecord| {
        now.get(&job.key).is_some_and(|now| {
            let queued = matches!(now.state, State::Submitted | State::Running);
            queued && now.ferry.attempt == job.ferry.attempt
        })
    };
    memory.vanished.retain(waits);
    Ok(())
}

impl Memory {
    fn quiet_for(&self) -> Duration {
        self.changed.map_or(Duration::ZERO, |changed| changed.elapsed())
    }

    fn spool_pause(&self, act: &Act, host: &HostPlan) -> Duration {
        let (floor, ceiling) = match host.place {
            Place::Here => (SPOOL_FLOOR_HERE, SPOOL_CEILING_HERE),
            Place::Away => (SPOOL_FLOOR_AWAY, act.plan.options.poll_every),
        };
        (self.quiet_for() / 10).clamp(floor, ceiling.max(floor))
    }

    fn queue_is_due(&self, act: &Act, host: &HostPlan) -> bool {
        let floor = match host.place {
            Place::Here => QUEUE_FLOOR_HERE,
            Place::Away => host.workers.iter().map(|worker| worker.poll_floor).max().unwrap_or_default(),
        };
        let pause = (self.quiet_for() / 5).clamp(floor, act.plan.options.poll_every.max(floor));
        self.asked.is_none_or(|asked| asked.elapsed() >= pause)
    }
}

/// Lists the spools and, when it is due, asks the schedulers; one round trip.
async fn ask(act: &Act, host: &HostPlan, memory: &mut Memory) -> Result<Learned, Hindrance> {
    let mut batch = vec![Operation::Remove { files: memory.done.clone() }];
    let spools: Vec<String> = host.workers.iter().map(|w| layout::spool(&w.work_dir)).collect();
    batch.extend(spools.iter().map(|directory| Operation::List { directory: directory.clone() }));
    let due = memory.queue_is_due(act, host);
    let groups = if due { by_scheduler(host, &memory.watched) } else { Vec::new() };
    let limit = limit_of(host);
    batch.extend(groups.iter().map(|(scheduler, watched)| question(scheduler.poll(watched), limit)));
    let answers = act.perform(host, batch, limit).await?;
    memory.done.clear();
    let mut learned = Learned::default();
    let mut answers = answers.into_iter().skip(1);
    for (spool, answer) in spools.iter().zip(answers.by_ref()) {
        learned.take_spool(spool, answer);
    }
    for ((scheduler, watched), answer) in groups.iter().zip(answers) {
        learned.take_queue(host, scheduler.as_ref(), watched, &answer);
    }
    if due {
        memory.asked = Some(Instant::now());
    }
    Ok(learned)
}

impl Learned {
    fn take_spool(&mut self, spool: &str, answer: Answer) {
        if let Answer::Names(names) = answer {
            let tokens = names.iter().filter_map(|name| Token::parse(name));
            self.spooled.extend(tokens.map(|token| (token, spool.to_owned())));
        }
    }

    fn take_queue(
        &mut self,
        host: &HostPlan,
        scheduler: &dyn Scheduler,
        watched: &[Watched],
        answer: &Answer,
    ) {
        let observed = printed(answer).and_then(|printed| scheduler.read_poll(&printed, watched).ok());
        let Some(observed) = observed else {
            let name = host.transport.host();
            tracing::debug!(
                host = name,
                "no usable answer from {} on {name}; nothing is changed",
                scheduler.name()
            );
            return;
        };
        self.observed.extend(watched.iter().map(|job| job.token.clone()).zip(observed));
    }
}

/// Returns the watched jobs of each scheduler of the host.
fn by_scheduler(host: &HostPlan, jobs: &[JobRecord]) -> Vec<(Arc<dyn Scheduler>, Vec<Watched>)> {
    let mut groups: BTreeMap<&'static str, (Arc<dyn Scheduler>, Vec<Watched>)> = BTreeMap::new();
    for job in jobs {
        let Some(worker) = host.worker(&job.worker) else { continue };
        let Some(id) = job.remote.process_id.clone() else { continue };
        let run_dir = job.run_dir.clone().unwrap_or_default();
        let watched = Watched { id, token: job.token(), run_dir, submitted: None };
        let group = groups.entry(worker.scheduler.name());
        group.or_insert_with(|| (Arc::clone(&worker.scheduler), Vec::new())).1.push(watched);
    }
    groups.into_values().collect()
}

/// Looks up spool entries of jobs that are not watched: those of jobs that moved on are to be removed, those of jobs
/// that this project does not have are left alone.
async fn adopt_unknown(act: &Act, memory: &mut Memory, learned: &Learned) -> Result<(), Hindrance> {
    let watched: BTreeSet<Token> = memory.watched.iter().map(JobRecord::token).collect();
    let unknown: Vec<&Token> =
        learned.spooled.keys().filter(|t| !watched.contains(*t) && !memory.foreign.contains(*t)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let keys = unknown.iter().filter_map(|token| token.parts()).map(|(key, _)| key).collect();
    let filter = crate::model::query::JobFilter { keys, ..Default::default() };
    let page = crate::model::query::Page { limit: None, ..Default::default() };
    let found = act.stores.queue.jobs(&filter, &page, Detail::Summary).await?;
    let alive = |job: &&JobRecord| {
        matches!(job.state, State::CheckedOut | State::Uploaded | State::Submitted | State::Running)
    };
    let pending: BTreeSet<Token> = found.iter().filter(alive).map(JobRecord::token).collect();
    let known: BTreeSet<_> = found.iter().map(|job| job.key.clone()).collect();
    for token in unknown {
        let ours = token.parts().is_some_and(|(key, _)| known.contains(&key));
        if !ours {
            memory.foreign.insert(token.clone());
        } else if pending.contains(token) {
            // Its submission is not recorded yet: read the jobs again at the next tick.
            memory.read = None;
        } else if let Some(spool) = learned.spooled.get(token) {
            memory.done.push(format!("{spool}/{token}"));
        }
    }
    Ok(())
}

/// Returns the moves that the answers, the run directories and the accounting justify.
async fn decide(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
    learned: &Learned,
) -> Result<Vec<Move>, Hindrance> {
    let mut moves = Vec::new();
    let mut doubtful = Vec::new();
    for job in &memory.watched {
        let token = job.token();
        if learned.spooled.contains_key(&token) {
            moves.push(ended(act, host, job, None));
            continue;
        }
        match learned.observed.get(&token) {
            None => {}
            Some(Observed::Seen(status)) if !matches!(status.phase, Phase::Ended(_)) => {
                memory.doubtful.remove(&token);
                moves.extend(alive(act, job, status));
            }
            Some(Observed::Seen(status)) => doubtful.push((job, Some(status.clone()))),
            Some(Observed::Absent) => doubtful.push((job, None)),
        }
    }
    if !doubtful.is_empty() {
        moves.extend(examine(act, host, &mut memory.doubtful, doubtful).await?);
    }
    Ok(moves)
}

/// Returns the move for a job that the scheduler has: RUNNING if it runs, a note if its word is new.
fn alive(act: &Act, job: &JobRecord, status: &Status) -> Option<Move> {
    let queue_state = queue_state(&status.phase);
    if job.state == State::Submitted && status.phase == Phase::Running {
        let changes = [Change::QueueState(Some(queue_state.to_owned())), Change::StartTime(Some(act.now()))];
        return Some(Move::step(job, Event::Start, act.now(), &act.by).with(changes));
    }
    let new = job.remote.queue_state.as_deref() != Some(queue_state);
    let note = Change::QueueState(Some(queue_state.to_owned()));
    new.then(|| Move::of(job, None, act.now(), &act.by).with([note]))
}

/// Returns jobflow-remote's word (`QState`) for a phase.
fn queue_state(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending => "QUEUED",
        Phase::Held => "QUEUED_HELD",
        Phase::Running => "RUNNING",
        Phase::Suspended => "SUSPENDED",
        Phase::Ended(_) => "DONE",
        Phase::Unknown => "UNDETERMINED",
    }
}

type Doubtful<'a> = Vec<(&'a JobRecord, Option<Status>)>;

/// Looks into the run directories of jobs that seem to have ended, then at the accounting of those without a marker.
async fn examine(
    act: &Act,
    host: &HostPlan,
    since: &mut BTreeMap<Token, Instant>,
    doubtful: Doubtful<'_>,
) -> Result<Vec<Move>, Hindrance> {
    let batch = doubtful.iter().map(|(job, _)| marker_fetch(job)).collect();
    let answers = act.perform(host, batch, limit_of(host)).await?;
    let mut moves = Vec::new();
    let mut missing = Vec::new();
    for ((job, status), answer) in doubtful.into_iter().zip(answers) {
        if fetched_paths(&answer).is_some_and(|paths| !paths.is_empty()) {
            moves.push(ended(act, host, job, status.as_ref()));
        } else if matches!(answer, Answer::Fetched(_)) {
            let first = *since.entry(job.token()).or_insert_with(Instant::now);
            if first.elapsed() >= grace(host) {
                missing.push((job, status));
            }
        }
    }
    if !missing.is_empty() {
        moves.extend(give_up(act, host, since, missing).await?);
    }
    Ok(moves)
}

fn grace(host: &HostPlan) -> Duration {
    match host.place {
        Place::Here => GRACE_HERE,
        Place::Away => GRACE_AWAY,
    }
}

fn marker_fetch(job: &JobRecord) -> Operation {
    let file = FetchFile {
        path: layout::END.to_owned(),
        limit_bytes: layout::MARKER_LIMIT_BYTES,
        part: Part::Whole,
    };
    let directory = job.run_dir.clone().unwrap_or_default();
    Operation::Fetch(Fetch { directory, files: vec![file], into: Destination::Memory })
}

/// Asks the accounting about jobs whose grace is over. Those that it calls alive stay; no answer keeps all.
async fn give_up(
    act: &Act,
    host: &HostPlan,
    since: &mut BTreeMap<Token, Instant>,
    missing: Doubtful<'_>,
) -> Result<Vec<Move>, Hindrance> {
    let (mut moves, mut unknown) = (Vec::new(), Vec::new());
    for (job, status) in missing {
        match status {
            Some(status) => moves.push(ended(act, host, job, Some(&status))),
            None => unknown.push(job.clone()),
        }
    }
    let groups = by_scheduler(host, &unknown);
    let by_token: BTreeMap<Token, &JobRecord> = unknown.iter().map(|job| (job.token(), job)).collect();
    for (scheduler, watched) in groups {
        let Some(observed) = account(act, host, scheduler.as_ref(), &watched).await? else { continue };
        for (watched, observed) in watched.iter().zip(observed) {
            let Some(job) = by_token.get(&watched.token) else { continue };
            match observed {
                Observed::Seen(status) if !matches!(status.phase, Phase::Ended(_)) => {
                    since.remove(&watched.token);
                }
                Observed::Seen(status) => moves.push(ended(act, host, job, Some(&status))),
                Observed::Absent => {
                    moves.push(ended(act, host, job, None).because("it vanished from the queue"));
                }
            }
        }
    }
    Ok(moves)
}

async fn account(
    act: &Act,
    host: &HostPlan,
    scheduler: &dyn Scheduler,
    watched: &[Watched],
) -> Result<Option<Vec<Observed>>, Hindrance> {
    let Some(asked) = scheduler.accounting(watched) else {
        return Ok(Some(vec![Observed::Absent; watched.len()]));
    };
    let answers = act.perform(host, vec![question(asked, limit_of(host))], limit_of(host)).await?;
    let printed = answers.first().and_then(printed);
    Ok(printed.and_then(|printed| scheduler.read_accounting(&printed, watched).ok()))
}

/// Returns the move of a job that left the queue.
fn ended(act: &Act, host: &HostPlan, job: &JobRecord, status: Option<&Status>) -> Move {
    let event = match host.place {
        Place::Here => Event::EndHere,
        Place::Away => Event::End,
    };
    let outcome =
        status.map(|status| Outcome { scheduler_state: Some(status.word.clone()), ..Outcome::default() });
    let changes = [Change::QueueState(Some("DONE".to_owned())), Change::Outcome(outcome)];
    let delay = host.worker(&job.worker).and_then(|worker| worker.download_delay);
    let not_before = delay
        .filter(|_| host.place == Place::Away)
        .map(|delay| Change::RetryTimeLimit(Some(act.later(delay))));
    Move::step(job, event, act.now(), &act.by).with(changes).with(not_before)
}

/// Stores the moves, forgets the jobs that moved on, and wakes the next step.
async fn record(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
    learned: &Learned,
    moves: &[Move],
) -> Result<(), Hindrance> {
    if moves.is_empty() {
        return Ok(());
    }
    let applied = act.stores.queue.apply(moves).await?;
    memory.changed = Some(Instant::now());
    let stays = |m: &Move| matches!(m.event, None | Some(Event::Start));
    let mut gone = BTreeSet::new();
    for (one, applied) in moves.iter().zip(applied) {
        let token = Token::new(&one.key, one.attempt);
        if stays(one) || applied == Applied::Lost {
            memory.read = None;
            continue;
        }
        if let Some(spool) = learned.spooled.get(&token) {
            memory.done.push(format!("{spool}/{token}"));
        }
        memory.doubtful.remove(&token);
        gone.insert(token);
    }
    memory.watched.retain(|job| !gone.contains(&job.token()));
    if !gone.is_empty() {
        tracing::debug!(host = host.transport.host(), jobs = gone.len(), "{} jobs ended", gone.len());
        match host.place {
            Place::Here => act.wake.complete.notify_one(),
            Place::Away => act.host_wake(host).iter().for_each(|wake| wake.collect.notify_one()),
        }
        act.host_wake(host).iter().for_each(|wake| wake.submit.notify_one());
        act.wake.checkout.notify_one();
    }
    Ok(())
}
