//! CHECKED_OUT → UPLOADED: resolves every reference and writes one self-contained run directory per job.
//!
//! The directory appears whole or not at all. One that an earlier attempt ran in is moved aside first, so that
//! nothing of it is read for the new one and no process of it can write into the new one; one that an interrupted
//! upload of the same attempt left is replaced.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::act::{Act, Hindrance};
use super::cancel;
use super::failure::{Fault, step_failed};
use super::job_stores::JobStores;
use super::parents::Parents;
use super::plan::{HostPlan, Worker};
use super::reconcile::Found;
use super::remote::{limit_of, make_directories, question};
use super::run_directory::{Prepared, RunContent, RunFile};
use crate::model::job::JobRecord;
use crate::model::query::Detail;
use crate::model::state::{Event, State};
use crate::store::{Change, Move, StoreError, Work};
use crate::transport::{
    Answer, Content, Occupied, Operation, OperationError, OperationErrorKind, Put, PutFile,
};
use crate::worker::layout;

/// Jobs per round trip: their documents are in memory together.
const BATCH: u32 = 64;

/// How soon jobs are looked at again whose last attempt is still being ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the staging on one host remembers.
#[derive(Default)]
pub struct Memory {
    /// Workers whose work directory was prepared by this process.
    prepared: BTreeSet<String>,
}

/// One job on its way to its host.
struct Staged<'a> {
    job: &'a JobRecord,
    run_dir: String,
}

/// Uploads checked-out jobs of the host, many in one round trip.
pub async fn activate(act: &Act, host: &HostPlan, memory: &mut Memory) -> Result<Found, Hindrance> {
    let pause = act.pause_left(host);
    if !pause.is_zero() {
        return Ok(Found::Nothing { again_in: pause });
    }
    let work = Work {
        states: vec![State::CheckedOut],
        workers: host.worker_names(),
        due: act.now(),
        limit: BATCH,
        detail: Detail::Full,
    };
    let mut jobs = act.stores.queue.work(&work).await?;
    let ending = cancel::still_ending(act, &jobs).await?;
    if !ending.is_empty() {
        jobs.retain(|job| !ending.contains(&job.key));
        if jobs.is_empty() {
            return Ok(Found::Nothing { again_in: LOOK_AGAIN });
        }
    }
    if jobs.is_empty() {
        act.host_has_room(host);
        return Ok(Found::Nothing { again_in: act.plan.options.advance_every });
    }
    let (staged, puts, mut moves) = build(act, host, &jobs).await?;
    moves.extend(upload(act, host, memory, &staged, puts).await?);
    let uploaded = moves.iter().any(|one| one.event == Some(Event::Stage));
    act.stores.queue.apply(&moves).await?;
    if uploaded {
        act.host_wake(host).iter().for_each(|wake| wake.submit.notify_one());
        act.wake.checkout.notify_one();
    }
    if moves.is_empty() { Ok(Found::Nothing { again_in: act.pause_left(host) }) } else { Ok(Found::More) }
}

type Built<'a> = (Vec<Staged<'a>>, Vec<Put>, Vec<Move>);

/// Returns the directories to be uploaded, and the moves of jobs that cannot be.
async fn build<'a>(act: &Act, host: &HostPlan, jobs: &'a [JobRecord]) -> Result<Built<'a>, Hindrance> {
    let (mut staged, mut puts, mut moves) = (Vec::new(), Vec::new(), Vec::new());
    let job_stores = JobStores::of(act, jobs).await?;
    let parents = Parents::of(&job_stores, jobs).await?;
    for job in jobs {
        let Some(worker) = host.worker(&job.worker) else { continue };
        let run_files = run_files(act, worker, job, &job_stores, &parents);
        match directory_of(act, worker, job, run_files).await? {
            Ok(put) => {
                staged.push(Staged { job, run_dir: put.directory.clone() });
                puts.push(put);
            }
            Err(why) => moves.push(step_failed(act, job, Fault::Lasting(why))),
        }
    }
    Ok((staged, puts, moves))
}

/// Returns the files of the job's run directory, its references replaced, or why they can never be made.
fn run_files(
    act: &Act,
    worker: &Worker,
    job: &JobRecord,
    job_stores: &JobStores<'_>,
    parents: &Parents,
) -> Result<Vec<RunFile>, String> {
    let additional_stores = job_stores.additional(job)?;
    let mut resolved = job.job.clone();
    let needed = parents.resolve(job_stores.name(job), job, &mut resolved)?;
    let prepared =
        Prepared { record: job, resolved: &resolved, needed: &needed, additional_stores: &additional_stores };
    super::run_directory::files(&act.plan, worker, &prepared)
}

/// Returns the run directory of one job, or why it can never be made.
async fn directory_of(
    act: &Act,
    worker: &Worker,
    job: &JobRecord,
    run_files: Result<Vec<RunFile>, String>,
) -> Result<Result<Put, String>, Hindrance> {
    let run_dir = layout::run_directory(&worker.work_dir, &job.key).map_err(|error| error.to_string());
    let (run_files, run_dir) = match (run_files, run_dir) {
        (Ok(run_files), Ok(run_dir)) => (run_files, run_dir),
        (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
    };
    let mut files = Vec::new();
    for file in run_files {
        let content = match file.content {
            RunContent::Bytes(bytes) => Content::Bytes(bytes),
            RunContent::Stored { sha256 } => match cached(act, &sha256).await {
                Ok(path) => Content::Path(path),
                Err(StoreError::NoSuchFile { .. }) => {
                    return Ok(Err(format!("its file {} was never stored", file.path)));
                }
                Err(error) => return Err(error.into()),
            },
        };
        files.push(PutFile { path: file.path, content, mode: file.mode });
    }
    let occupied = occupied(job, &run_dir);
    Ok(Ok(Put { directory: run_dir, files, occupied }))
}

fn occupied(job: &JobRecord, run_dir: &str) -> Occupied {
    let marker = layout::INPUT.to_owned();
    if job.remote.prerun_cleanup {
        return Occupied::Replace { marker };
    }
    let to = format!("{run_dir}.attempt-{}", job.ferry.attempt.saturating_sub(1));
    Occupied::MoveAside { if_exists: layout::START.to_owned(), to, marker }
}

/// Returns this machine's copy of a stored file, fetched once per process tree and kept by its hash.
async fn cached(act: &Act, sha256: &str) -> Result<PathBuf, StoreError> {
    let path = act.plan.options.tmp_dir.join("files").join(sha256);
    if !path.exists() {
        // Under its final name the file is always whole.
        let part = path.with_extension("part");
        act.stores.files.get_file(sha256, &part).await?;
        std::fs::rename(&part, &path).map_err(|source| StoreError::File { path: path.clone(), source })?;
    }
    Ok(path)
}

/// Sends the directories and returns the move of each job whose directory was answered for.
async fn upload(
    act: &Act,
    host: &HostPlan,
    memory: &mut Memory,
    staged: &[Staged<'_>],
    puts: Vec<Put>,
) -> Result<Vec<Move>, Hindrance> {
    if puts.is_empty() {
        return Ok(Vec::new());
    }
    let mut batch: Vec<Operation> = Vec::new();
    let fresh: Vec<&Worker> =
        host.workers.iter().filter(|worker| !memory.prepared.contains(&worker.name)).collect();
    let limit = limit_of(host);
    if !fresh.is_empty() {
        let spools: Vec<String> = fresh.iter().map(|worker| layout::spool(&worker.work_dir)).collect();
        batch.push(question(make_directories(&spools), limit));
    }
    let skipped = batch.len();
    batch.extend(puts.into_iter().map(Operation::Put));
    batch.extend(staged.iter().filter_map(|one| outdated(host, one)));
    let answers = act.perform(host, batch, limit).await?;
    let prepared = answers
        .first()
        .is_none_or(|answer| skipped == 0 || matches!(answer, Answer::Ran(ran) if ran.exit_code == 0));
    if prepared {
        memory.prepared.extend(fresh.iter().map(|worker| worker.name.clone()));
    }
    let answers: Vec<Answer> = answers.into_iter().skip(skipped).collect();
    note_room(act, host, staged, &answers);
    Ok(staged.iter().zip(answers).filter_map(|(one, answer)| judge(act, one, answer)).collect())
}

/// Returns the removal of the earlier attempt whose directory is no longer kept, now that there is one more.
fn outdated(host: &HostPlan, staged: &Staged<'_>) -> Option<Operation> {
    let keep = i32::try_from(host.worker(&staged.job.worker)?.keep_attempts?).ok()?;
    let attempt =
        staged.job.ferry.attempt.checked_sub(1)?.checked_sub(keep).filter(|attempt| *attempt > 0)?;
    let directory = format!("{}.attempt-{attempt}", staged.run_dir);
    Some(Operation::RemoveTree { directory, marker: layout::INPUT.to_owned() })
}

/// Notes once for all answers whether files can be written: a full disk or a missing right is the host's trouble.
fn note_room(act: &Act, host: &HostPlan, staged: &[Staged<'_>], answers: &[Answer]) {
    let hint = |kind| match kind {
        OperationErrorKind::Storage => Some("make room in the work directory of the worker (`df -h` there)"),
        OperationErrorKind::Permission => {
            Some("give the account write access to the work directory; `jf project check` tries it")
        }
        OperationErrorKind::Refused | OperationErrorKind::Corrupted | OperationErrorKind::Other => None,
    };
    let refusal = staged.iter().zip(answers).find_map(|(one, answer)| match answer {
        Answer::Failed(error) => hint(error.kind).map(|hint| (one, error, hint)),
        _ => None,
    });
    match refusal {
        Some((one, error, hint)) => act.note_no_room(host, cannot_be_made(one, error), hint),
        None => act.host_has_room(host),
    }
}

fn cannot_be_made(staged: &Staged<'_>, error: &OperationError) -> String {
    format!("the run directory {} cannot be made: {}", staged.run_dir, error.message)
}

fn judge(act: &Act, staged: &Staged<'_>, answer: Answer) -> Option<Move> {
    match answer {
        Answer::Done => {
            let changes = [Change::RunDir(staged.run_dir.clone()), Change::PrerunCleanup(false)];
            Some(Move::step(staged.job, Event::Stage, act.now(), &act.by).with(changes))
        }
        Answer::Failed(error) => refused(act, staged, &error),
        Answer::Names(_) | Answer::Fetched(_) | Answer::Ran(_) => None,
    }
}

/// A full disk or a missing right has paused the host; anything else is the job's.
fn refused(act: &Act, staged: &Staged<'_>, error: &OperationError) -> Option<Move> {
    let why = cannot_be_made(staged, error);
    match error.kind {
        OperationErrorKind::Storage | OperationErrorKind::Permission => None,
        OperationErrorKind::Refused => Some(step_failed(act, staged.job, Fault::Lasting(why))),
        OperationErrorKind::Corrupted | OperationErrorKind::Other => {
            Some(step_failed(act, staged.job, Fault::Passing(why)))
        }
    }
}
