//! What must be true when all is done.

use std::sync::Arc;

use bson::Bson;
use jobferry::model::flow::FlowState;
use jobferry::model::ids::Token;
use jobferry::model::job::JobRecord;
use jobferry::model::query::{Detail, FlowFilter, JobFilter, Page};
use jobferry::model::state::{Event, State};
use jobferry::store::Stores;

use super::flow;
use super::world::World;

/// Returns the jobs of the flow.
pub(super) async fn jobs(stores: &Stores, flow: &str) -> Vec<JobRecord> {
    let filter = JobFilter { flows: vec![flow.to_owned()], ..JobFilter::default() };
    let page = Page { limit: None, ..Page::default() };
    stores.queue.jobs(&filter, &page, Detail::Full).await.unwrap()
}

/// Returns the first thing that is not as it must be.
pub(super) async fn all(world: &Arc<World>, stores: &Stores, seed: u64, flow: &str) -> Result<(), String> {
    let jobs = jobs(stores, flow).await;
    for job in &jobs {
        history(job)?;
        attempts(world, job)?;
        output(stores, seed, job).await?;
    }
    let filter = FlowFilter { uuids: vec![flow.to_owned()], ..FlowFilter::default() };
    let flows = stores.queue.flows(&filter, &Page::default()).await.unwrap();
    if flows.first().map(|flow| flow.state) != Some(FlowState::Completed) {
        return Err(format!("the flow ended as {:?}", flows.first().map(|flow| flow.state)));
    }
    let left = world.lock().alive();
    if left.is_empty() { Ok(()) } else { Err(format!("left in the queue: {left:?}")) }
}

/// Every move in the history is one that the state machine allows, and each begins where the last one ended.
fn history(job: &JobRecord) -> Result<(), String> {
    if job.state != State::Completed {
        return Err(format!("job {} is {}: {:?} {:?}", job.name(), job.state, job.error, job.remote.error));
    }
    let mut state = if job.parents.is_empty() { State::Ready } else { State::Waiting };
    for entry in &job.ferry.history {
        let legal =
            EVENTS.iter().any(|event| jobferry::model::state::next(entry.from, *event) == Ok(entry.to));
        if entry.from != state || !legal {
            return Err(format!("job {} moved from {state} by {entry:?}", job.name()));
        }
        state = entry.to;
    }
    if state == job.state { Ok(()) } else { Err(format!("the history of {} ends in {state}", job.name())) }
}

/// There was one attempt for each one that the world made fail or that the user stopped, and the one that ended well.
fn attempts(world: &Arc<World>, job: &JobRecord) -> Result<(), String> {
    let world = world.lock();
    let failures = world.failures.get(&job.key).copied().unwrap_or(0);
    let of_job = |token: &&Token| token.parts().unwrap().0 == job.key;
    let stops = i32::try_from(world.stopped.keys().filter(of_job).count()).unwrap();
    let (attempt, retries) = (job.ferry.attempt, job.ferry.retries_used);
    let reruns = world.reruns.get(&job.key).copied().unwrap_or(0);
    if attempt != failures + stops + 1 || retries + reruns != failures {
        let moves: Vec<String> = job
            .ferry
            .history
            .iter()
            .filter_map(|entry| Some(format!("{}: {}", entry.to, entry.reason.as_ref()?)))
            .collect();
        return Err(format!(
            "job {} took {attempt} attempts and {retries} retries for {failures} failures and {stops} stops: {moves:?}",
            job.name()
        ));
    }
    let stopped = |token: &Token| world.stopped.contains_key(token);
    for attempt in 1..=attempt {
        let token = Token::new(&job.key, attempt);
        let starts = world.starts.get(&token).copied().unwrap_or(0);
        if starts != 1 && !stopped(&token) {
            return Err(format!("attempt {attempt} of {} was started {starts} times", job.name()));
        }
    }
    Ok(())
}

async fn output(stores: &Stores, seed: u64, job: &JobRecord) -> Result<(), String> {
    let output = stores.job_store.outputs.output(&job.key).await.unwrap();
    let sum = output.as_ref().and_then(|output| output.output().as_document()?.get("sum"));
    let sum = match sum {
        Some(Bson::Int32(sum)) => Some(i64::from(*sum)),
        Some(Bson::Int64(sum)) => Some(*sum),
        _ => None,
    };
    let expected = flow::expected(seed, job.name());
    if sum == Some(expected) {
        Ok(())
    } else {
        Err(format!("{} came to {sum:?}, not {expected}", job.name()))
    }
}

const EVENTS: [Event; 14] = [
    Event::Release,
    Event::CheckOut,
    Event::Stage,
    Event::Submit,
    Event::Start,
    Event::End,
    Event::EndHere,
    Event::Collect,
    Event::Complete,
    Event::TryAgain,
    Event::StopByUser,
    Event::ResumeReady,
    Event::Rerun,
    Event::StepFailed,
];
