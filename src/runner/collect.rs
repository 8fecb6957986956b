//! TERMINATED → DOWNLOADED: fetches the results of jobs on other machines, many in one round trip.
//!
//! Each file is compared by size and SHA-256 with what its host says. A missing file is no failure here: whether the
//! job can do without it is judged when it is completed.

use super::act::{Act, Hindrance};
use super::failure::{Fault, step_failed};
use super::job_stores::JobStores;
use super::plan::HostPlan;
use super::reconcile::Found;
use super::results::{self, PythonFiles};
use crate::model::job::JobRecord;
use crate::model::query::Detail;
use crate::model::state::{Event, State};
use crate::store::{Move, Work};
use crate::transport::{Answer, Destination, Fetch, Operation, OperationErrorKind};

/// Jobs per round trip.
const BATCH: u32 = 64;

/// The limit of one round trip: results may be large. A transfer that moves on but is not done by then is begun
/// again with fewer jobs at once.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(3600);

/// Fetches the results of ended jobs of the host.
pub async fn activate(act: &Act, host: &HostPlan) -> Result<Found, Hindrance> {
    let pause = act.pause_left(host);
    if !pause.is_zero() {
        return Ok(Found::Nothing { again_in: pause });
    }
    let work = Work {
        states: vec![State::Terminated],
        workers: host.worker_names(),
        due: act.now(),
        limit: BATCH,
        detail: Detail::Full,
    };
    let jobs = act.stores.queue.work(&work).await?;
    if jobs.is_empty() {
        return Ok(Found::Nothing { again_in: act.plan.options.advance_every });
    }
    let answers = fetch(act, host, &jobs).await?;
    let moves: Vec<Move> =
        jobs.iter().zip(answers).filter_map(|(job, answer)| judge(act, host, job, answer)).collect();
    act.stores.queue.apply(&moves).await?;
    act.wake.complete.notify_one();
    if moves.is_empty() { Ok(Found::Nothing { again_in: act.pause_left(host) }) } else { Ok(Found::More) }
}

/// Brings the results of the jobs to this machine, in one round trip.
pub async fn fetch(act: &Act, host: &HostPlan, jobs: &[JobRecord]) -> Result<Vec<Answer>, Hindrance> {
    let job_stores = JobStores::of(act, jobs).await?;
    let operation = |job: &JobRecord| {
        let directory = job.run_dir.clone().unwrap_or_default();
        let into = Destination::Folder(results::folder(act, host, job));
        Operation::Fetch(Fetch {
            directory,
            files: results::wanted(job, PythonFiles::of(act, job, &job_stores).as_ref()),
            into,
        })
    };
    act.perform(host, jobs.iter().map(operation).collect(), LIMIT).await
}

fn judge(act: &Act, host: &HostPlan, job: &JobRecord, answer: Answer) -> Option<Move> {
    let error = match answer {
        Answer::Fetched(_) => return Some(Move::step(job, Event::Collect, act.now(), &act.by)),
        Answer::Failed(error) => error,
        Answer::Done | Answer::Names(_) | Answer::Ran(_) => return None,
    };
    let why = format!("the results cannot be fetched: {}", error.message);
    match error.kind {
        OperationErrorKind::Storage => {
            act.note_no_room(host, why, "make room for the project's tmp_dir on this machine (`df -h`)");
            None
        }
        OperationErrorKind::Refused => Some(step_failed(act, job, Fault::Lasting(why))),
        OperationErrorKind::Permission | OperationErrorKind::Corrupted | OperationErrorKind::Other => {
            Some(step_failed(act, job, Fault::Passing(why)))
        }
    }
}
