//! DOWNLOADED → COMPLETED or FAILED (or READY again): reads the results, stores the outputs, releases the children.
//!
//! Outputs and kept files are stored before the job's move, each in a way that may be done twice: a runner that dies
//! in between does all of it again and comes to the same database. The job's own exit code decides; where there is
//! no end marker the job was killed, and nothing of it is taken for a result.

use std::collections::{BTreeMap, HashSet};

use super::act::{Act, Hindrance};
use super::collect;
use super::plan::{Downloads, HostPlan, Place};
use super::reconcile::Found;
use super::results;
use super::verdict::{self, Reading, Verdict};
use crate::model::ids::Token;
use crate::model::job::JobRecord;
use crate::model::query::Detail;
use crate::model::state::{Event, State};
use crate::store::{Applied, Change, Ending, FileSource, Move, NewFile, OutputDocument, Work};
use crate::transport::{Answer, Destination, Fetch, Operation};
use crate::worker::layout;

/// Jobs per round: their results are in memory together.
const BATCH: u32 = 64;

/// The limit of reading one round's results from this machine's disk.
const READ_LIMIT: std::time::Duration = std::time::Duration::from_secs(600);

/// What the completion remembers.
#[derive(Default)]
pub struct Memory {
    /// Jobs whose fetched results were gone from this machine and were fetched again: once is enough.
    fetched_again: HashSet<Token>,
}

/// A job and its place.
struct Case<'a> {
    job: &'a JobRecord,
    host: &'a HostPlan,
}

/// Completes downloaded jobs.
pub async fn activate(act: &Act, memory: &mut Memory) -> Result<Found, Hindrance> {
    act.right.check()?;
    let work = Work {
        states: vec![State::Downloaded],
        workers: act.plan.worker_names(),
        due: act.now(),
        limit: BATCH,
        detail: Detail::Full,
    };
    let jobs = act.stores.queue.work(&work).await?;
    if jobs.is_empty() {
        memory.fetched_again.clear();
        return Ok(Found::Nothing { again_in: act.plan.options.advance_every });
    }
    let cases: Vec<Case<'_>> = jobs
        .iter()
        .filter_map(|job| act.plan.worker(&job.worker).map(|(host, _)| Case { job, host }))
        .collect();
    let answers = read(act, &cases).await?;
    let cases: Vec<(Case<'_>, Reading)> = cases.into_iter().zip(answers).collect();
    let (gone, there): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|(case, reading)| is_gone(memory, case, &reading.read));
    fetch_again(act, memory, gone.into_iter().map(|(case, _)| case).collect()).await?;
    let verdicts: Vec<(&JobRecord, Verdict)> = there
        .iter()
        .map(|(case, reading)| (case.job, verdict::judge(&results::copies(act, case.job), case.job, reading)))
        .collect();
    store(act, &verdicts).await?;
    finish(act, &verdicts).await?;
    clean(act, &there).await;
    Ok(Found::More)
}

/// Reads markers, logs and results of all cases from this machine's disk, in one round trip.
///
/// Files to be kept are copied, so that what is hashed is what is stored, whoever writes to the run directory.
async fn read(act: &Act, cases: &[Case<'_>]) -> Result<Vec<Reading>, Hindrance> {
    let operations = cases.iter().flat_map(|case| {
        let directory = results::folder(act, case.host, case.job).display().to_string();
        let fetch = |files, into| Operation::Fetch(Fetch { directory: directory.clone(), files, into });
        let copies = Destination::Folder(results::copies(act, case.job));
        [fetch(results::to_read(case.job), Destination::Memory), fetch(results::to_keep(case.job), copies)]
    });
    let answers = act.plan.here.perform(operations.collect(), READ_LIMIT).await?;
    let mut answers = answers.into_iter();
    let pairs = std::iter::from_fn(|| Some(Reading { read: answers.next()?, kept: answers.next()? }));
    Ok(pairs.collect())
}

/// Returns whether the results were fetched by another machine, or removed here: nothing at all of them is there.
fn is_gone(memory: &Memory, case: &Case<'_>, answer: &Answer) -> bool {
    let nothing = super::remote::fetched_paths(answer).is_some_and(|paths| paths.is_empty());
    case.host.place == Place::Away && nothing && !memory.fetched_again.contains(&case.job.token())
}

async fn fetch_again(act: &Act, memory: &mut Memory, gone: Vec<Case<'_>>) -> Result<(), Hindrance> {
    let mut by_host: BTreeMap<&str, (&HostPlan, Vec<JobRecord>)> = BTreeMap::new();
    for case in gone {
        let group = by_host.entry(case.host.transport.host());
        group.or_insert_with(|| (case.host, Vec::new())).1.push(case.job.clone());
    }
    for (host, jobs) in by_host.into_values() {
        collect::fetch(act, host, &jobs).await?;
        memory.fetched_again.extend(jobs.iter().map(JobRecord::token));
    }
    Ok(())
}

/// Stores the outputs and the kept files of all jobs that ended well.
async fn store(act: &Act, verdicts: &[(&JobRecord, Verdict)]) -> Result<(), Hindrance> {
    let mut files: Vec<NewFile> = Vec::new();
    let mut outputs: Vec<OutputDocument> = Vec::new();
    for (_, verdict) in verdicts {
        if let Verdict::Completed { output, kept, .. } = verdict {
            outputs.push(output.clone());
            let source = |path: &std::path::PathBuf| FileSource::Path(path.clone());
            files.extend(
                kept.iter().map(|(sha256, path)| NewFile { sha256: sha256.clone(), source: source(path) }),
            );
        }
    }
    if !files.is_empty() {
        act.stores.files.put_files(&files).await?;
    }
    if !outputs.is_empty() {
        act.stores.job_store.outputs.put_outputs(&outputs).await?;
    }
    Ok(())
}

/// Moves the jobs on and wakes whoever can go on with it.
async fn finish(act: &Act, verdicts: &[(&JobRecord, Verdict)]) -> Result<(), Hindrance> {
    let moves: Vec<Move> = verdicts.iter().map(|(job, verdict)| the_move(act, job, verdict)).collect();
    let (again, ends): (Vec<Move>, Vec<Move>) =
        moves.into_iter().partition(|one| one.event == Some(Event::TryAgain));
    let ends: Vec<Ending> = ends.into_iter().map(Ending::from).collect();
    let finished: Vec<Applied> = if ends.is_empty() { Vec::new() } else { act.finish(&ends).await? };
    if !again.is_empty() {
        act.stores.queue.apply(&again).await?;
    }
    let lost = finished.iter().filter(|applied| **applied == Applied::Lost).count();
    tracing::debug!(jobs = ends.len(), lost, "completed or failed {} jobs", ends.len() - lost);
    act.wake.checkout.notify_one();
    Ok(())
}

fn the_move(act: &Act, job: &JobRecord, verdict: &Verdict) -> Move {
    match verdict {
        Verdict::Completed { times, outcome, .. } => {
            Move::step(job, Event::Complete, act.now(), &act.by).with(times.changes()).with([
                Change::Error(None),
                Change::QueueOut(None),
                Change::QueueErr(None),
                Change::Outcome(Some(outcome.clone())),
            ])
        }
        Verdict::Failed { why, times, outcome, retries, logs } => {
            let changes = times.changes().into_iter().chain([
                Change::Error(Some(why.clone())),
                Change::QueueOut(logs.out.clone()),
                Change::QueueErr(logs.err.clone()),
                Change::Outcome(Some(outcome.clone())),
            ]);
            let used = job.ferry.retries_used;
            if u32::try_from(used).is_ok_and(|used| used < retries.count) {
                tracing::info!(job = job.db_id, "job {} is tried again after: {why}", job.db_id);
                let again =
                    [Change::RetriesUsed(used + 1), Change::RetryTimeLimit(Some(act.later(retries.delay)))];
                return Move::step(job, Event::TryAgain, act.now(), &act.by)
                    .because(why)
                    .with(changes)
                    .with(again);
            }
            tracing::info!(job = job.db_id, "job {} failed: {why}", job.db_id);
            Move::step(job, Event::Fail, act.now(), &act.by).because(why).with(changes)
        }
    }
}

/// Removes what was fetched of completed jobs. Failing to do so costs disk, nothing else.
async fn clean(act: &Act, done: &[(Case<'_>, Reading)]) {
    let keep = act.plan.options.downloads == Downloads::Keep;
    let away = done.iter().filter(|(case, _)| case.host.place == Place::Away && !keep);
    let fetched = away.map(|(case, _)| {
        let directory = results::folder(act, case.host, case.job).display().to_string();
        Operation::RemoveTree { directory, marker: layout::INPUT.to_owned() }
    });
    let copied = done.iter().filter_map(|(case, _)| {
        let first = results::to_keep(case.job).into_iter().next()?;
        let directory = results::copies(act, case.job).display().to_string();
        Some(Operation::RemoveTree { directory, marker: first.path })
    });
    let removals: Vec<Operation> = fetched.chain(copied).collect();
    if !removals.is_empty()
        && let Err(error) = act.plan.here.perform(removals, READ_LIMIT).await
    {
        tracing::debug!("fetched results are left: {error}");
    }
}
