//! What an action does to which documents: pure, from what a back end has loaded to what it has to write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{Bson, Document};

use super::super::{Change, Move};
use super::{
    Action, Answer, Cancellation, Deletion, Locks, Mandate, Merge, Processes, Properties, Refusal, Rerun,
};
use crate::model::flow::{FlowState, OnMissing, may_start};
use crate::model::ids::{JobKey, Token};
use crate::model::job::Lock;
use crate::model::state::{Event, State, next};

/// A job document, as far as the rules look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub key: JobKey,
    pub db_id: String,
    /// The uuid of its flow.
    pub flow: String,
    pub state: State,
    pub attempt: i32,
    pub previous_state: Option<State>,
    pub parents: Vec<String>,
    pub on_missing: OnMissing,
    pub lock: Option<Lock>,
    pub worker: String,
    pub process_id: Option<String>,
    pub run_dir: Option<String>,
    pub exec_config: Option<Bson>,
    pub resources: Option<Document>,
}

/// A flow document, as far as the rules look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowView {
    pub uuid: String,
    pub state: FlowState,
    pub lock: Option<Lock>,
    /// How many job documents it has.
    pub members: usize,
}

/// What a back end has to load beside the jobs themselves, all indexes of their uuids, and their flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Jobs,
    /// All documents of their parents.
    Parents,
    /// Those that have them as parents, with all indexes of their uuids.
    Children,
    /// All members of their flows.
    Flows,
}

/// Returns what has to be loaded for the action.
pub fn scope(action: &Action) -> Scope {
    match action {
        Action::Retry | Action::Pause | Action::Stop | Action::SetState(_) | Action::Set(_) => Scope::Jobs,
        Action::Resume => Scope::Parents,
        Action::Rerun(Rerun { force: true, .. }) => Scope::Flows,
        Action::Rerun(_) | Action::Delete(_) => Scope::Children,
    }
}

/// What a back end has loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    pub jobs: BTreeMap<JobKey, Member>,
    pub flows: BTreeMap<String, FlowView>,
}

impl Scene {
    /// Returns the largest index of a uuid.
    fn newest(&self, uuid: &str) -> Option<&Member> {
        let (first, last) = (JobKey::new(uuid, i32::MIN), JobKey::new(uuid, i32::MAX));
        self.jobs.range(first..=last).next_back().map(|(_, job)| job)
    }
}

/// What has to be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// One per job asked for, in their order.
    pub answers: Vec<Answer>,
    /// Each job at most once; those of descendants before that of their ancestor.
    pub moves: Vec<Move>,
    pub removals: Vec<Removal>,
    /// To be stored before the moves, or with them.
    pub cancellations: Vec<Cancellation>,
    /// Flows that nobody else may have locked meanwhile.
    pub held_flows: BTreeSet<String>,
    /// Flows whose state is derived again.
    pub flows: BTreeSet<String>,
    /// Jobs whose WAITING children may start now.
    pub settled: BTreeSet<String>,
    /// WAITING jobs that may start now because a parent is gone.
    pub orphans: BTreeSet<JobKey>,
    /// Which answer a document belongs to: where its write is lost, that answer is.
    pub causes: BTreeMap<JobKey, usize>,
}

/// A job document to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub key: JobKey,
    pub db_id: String,
    pub flow: String,
    /// Whether no other index of its uuid is left.
    pub is_last: bool,
}

/// Returns what the action on these jobs comes to. `own` is the lock that the back end holds itself.
pub fn plan(scene: &Scene, keys: &[JobKey], action: &Action, mandate: &Mandate, own: Option<&str>) -> Plan {
    let mut children: HashMap<String, Vec<JobKey>> = HashMap::new();
    for (key, job) in &scene.jobs {
        for parent in &job.parents {
            children.entry(parent.clone()).or_default().push(key.clone());
        }
    }
    let (now, steps) = (scene.clone(), HashMap::new());
    let mut planner = Planner { now, children, mandate, own, plan: Plan::default(), steps, count: 0 };
    for (place, key) in keys.iter().enumerate() {
        let answer = match planner.one(place, key, action) {
            Ok(changed) => Answer::Done { changed },
            Err(refusal) => Answer::Refused(refusal),
        };
        planner.plan.answers.push(answer);
    }
    planner.find_orphans();
    let mut steps: Vec<(usize, Move)> = planner.steps.into_values().collect();
    steps.sort_unstable_by_key(|(order, _)| *order);
    planner.plan.moves = steps.into_iter().map(|(_, step)| step).collect();
    planner.plan
}

struct Planner<'a> {
    /// The scene after what is planned so far.
    now: Scene,
    children: HashMap<String, Vec<JobKey>>,
    mandate: &'a Mandate,
    own: Option<&'a str>,
    plan: Plan,
    /// The writes, with their order.
    steps: HashMap<JobKey, (usize, Move)>,
    count: usize,
}

/// States from which a rerun touches the job alone (jobflow-remote's `RESETTABLE_STATES`).
fn is_resettable(state: State) -> bool {
    state.is_active() && !is_in_batch(state)
}

fn is_in_batch(state: State) -> bool {
    matches!(state, State::BatchSubmitted | State::BatchRunning)
}

/// States in which worker, resources and `exec_config` may be changed.
const SETTABLE: &[State] = &[
    State::Ready,
    State::Waiting,
    State::Completed,
    State::Failed,
    State::Paused,
    State::RemoteError,
    State::Stopped,
    State::UserStopped,
];

impl Planner<'_> {
    fn one(&mut self, place: usize, key: &JobKey, action: &Action) -> Result<Vec<String>, Refusal> {
        let job = self.now.jobs.get(key).cloned().ok_or_else(|| Refusal::NoSuchJob(key.clone()))?;
        self.check_lock(&job, "")?;
        match action {
            Action::Rerun(rerun) => self.rerun(place, &job, *rerun),
            Action::Retry => self.retry(place, &job),
            Action::Pause => self.pause(place, &job),
            Action::Resume => self.resume(place, &job),
            Action::Stop => self.stop(place, &job),
            Action::SetState(state) => Ok(self.set_state(place, &job, *state)),
            Action::Set(properties) => self.set(place, &job, properties),
            Action::Delete(deletion) => self.delete(place, &job, *deletion),
        }
    }

    fn rerun(&mut self, place: usize, job: &Member, rerun: Rerun) -> Result<Vec<String>, Refusal> {
        match job.state {
            State::Ready => return Err(Refusal::AlreadyReady),
            State::Waiting => return Err(Refusal::StillWaiting),
            state if is_resettable(state) => {
                self.step(place, job, Some(Event::Rerun), reset(rerun), None);
                return Ok(vec![job.db_id.clone()]);
            }
            state if is_in_batch(state) && !rerun.force => return Err(Refusal::InBatch),
            State::Failed | State::RemoteError => {}
            state if !rerun.force => return Err(Refusal::NeedsForce(state)),
            _ => {}
        }
        self.check_flow(&job.flow)?;
        if self.now.newest(&job.key.uuid).is_some_and(|newest| newest.key != job.key) {
            return Err(Refusal::NotHighestIndex(job.key.clone()));
        }
        let descendants = self.descendants(job, rerun)?;
        let mut changed = vec![job.db_id.clone()];
        let reason = format!("job {} is run again", job.db_id);
        for child in &descendants {
            let waits = child.state == State::Waiting;
            let (event, changes) = if waits {
                (None, reset(Rerun { keep_files: true, ..rerun }))
            } else {
                changed.push(child.db_id.clone());
                (Some(Event::RerunAncestor), reset(rerun))
            };
            self.step(place, child, event, changes, (!waits).then(|| reason.clone()));
        }
        self.step(place, job, Some(Event::Rerun), reset(rerun), None);
        Ok(changed)
    }

    /// Returns the jobs that have to wait again: the children, with `force` all that come after.
    fn descendants(&self, job: &Member, rerun: Rerun) -> Result<Vec<Member>, Refusal> {
        let mut seen = BTreeSet::from([job.key.clone()]);
        let mut found = Vec::new();
        let mut parents = vec![job.key.uuid.clone()];
        while let Some(parent) = parents.pop() {
            let children = self.children.get(&parent).into_iter().flatten();
            for child in children.filter_map(|key| self.now.jobs.get(key)) {
                if child.flow != job.flow || !seen.insert(child.key.clone()) {
                    continue;
                }
                self.check_child(job, child, rerun)?;
                found.push(child.clone());
                if rerun.force {
                    parents.push(child.key.uuid.clone());
                }
            }
        }
        Ok(found)
    }

    fn check_child(&self, job: &Member, child: &Member, rerun: Rerun) -> Result<(), Refusal> {
        let (uuid, key) = (job.key.uuid.clone(), child.key.clone());
        if self.now.newest(&key.uuid).is_some_and(|newest| newest.key != key) {
            return Err(Refusal::ChildWasReplaced { uuid, child: key });
        }
        self.check_lock(child, &format!(" The parent Job with uuid {uuid} cannot be rerun"))?;
        let startable = matches!(child.state, State::Ready | State::Waiting | State::Paused);
        if startable || rerun.force {
            Ok(())
        } else {
            Err(Refusal::ChildStarted { uuid, child: key, state: child.state })
        }
    }

    fn retry(&mut self, place: usize, job: &Member) -> Result<Vec<String>, Refusal> {
        let again = [
            Change::StepAttempts(0),
            Change::RetryTimeLimit(None),
            Change::RemoteError(None),
            Change::QueueOut(None),
            Change::QueueErr(None),
        ];
        if job.state == State::RemoteError {
            let back = job.previous_state.map(Event::Retry);
            let back = back.filter(|back| next(job.state, *back).is_ok());
            let back = back.ok_or(Refusal::NoPreviousState(job.previous_state))?;
            let more = [Change::QueueState(None), Change::PreviousState(None), Change::Error(None)];
            self.step(place, job, Some(back), again.into_iter().chain(more).collect(), None);
        } else if job.state.is_active() {
            self.step(place, job, None, again.to_vec(), None);
        } else {
            return Err(Refusal::NotRetried(job.state));
        }
        Ok(vec![job.db_id.clone()])
    }

    fn pause(&mut self, place: usize, job: &Member) -> Result<Vec<String>, Refusal> {
        self.check_event(job, Event::Pause)?;
        self.check_flow(&job.flow)?;
        self.step(place, job, Some(Event::Pause), Vec::new(), None);
        Ok(vec![job.db_id.clone()])
    }

    fn resume(&mut self, place: usize, job: &Member) -> Result<Vec<String>, Refusal> {
        self.check_event(job, Event::ResumeReady)?;
        self.check_flow(&job.flow)?;
        let newest = job.parents.iter().filter_map(|uuid| Some((uuid.clone(), self.now.newest(uuid)?.state)));
        let is_ready = may_start(&job.parents, job.on_missing, &newest.collect());
        let event = if is_ready { Event::ResumeReady } else { Event::ResumeWaiting };
        self.step(place, job, Some(event), Vec::new(), None);
        Ok(vec![job.db_id.clone()])
    }

    fn stop(&mut self, place: usize, job: &Member) -> Result<Vec<String>, Refusal> {
        self.check_event(job, Event::StopByUser)?;
        self.check_flow(&job.flow)?;
        self.step(place, job, Some(Event::StopByUser), Vec::new(), None);
        self.plan.settled.insert(job.key.uuid.clone());
        Ok(vec![job.db_id.clone()])
    }

    fn set_state(&mut self, place: usize, job: &Member, state: State) -> Vec<String> {
        let changes = vec![
            Change::StepAttempts(0),
            Change::RetryTimeLimit(None),
            Change::PreviousState(None),
            Change::QueueState(None),
            Change::RemoteError(None),
            Change::Error(None),
        ];
        let reason = Some("set by the user".to_owned());
        self.step(place, job, Some(Event::Force(state)), changes, reason);
        self.plan.settled.insert(job.key.uuid.clone());
        vec![job.db_id.clone()]
    }

    fn set(&mut self, place: usize, job: &Member, properties: &Properties) -> Result<Vec<String>, Refusal> {
        let Properties { worker, priority, exec_config, resources, merge } = properties;
        let only_priority = worker.is_none() && exec_config.is_none() && resources.is_none();
        if !only_priority && !SETTABLE.contains(&job.state) {
            return Err(Refusal::WrongState(job.state));
        }
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(worker.clone().map(Change::Worker));
        changes.extend(priority.map(Change::Priority));
        changes.extend(exec_config.clone().map(|new| {
            let old = job.exec_config.as_ref().and_then(Bson::as_document);
            let merged = match new {
                Bson::Document(new) => Bson::Document(merged(old, new, *merge)),
                name => name,
            };
            Change::ExecConfig(Some(merged))
        }));
        let resources = resources.clone().map(|new| {
            // A serialized object replaces all: with keys of another kind it could not be read.
            let merge = if new.contains_key("@class") { Merge::Replace } else { *merge };
            Change::Resources(Some(merged(job.resources.as_ref(), new, merge)))
        });
        changes.extend(resources);
        self.step(place, job, None, changes, None);
        Ok(vec![job.db_id.clone()])
    }

    fn delete(&mut self, place: usize, job: &Member, deletion: Deletion) -> Result<Vec<String>, Refusal> {
        if is_in_batch(job.state) {
            return Err(Refusal::WrongState(job.state));
        }
        self.check_flow(&job.flow)?;
        let left = self.now.flows.get(&job.flow).map_or(0, |flow| flow.members);
        if left <= 1 {
            return Err(Refusal::OnlyJob);
        }
        if let Some(flow) = self.now.flows.get_mut(&job.flow) {
            flow.members = left - 1;
        }
        self.plan.cancellations.extend(cancellation(job, self.mandate, deletion));
        self.now.jobs.remove(&job.key);
        let removal = Removal {
            key: job.key.clone(),
            db_id: job.db_id.clone(),
            flow: job.flow.clone(),
            is_last: false,
        };
        self.plan.removals.push(removal);
        self.plan.flows.insert(job.flow.clone());
        self.plan.causes.insert(job.key.clone(), place);
        Ok(vec![job.db_id.clone()])
    }

    /// Notes which removals leave no other index behind, and the children that wait for one thing less.
    fn find_orphans(&mut self) {
        for removal in &mut self.plan.removals {
            let uuid = &removal.key.uuid;
            removal.is_last = self.now.newest(uuid).is_none();
            let children = self.children.get(uuid).filter(|_| removal.is_last).into_iter().flatten();
            let left = children.filter(|key| self.now.jobs.contains_key(key));
            self.plan.orphans.extend(left.cloned());
            if !removal.is_last {
                // The children look at another index from now on.
                self.plan.settled.insert(uuid.clone());
            }
        }
    }

    fn check_event(&self, job: &Member, event: Event) -> Result<(), Refusal> {
        next(job.state, event).map(drop).map_err(|_| Refusal::WrongState(job.state))
    }

    fn check_lock(&self, job: &Member, note: &str) -> Result<(), Refusal> {
        match held(job.lock.as_ref(), self.mandate, self.own) {
            None => Ok(()),
            Some(lock) => {
                let (db_id, note) = (job.db_id.clone(), note.to_owned());
                Err(Refusal::JobLocked { db_id, lock: lock.clone(), note })
            }
        }
    }

    fn check_flow(&mut self, uuid: &str) -> Result<(), Refusal> {
        let flow = self.now.flows.get(uuid).ok_or_else(|| Refusal::NoSuchFlow(uuid.to_owned()))?;
        if let Some(lock) = held(flow.lock.as_ref(), self.mandate, self.own) {
            return Err(Refusal::FlowLocked { uuid: uuid.to_owned(), lock: lock.clone() });
        }
        self.plan.held_flows.insert(uuid.to_owned());
        Ok(())
    }

    /// Plans one write. Of two of one job the later holds, from the state in which the first one found it.
    fn step(
        &mut self,
        place: usize,
        job: &Member,
        event: Option<Event>,
        changes: Vec<Change>,
        reason: Option<String>,
    ) {
        let to = event.map_or(Ok(job.state), |event| next(job.state, event)).unwrap_or(job.state);
        let still_in_hand = to.is_active() || to == State::RemoteError;
        if event.is_some() && !still_in_hand {
            let deletion = Deletion { processes: Processes::End, remove_directory: false };
            self.plan.cancellations.extend(cancellation(job, self.mandate, deletion));
        }
        let (expected, before, earlier) = match self.steps.remove(&job.key) {
            Some((_, earlier)) => (earlier.expected, earlier.changes, earlier.event),
            None => (job.state, Vec::new(), None),
        };
        let step = Move {
            key: job.key.clone(),
            expected,
            attempt: job.attempt,
            event: event.or(earlier),
            changes: before.into_iter().chain(changes).collect(),
            reason,
            by: self.mandate.by.clone(),
            at: self.mandate.at,
        };
        self.count += 1;
        self.steps.insert(job.key.clone(), (self.count, step));
        if let Some(job) = self.now.jobs.get_mut(&job.key) {
            job.state = to;
        }
        self.plan.flows.insert(job.flow.clone());
        self.plan.causes.insert(job.key.clone(), place);
    }
}

/// Returns the lock that stands in the way.
fn held<'l>(lock: Option<&'l Lock>, mandate: &Mandate, own: Option<&str>) -> Option<&'l Lock> {
    lock.filter(|lock| mandate.locks == Locks::Honour && own != Some(lock.id.as_str()))
}

/// Returns what a job forgets when it is run again.
fn reset(rerun: Rerun) -> Vec<Change> {
    let mut changes = vec![
        Change::StepAttempts(0),
        Change::RetryTimeLimit(None),
        Change::QueueState(None),
        Change::RemoteError(None),
        Change::QueueOut(None),
        Change::QueueErr(None),
        Change::PreviousState(None),
        Change::Error(None),
        Change::StartTime(None),
        Change::EndTime(None),
        Change::StoredData(None),
        Change::Outcome(None),
        Change::RetriesUsed(0),
    ];
    if !rerun.keep_files {
        changes.push(Change::PrerunCleanup(true));
    }
    changes
}

fn merged(old: Option<&Document>, new: Document, merge: Merge) -> Document {
    let mut whole = match merge {
        Merge::Keep => old.cloned().unwrap_or_default(),
        Merge::Replace => Document::new(),
    };
    whole.extend(new);
    whole
}

/// Returns the order to end the job's process, where there may be one.
fn cancellation(job: &Member, mandate: &Mandate, deletion: Deletion) -> Option<Cancellation> {
    let failed_in = job.previous_state.filter(|_| job.state == State::RemoteError);
    let state = failed_in.unwrap_or(job.state);
    let may_live = matches!(state, State::Uploaded | State::Submitted | State::Running | State::Terminated);
    let wanted = deletion.processes == Processes::End && may_live && job.attempt > 0;
    wanted.then(|| Cancellation {
        token: Token::new(&job.key, job.attempt),
        worker: job.worker.clone(),
        // Before the submission is recorded the document still has the id of the attempt before.
        process_id: job.process_id.clone().filter(|_| state != State::Uploaded),
        run_dir: job.run_dir.clone(),
        remove_directory: deletion.remove_directory,
        ordered_on: mandate.at,
        by: mandate.by.clone(),
    })
}

/// What the deletion of flows comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowPlan {
    /// One per flow asked for, in their order.
    pub answers: Vec<Answer>,
    /// The flows to be deleted, with all their jobs.
    pub flows: Vec<String>,
    pub cancellations: Vec<Cancellation>,
}

/// Returns what deleting these flows comes to, given all their members.
pub fn plan_flows(
    scene: &Scene,
    uuids: &[String],
    deletion: Deletion,
    mandate: &Mandate,
    own: Option<&str>,
) -> FlowPlan {
    let mut members: HashMap<&str, Vec<&Member>> = HashMap::new();
    for job in scene.jobs.values() {
        members.entry(job.flow.as_str()).or_default().push(job);
    }
    let mut plan = FlowPlan::default();
    for uuid in uuids {
        let jobs = members.get(uuid.as_str()).map(Vec::as_slice).unwrap_or_default();
        let refusal = refusal_of_flow(scene, uuid, jobs, mandate, own);
        plan.answers.push(match refusal {
            Some(refusal) => Answer::Refused(refusal),
            None => {
                plan.flows.push(uuid.clone());
                plan.cancellations.extend(jobs.iter().filter_map(|job| cancellation(job, mandate, deletion)));
                Answer::Done { changed: jobs.iter().map(|job| job.db_id.clone()).collect() }
            }
        });
    }
    plan
}

fn refusal_of_flow(
    scene: &Scene,
    uuid: &str,
    jobs: &[&Member],
    mandate: &Mandate,
    own: Option<&str>,
) -> Option<Refusal> {
    let Some(flow) = scene.flows.get(uuid) else { return Some(Refusal::NoSuchFlow(uuid.to_owned())) };
    if let Some(lock) = held(flow.lock.as_ref(), mandate, own) {
        return Some(Refusal::FlowLocked { uuid: uuid.to_owned(), lock: lock.clone() });
    }
    jobs.iter().find_map(|job| {
        let lock = held(job.lock.as_ref(), mandate, own)?.clone();
        Some(Refusal::JobLocked { db_id: job.db_id.clone(), lock, note: String::new() })
    })
}
