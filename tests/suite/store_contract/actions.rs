//! `UserActions` and `Cancellations`.

use bson::{Bson, doc};
use jobferry::model::flow::FlowState;
use jobferry::model::ids::{JobKey, Token};
use jobferry::model::query::JobFilter;
use jobferry::model::state::{Event, State};
use jobferry::store::actions::{
    Action, Answer, Cancellation, Deletion, Locks, Mandate, Merge, Processes, Properties, Refusal, Rerun,
    is_due,
};
use jobferry::store::{Applied, Change, Stores};

use super::Bench;
use super::making::{
    Making as _, TO_DOWNLOADED, advance, at, claim_of, complete, end, flow, flow_state, insert, job, key,
    read, read_at, read_flow, state, step, uuids,
};

const USER: &str = "user@laptop";

fn mandate() -> Mandate {
    Mandate { by: USER.into(), at: at(100), locks: Locks::Honour }
}

fn breaking() -> Mandate {
    Mandate { locks: Locks::Break, ..mandate() }
}

const RERUN: Action = Action::Rerun(Rerun { force: false, keep_files: false });
const FORCE: Action = Action::Rerun(Rerun { force: true, keep_files: false });
const DELETE: Deletion = Deletion { processes: Processes::End, remove_directory: false };

async fn act(stores: &Stores, uuids: &[&str], action: &Action) -> Vec<Answer> {
    let keys: Vec<JobKey> = uuids.iter().map(|uuid| key(uuid)).collect();
    stores.actions.act(&keys, action, &mandate()).await.unwrap()
}

/// Does the action to one job and returns the uuids of the jobs that changed.
async fn done(stores: &Stores, uuid: &str, action: &Action) -> Vec<String> {
    match act(stores, &[uuid], action).await.remove(0) {
        Answer::Done { changed } => {
            let mut names = Vec::new();
            for id in changed {
                let filter = JobFilter { db_ids: vec![id], ..JobFilter::default() };
                names.extend(uuids(stores, &filter).await);
            }
            names
        }
        Answer::Refused(refusal) => panic!("{refusal}"),
    }
}

async fn refused(stores: &Stores, uuid: &str, action: &Action) -> String {
    match act(stores, &[uuid], action).await.remove(0) {
        Answer::Refused(refusal) => refusal.to_string(),
        Answer::Done { changed } => panic!("{uuid}: {changed:?} changed"),
    }
}

async fn states(stores: &Stores, uuids: &[&str]) -> Vec<State> {
    let mut states = Vec::new();
    for uuid in uuids {
        states.push(state(stores, uuid).await);
    }
    states
}

/// Brings a READY job into the queue under this id.
async fn submit(stores: &Stores, uuid: &str, id: &str) {
    advance(stores, &key(uuid), &[Event::CheckOut, Event::Stage]).await;
    let changes = [Change::ProcessId(Some(id.into())), Change::RunDir(format!("/work/{uuid}"))];
    let step = step(stores, &key(uuid), Event::Submit, 5).await.with(changes);
    assert_eq!(stores.queue.apply(&[step]).await.unwrap(), [Applied::Done]);
}

pub(super) async fn a_failed_job_runs_again(bench: &Bench) {
    let stores = &bench.stores;
    let jobs = [job("a", &[]), job("b", &["a"]), job("c", &["a"]).on_missing("none"), job("d", &["c"])];
    insert(stores, flow("f", jobs)).await;
    advance(stores, &key("a"), &TO_DOWNLOADED).await;
    let changes = [
        Change::Error(Some("exit code 3".into())),
        Change::EndTime(Some(at(9))),
        Change::RetriesUsed(2),
        Change::StoredData(Some(doc! {"x": 1})),
    ];
    let failed = step(stores, &key("a"), Event::Fail, 10).await.with(changes);
    assert_eq!(stores.queue.finish(&[failed.into()]).await.unwrap(), [Applied::Done]);
    assert_eq!(states(stores, &["b", "c", "d"]).await, [State::Waiting, State::Ready, State::Waiting]);

    assert_eq!(done(stores, "a", &RERUN).await, ["a", "c"]);
    assert_eq!(
        states(stores, &["a", "b", "c", "d"]).await,
        [State::Ready, State::Waiting, State::Waiting, State::Waiting]
    );
    assert_eq!(flow_state(stores, "f").await, FlowState::Ready);
    let again = read(stores, "a").await;
    assert_eq!((again.error, again.end_time, again.stored_data), (None, None, None));
    assert_eq!((again.ferry.retries_used, again.ferry.attempt), (0, 1));
    assert!(again.remote.prerun_cleanup && read(stores, "c").await.remote.prerun_cleanup);
    assert!(!read(stores, "b").await.remote.prerun_cleanup, "it never ran");
    let entry = again.ferry.history.last().unwrap();
    assert_eq!((entry.from, entry.to, entry.by.as_str()), (State::Failed, State::Ready, USER));
    let child = read(stores, "c").await;
    let entry = child.ferry.history.last().unwrap();
    assert_eq!((entry.from, entry.to), (State::Ready, State::Waiting));
    assert_eq!(entry.reason, Some(format!("job {} is run again", again.db_id)));
    complete(stores, "a").await;
    assert_eq!(read(stores, "a").await.ferry.attempt, 2);
    assert_eq!(states(stores, &["b", "c"]).await, [State::Ready, State::Ready]);
    assert_eq!(stores.cancellations.cancellations().await.unwrap(), [], "nothing was in a queue");
}

pub(super) async fn reruns_are_refused_in_words(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"]), job("c", &["b"])])).await;
    assert_eq!(refused(stores, "a", &RERUN).await, "The Job is in the READY state. No need to rerun.");
    assert_eq!(refused(stores, "b", &FORCE).await, "The Job is in the WAITING state. Cannot be rerun.");
    complete(stores, "a").await;
    assert_eq!(
        refused(stores, "a", &RERUN).await,
        "Job in state COMPLETED cannot be rerun. Use the 'force' option to override this check."
    );
    end(stores, "b", Event::Fail).await;
    done(stores, "a", &Action::SetState(State::Failed)).await;
    assert_eq!(
        refused(stores, "a", &RERUN).await,
        "The child of Job a to rerun with uuid b and index 1 has state FAILED which is not acceptable. Use the 'force' \
         option to override this check."
    );
    assert!(refused(stores, "nobody", &RERUN).await.starts_with("No Job document matching criteria"));
    assert_eq!(states(stores, &["a", "b", "c"]).await, [State::Failed, State::Failed, State::Waiting]);
}

pub(super) async fn force_reaches_all_descendants(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"]), job("c", &["b"]), job("x", &[])])).await;
    for uuid in ["a", "b", "x"] {
        complete(stores, uuid).await;
    }
    submit(stores, "c", "77").await;
    assert_eq!(done(stores, "a", &FORCE).await, ["a", "b", "c"]);
    assert_eq!(
        states(stores, &["a", "b", "c", "x"]).await,
        [State::Ready, State::Waiting, State::Waiting, State::Completed]
    );
    assert_eq!(flow_state(stores, "f").await, FlowState::Running);
    let orders = stores.cancellations.cancellations().await.unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].token.as_str(), orders[0].process_id.as_deref()), ("c_1_1", Some("77")));
}

pub(super) async fn older_indexes_are_not_run_again(bench: &Bench) {
    let stores = &bench.stores;
    let jobs = [job("a", &[]), job("b", &["a"]), job("b", &["a"]).indexed(2), job("c", &["b"])];
    insert(stores, flow("f", jobs)).await;
    done(stores, "a", &Action::SetState(State::Failed)).await;
    done(stores, "b", &Action::SetState(State::Failed)).await;
    assert_eq!(
        refused(stores, "b", &FORCE).await,
        "Job b is not the highest index (1). Rerunning it will lead to inconsistencies and is not allowed."
    );
    assert_eq!(
        refused(stores, "a", &FORCE).await,
        "Job a has a child job (b) which is not the last index (1). Rerunning the Job will lead to inconsistencies and \
         is not allowed."
    );
}

pub(super) async fn a_running_job_leaves_an_order_behind(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[])])).await;
    submit(stores, "a", "4-5-6").await;
    done(stores, "a", &RERUN).await;
    let order = Cancellation {
        token: Token::new(&key("a"), 1),
        worker: "w".into(),
        process_id: Some("4-5-6".into()),
        run_dir: Some("/work/a".into()),
        remove_directory: false,
        ordered_on: at(100),
        by: USER.into(),
    };
    assert_eq!(stores.cancellations.cancellations().await.unwrap(), std::slice::from_ref(&order));
    assert_eq!(flow_state(stores, "f").await, FlowState::Ready);
    assert_eq!(stores.queue.claim(&claim_of(&[("w", 1)], at(101))).await.unwrap(), 1);
    let again = read(stores, "a").await;
    assert_eq!((again.state, again.ferry.attempt), (State::CheckedOut, 2));
    assert!(is_due(&order, Some((again.state, again.ferry.attempt))));
    stores.cancellations.order_cancellations(&[Cancellation { by: "b".into(), ..order }]).await.unwrap();
    assert_eq!(stores.cancellations.cancellations().await.unwrap()[0].by, USER, "the first order holds");
    let tokens = [Token::new(&key("a"), 1), Token::new(&key("a"), 7)];
    stores.cancellations.clear_cancellations(&tokens).await.unwrap();
    assert_eq!(stores.cancellations.cancellations().await.unwrap(), []);
}

pub(super) async fn pausing_and_resuming(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    assert_eq!(done(stores, "a", &Action::Pause).await, ["a"]);
    done(stores, "b", &Action::Pause).await;
    assert_eq!(states(stores, &["a", "b"]).await, [State::Paused, State::Paused]);
    assert_eq!(flow_state(stores, "f").await, FlowState::Paused);
    assert_eq!(
        refused(stores, "a", &Action::Pause).await,
        "Job in state PAUSED. The action cannot be performed"
    );
    let answers = act(stores, &["b", "a"], &Action::Resume).await;
    assert!(answers.iter().all(|answer| answer.refusal().is_none()));
    assert_eq!(states(stores, &["a", "b"]).await, [State::Ready, State::Waiting]);
    assert_eq!(flow_state(stores, "f").await, FlowState::Ready);
    assert_eq!(
        refused(stores, "a", &Action::Resume).await,
        "Job in state READY. The action cannot be performed"
    );
}

pub(super) async fn stopping_frees_those_that_can_do_without(bench: &Bench) {
    let stores = &bench.stores;
    let jobs = [job("a", &[]), job("strict", &["a"]), job("lax", &["a"]).on_missing("none")];
    insert(stores, flow("f", jobs)).await;
    assert_eq!(
        refused(stores, "lax", &Action::Stop).await,
        "Job in state WAITING. The action cannot be performed"
    );
    submit(stores, "a", "12").await;
    done(stores, "a", &Action::Stop).await;
    assert_eq!(
        states(stores, &["a", "strict", "lax"]).await,
        [State::UserStopped, State::Waiting, State::Ready]
    );
    assert_eq!(flow_state(stores, "f").await, FlowState::Stopped);
    assert_eq!(stores.cancellations.cancellations().await.unwrap().len(), 1);
    let order = step(stores, &key("a"), Event::ResumeReady, 200).await;
    assert_eq!((order.expected, order.attempt), (State::UserStopped, 1));
}

pub(super) async fn retrying(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    submit(stores, "a", "12").await;
    let failed = [
        Change::PreviousState(Some(State::Submitted)),
        Change::RemoteError(Some("no route to host".into())),
        Change::StepAttempts(3),
        Change::RetryTimeLimit(Some(at(900))),
    ];
    let failed = step(stores, &key("a"), Event::StepFailed, 20).await.with(failed);
    stores.queue.apply(&[failed]).await.unwrap();
    done(stores, "a", &Action::Retry).await;
    let back = read(stores, "a").await;
    assert_eq!((back.state, back.previous_state, back.ferry.attempt), (State::Submitted, None, 1));
    assert_eq!((back.remote.step_attempts, back.remote.error, back.remote.retry_time_limit), (0, None, None));
    assert_eq!(back.remote.process_id.as_deref(), Some("12"));
    let delayed = step(stores, &key("a"), Event::Start, 30).await.with([Change::RetryTimeLimit(Some(at(9)))]);
    stores.queue.apply(&[delayed]).await.unwrap();
    done(stores, "a", &Action::Retry).await;
    let now = read(stores, "a").await;
    assert_eq!((now.state, now.remote.retry_time_limit), (State::Running, None));
    assert_eq!(refused(stores, "b", &Action::Retry).await, "Job in state READY cannot be retried.");
    done(stores, "b", &Action::SetState(State::RemoteError)).await;
    assert_eq!(
        refused(stores, "b", &Action::Retry).await,
        "The registered previous state: None is not a valid state"
    );
    assert_eq!(stores.cancellations.cancellations().await.unwrap(), []);
}

pub(super) async fn setting_a_state(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    submit(stores, "a", "12").await;
    done(stores, "a", &Action::SetState(State::Completed)).await;
    assert_eq!(states(stores, &["a", "b"]).await, [State::Completed, State::Ready]);
    assert_eq!(stores.cancellations.cancellations().await.unwrap().len(), 1);
    done(stores, "b", &Action::SetState(State::Terminated)).await;
    assert_eq!(state(stores, "b").await, State::Terminated);
    assert_eq!(flow_state(stores, "f").await, FlowState::Running);
}

pub(super) async fn setting_what_a_job_is_run_with(bench: &Bench) {
    let stores = &bench.stores;
    let mut with = job("a", &[]);
    with.resources = Some(doc! {"ntasks": 4, "time": "1:00"});
    with.exec_config = Some(doc! {"modules": ["a"], "pre_run": "x"}.into());
    insert(stores, flow("f", [with, job("b", &[])])).await;
    let properties = Properties {
        worker: Some("other".into()),
        priority: Some(7),
        exec_config: Some(doc! {"modules": ["b"]}.into()),
        resources: Some(doc! {"ntasks": 8}),
        merge: Merge::Keep,
    };
    done(stores, "a", &Action::Set(Box::new(properties.clone()))).await;
    let set = read(stores, "a").await;
    assert_eq!((set.worker.as_str(), set.priority, set.state), ("other", 7, State::Ready));
    assert_eq!(set.resources, Some(doc! {"ntasks": 8, "time": "1:00"}));
    assert_eq!(set.exec_config, Some(doc! {"modules": ["b"], "pre_run": "x"}.into()));
    assert!(set.ferry.history.is_empty());
    done(stores, "a", &Action::Set(Box::new(Properties { merge: Merge::Replace, ..properties.clone() })))
        .await;
    let set = read(stores, "a").await;
    assert_eq!(set.resources, Some(doc! {"ntasks": 8}));
    let named = Properties { exec_config: Some(Bson::from("name")), ..Properties::default() };
    done(stores, "a", &Action::Set(Box::new(named))).await;
    assert_eq!(read(stores, "a").await.exec_config, Some("name".into()));
    submit(stores, "b", "1").await;
    assert_eq!(
        refused(stores, "b", &Action::Set(Box::new(properties))).await,
        "Job in state SUBMITTED. The action cannot be performed"
    );
    let urgent = Properties { priority: Some(9), ..Properties::default() };
    done(stores, "b", &Action::Set(Box::new(urgent))).await;
    assert_eq!(read(stores, "b").await.priority, 9);
    assert_eq!(stores.queue.claim(&claim_of(&[("other", 5)], at(200))).await.unwrap(), 1);
}

pub(super) async fn a_deleted_job_is_missed_by_nobody(bench: &Bench) {
    let stores = &bench.stores;
    let jobs = [
        job("a", &[]),
        job("b", &["a"]),
        job("b", &["a"]).indexed(2),
        job("c", &["b", "d"]),
        job("d", &[]),
        job("e", &["c"]),
    ];
    insert(stores, flow("f", jobs)).await;
    complete(stores, "d").await;
    let delete = Action::Delete(DELETE);
    let id = read(stores, "b").await.db_id;
    assert_eq!(
        act(stores, &["b"], &delete).await,
        [Answer::Done { changed: vec![id] }],
        "the first of two indexes"
    );
    let now = read_flow(stores, "f").await;
    assert_eq!(now.jobs, ["a", "b", "c", "d", "e"]);
    assert_eq!(now.parents.get_document("b").unwrap(), &doc! {"2": ["a"]});
    assert_eq!(read(stores, "c").await.parents, ["b", "d"]);
    let second = JobKey::new("b", 2);
    let answers = stores.actions.act(std::slice::from_ref(&second), &delete, &mandate()).await.unwrap();
    assert!(answers[0].refusal().is_none());
    let now = read_flow(stores, "f").await;
    assert_eq!(now.jobs, ["a", "c", "d", "e"]);
    assert_eq!(now.ids.len(), 4);
    assert_eq!(now.parents.get("b"), None);
    assert_eq!(now.parents.get_document("c").unwrap(), &doc! {"1": ["d"]});
    let child = read(stores, "c").await;
    assert_eq!((child.parents, child.state), (vec!["d".to_owned()], State::Ready));
    complete(stores, "c").await;
    complete(stores, "e").await;
    assert_eq!(flow_state(stores, "f").await, FlowState::Running, "a is a leaf now, and READY");
    complete(stores, "a").await;
    assert_eq!(flow_state(stores, "f").await, FlowState::Completed);
    let answers = act(stores, &["a", "c", "d", "e"], &delete).await;
    let refusals: Vec<bool> = answers.iter().map(|answer| answer.refusal().is_some()).collect();
    assert_eq!(refusals, [false, false, false, true]);
    assert_eq!(
        refused(stores, "e", &delete).await,
        "It is not possible to delete the only Job of the Flow. Delete the entire Flow."
    );
    assert_eq!(stores.queue.repair(at(500)).await.unwrap(), 0);
}

pub(super) async fn a_deleted_job_is_ended(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    submit(stores, "a", "12").await;
    let deletion = Deletion { processes: Processes::End, remove_directory: true };
    act(stores, &["a"], &Action::Delete(deletion)).await;
    let orders = stores.cancellations.cancellations().await.unwrap();
    assert!(orders.len() == 1 && orders[0].remove_directory && is_due(&orders[0], None));
}

pub(super) async fn flows_are_deleted_whole(bench: &Bench) {
    let stores = &bench.stores;
    for uuid in ["f", "g"] {
        let (first, second) = (format!("{uuid}1"), format!("{uuid}2"));
        insert(stores, flow(uuid, [job(&first, &[]), job(&second, &[&first])])).await;
    }
    submit(stores, "f1", "12").await;
    let wanted = ["f".to_owned(), "nobody".to_owned()];
    let answers = stores.actions.delete_flows(&wanted, DELETE, &mandate()).await.unwrap();
    assert!(matches!(&answers[0], Answer::Done { changed } if changed.len() == 2));
    assert_eq!(answers[1], Answer::Refused(Refusal::NoSuchFlow("nobody".into())));
    assert_eq!(uuids(stores, &JobFilter::default()).await, ["g1", "g2"]);
    assert_eq!(stores.queue.count_flows(&jobferry::model::query::FlowFilter::default()).await.unwrap(), 1);
    assert_eq!(stores.cancellations.cancellations().await.unwrap().len(), 1);
    insert(stores, flow("f", [job("f1", &[])])).await;
}

pub(super) async fn the_store_of_a_flow(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[])])).await;
    let set = async |store| stores.actions.set_flow_store("f", store, &mandate()).await.unwrap();
    assert_eq!(set(Some("other")).await, Answer::Done { changed: vec![] });
    assert_eq!(read_flow(stores, "f").await.jobstore.as_deref(), Some("other"));
    set(None).await;
    assert_eq!(read_flow(stores, "f").await.jobstore, None);
    complete(stores, "a").await;
    let refusal = set(Some("x")).await.refusal().cloned().unwrap();
    assert!(refusal.to_string().starts_with("The JobStore can be set only for a READY Flow"), "{refusal}");
}

pub(super) async fn many_at_once(bench: &Bench) {
    let stores = &bench.stores;
    let names: Vec<String> = (0..700).map(|number| format!("j{number}")).collect();
    let jobs = names.iter().map(|name| job(name, &[])).chain([job("last", &["j0", "j699"])]);
    insert(stores, flow("f", jobs)).await;
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = act(stores, &all, &Action::Pause).await;
    assert!(answers.len() == 700 && answers.iter().all(|answer| answer.refusal().is_none()));
    let paused = JobFilter { states: vec![State::Paused], ..JobFilter::default() };
    assert_eq!(stores.queue.count_jobs(&paused).await.unwrap(), 700);
    assert_eq!(flow_state(stores, "f").await, FlowState::Paused);
}

pub(super) async fn a_job_and_its_child_in_one_batch(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    done(stores, "a", &Action::SetState(State::Failed)).await;
    done(stores, "b", &Action::SetState(State::Failed)).await;
    let answers = act(stores, &["b", "a"], &RERUN).await;
    assert!(answers.iter().all(|answer| answer.refusal().is_none()), "{answers:?}");
    assert_eq!(states(stores, &["a", "b"]).await, [State::Ready, State::Waiting]);
}

pub(super) async fn locks_are_honoured_or_broken(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("a", &[]), job("b", &["a"]), job("x", &[])])).await;
    end(stores, "a", Event::Fail).await;
    bench.outside().hold(&key("b"), Some("somebody")).await;
    let id = read(stores, "b").await.db_id;
    let answers = act(stores, &["a", "x"], &RERUN).await;
    let refusal = answers[0].refusal().unwrap();
    assert!(refusal.is_passing());
    let text = refusal.to_string();
    assert!(
        text.starts_with(&format!("Job with db_id {id} is locked with lock_id somebody since 20")),
        "{text}"
    );
    assert!(text.ends_with(" UTC. The parent Job with uuid a cannot be rerun"), "{text}");
    assert_eq!(states(stores, &["a", "b"]).await, [State::Failed, State::Waiting]);
    assert!(read(stores, "a").await.lock.is_none(), "our own lock is let go");

    let answers = stores.actions.act(&[key("a")], &RERUN, &breaking()).await.unwrap();
    assert!(answers[0].refusal().is_none(), "{answers:?}");
    assert_eq!(states(stores, &["a", "b"]).await, [State::Ready, State::Waiting]);
    assert!(read_at(stores, &key("b")).await.lock.is_none() && read(stores, "a").await.lock.is_none());

    bench.outside().hold(&key("x"), Some("somebody")).await;
    assert!(refused(stores, "x", &Action::Pause).await.contains("is locked with lock_id somebody"));
    let gone = stores.actions.delete_flows(&["f".to_owned()], DELETE, &mandate()).await.unwrap();
    assert!(gone[0].refusal().is_some_and(Refusal::is_passing));
    let gone = stores.actions.delete_flows(&["f".to_owned()], DELETE, &breaking()).await.unwrap();
    assert!(gone[0].refusal().is_none());
}
