//! DOWNLOADED → COMPLETED or FAILED (or READY again): reads the results, stores the outputs, releases the children.
//!
//! Outputs and kept files are stored before the job's move, each in a way that may be done twice: a runner that dies
//! in between does all of it again and comes to the same database. The job's own exit code decides; where there is
//! no end marker the job was killed, and nothing of it is taken for a result.

use std::collections::{BTreeMap, HashSet};

use super::act::{Act, Hindrance};
use super::collect;
use super::job_stores::JobStores;
use super::plan::{Downloads, HostPlan, Place};
use super::reconcile::{self, Found};
use super::results::{self, PythonFiles};
use super::verdict::{self, Reading, Verdict};
use crate::model::ids::Token;
use crate::model::job::{Growth, JobRecord};
use crate::model::query::Detail;
use crate::model::state::{Event, State};
use crate::store::{
    Applied, BlobDocument, Change, Ending, FileSource, JobStore, Move, NewFile, OutputDocument, StoreError,
    Work,
};
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
    /// Of a job that is a Python function.
    python: Option<PythonFiles>,
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
    let job_stores = JobStores::of(act, &jobs).await?;
    let cases: Vec<Case<'_>> = jobs.iter().filter_map(|job| case(act, &job_stores, job)).collect();
    let answers = read(act, &cases).await?;
    let cases: Vec<(Case<'_>, Reading)> = cases.into_iter().zip(answers).collect();
    let (gone, there): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|(case, reading)| is_gone(memory, case, &reading.read));
    fetch_again(act, memory, gone.into_iter().map(|(case, _)| case).collect()).await?;
    let mut verdicts: Vec<(&JobRecord, Verdict)> =
        there.iter().map(|(case, reading)| (case.job, judge(act, case, reading))).collect();
    store(act, &job_stores, &mut verdicts).await?;
    finish(act, &mut verdicts).await?;
    clean(act, &there).await;
    Ok(Found::More)
}

fn case<'a>(act: &'a Act, job_stores: &JobStores<'_>, job: &'a JobRecord) -> Option<Case<'a>> {
    let (host, _) = act.plan.worker(&job.worker)?;
    Some(Case { job, host, python: PythonFiles::of(act, job, job_stores) })
}

fn judge(act: &Act, case: &Case<'_>, reading: &Reading) -> Verdict {
    verdict::judge(&results::copies(act, case.job), case.job, case.python.as_ref(), reading)
}

/// Reads markers, logs and results of all cases from this machine's disk, in one round trip.
///
/// Files to be kept are copied, so that what is hashed is what is stored, whoever writes to the run directory.
async fn read(act: &Act, cases: &[Case<'_>]) -> Result<Vec<Reading>, Hindrance> {
    let operations = cases.iter().flat_map(|case| {
        let directory = results::folder(act, case.host, case.job).display().to_string();
        let fetch = |files, into| Operation::Fetch(Fetch { directory: directory.clone(), files, into });
        let copies = Destination::Folder(results::copies(act, case.job));
        let to_read = results::to_read(case.job, case.python.as_ref());
        [fetch(to_read, Destination::Memory), fetch(results::to_keep(case.job), copies)]
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

/// Stores the outputs, their parts and the kept files of all jobs that ended well, the documents of the outputs last.
///
/// A job whose results no store will ever take fails; a store that does not answer hinders all.
async fn store(
    act: &Act,
    job_stores: &JobStores<'_>,
    verdicts: &mut [(&JobRecord, Verdict)],
) -> Result<(), Hindrance> {
    match store_all(act, job_stores, verdicts).await {
        Err(error) if !error.is_passing() => {}
        stored => return Ok(stored?),
    }
    for one in verdicts {
        match store_all(act, job_stores, std::slice::from_ref(one)).await {
            Err(error) if !error.is_passing() => one.1.fail(&reconcile::chain(&error)),
            stored => stored?,
        }
    }
    Ok(())
}

async fn store_all(
    act: &Act,
    job_stores: &JobStores<'_>,
    verdicts: &[(&JobRecord, Verdict)],
) -> Result<(), StoreError> {
    let mut files: Vec<NewFile> = Vec::new();
    let mut parcels: BTreeMap<Option<&str>, Parcel<'_>> = BTreeMap::new();
    for (job, verdict) in verdicts {
        let Verdict::Completed { output, kept, response, .. } = verdict else { continue };
        let source = |path: &std::path::PathBuf| FileSource::Path(path.clone());
        files.extend(
            kept.iter().map(|(sha256, path)| NewFile { sha256: sha256.clone(), source: source(path) }),
        );
        let Ok(store) = job_stores.store(job) else { continue };
        let parcel = parcels.entry(job_stores.name(job));
        let parcel = parcel.or_insert_with(|| Parcel { store, blobs: BTreeMap::new(), outputs: Vec::new() });
        parcel.outputs.push(output.clone());
        for (name, blob) in &response.blobs {
            parcel.blobs.entry(name).or_default().push(blob.clone());
        }
    }
    if !files.is_empty() {
        act.stores.files.put_files(&files).await?;
    }
    for parcel in parcels.into_values() {
        parcel.put().await?;
    }
    Ok(())
}

/// What goes into one job store.
struct Parcel<'a> {
    store: &'a JobStore,
    /// By the names of additional stores.
    blobs: BTreeMap<&'a str, Vec<BlobDocument>>,
    outputs: Vec<OutputDocument>,
}

impl Parcel<'_> {
    async fn put(self) -> Result<(), StoreError> {
        for (name, blobs) in self.blobs {
            if let Some(store) = self.store.additional.get(name) {
                store.put_blobs(&blobs).await?;
            }
        }
        self.store.outputs.put_outputs(&self.outputs).await
    }
}

/// Moves the jobs on and wakes whoever can go on with it.
///
/// A job whose response can never be followed (it brings a job that is there already) fails.
async fn finish(act: &Act, verdicts: &mut [(&JobRecord, Verdict)]) -> Result<(), Hindrance> {
    let mut lost = match finish_all(act, verdicts).await {
        Err(error) if !error.is_passing() => None,
        finished => Some(finished?),
    };
    if lost.is_none() {
        let mut count = 0;
        for one in verdicts.iter_mut() {
            count += match finish_all(act, std::slice::from_ref(one)).await {
                Err(error) if !error.is_passing() => {
                    one.1.fail(&reconcile::chain(&error));
                    finish_all(act, std::slice::from_ref(one)).await?
                }
                finished => finished?,
            };
        }
        lost = Some(count);
    }
    let lost = lost.unwrap_or_default();
    tracing::debug!(jobs = verdicts.len(), lost, "completed or failed {} jobs", verdicts.len() - lost);
    act.wake.checkout.notify_one();
    Ok(())
}

/// Stores the moves and returns how many were lost.
async fn finish_all(act: &Act, verdicts: &[(&JobRecord, Verdict)]) -> Result<usize, StoreError> {
    let (mut ends, mut again) = (Vec::new(), Vec::new());
    for (job, verdict) in verdicts {
        let step = the_move(act, job, verdict);
        let growth = match verdict {
            Verdict::Completed { response, .. } => response.growth.clone(),
            Verdict::Failed { .. } => Growth::default(),
        };
        if step.event == Some(Event::TryAgain) {
            again.push(step);
        } else {
            ends.push(Ending { step, growth });
        }
    }
    let finished: Vec<Applied> = if ends.is_empty() { Vec::new() } else { act.finish(&ends).await? };
    if !again.is_empty() {
        act.stores.queue.apply(&again).await?;
    }
    Ok(finished.iter().filter(|applied| **applied == Applied::Lost).count())
}

fn the_move(act: &Act, job: &JobRecord, verdict: &Verdict) -> Move {
    match verdict {
        Verdict::Completed { times, outcome, response, .. } => {
            Move::step(job, Event::Complete, act.now(), &act.by).with(times.changes()).with([
                Change::StoredData(response.stored_data.clone()),
                Change::Error(None),
                Change::QueueOut(None),
                Change::QueueErr(None),
                Change::Outcome(Some(outcome.clone())),
            ])
        }
        Verdict::Failed { why, error, times, outcome, retries, logs } => {
            let changes = times.changes().into_iter().chain([
                Change::Error(Some(error.clone())),
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
