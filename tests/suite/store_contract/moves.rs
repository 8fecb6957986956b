//! `Queue::apply`.

use bson::doc;
use jobferry::model::job::{HISTORY_LIMIT, Outcome, Remote};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Change, Move, StoreError};

use super::Bench;
use super::making::{BY, advance, at, everything, flow, insert, job, key, read, step};

fn every_change() -> Vec<Change> {
    vec![
        Change::RunDir("/scratch/a".into()),
        Change::ProcessId(Some("4711".into())),
        Change::QueueState(Some("QUEUED".into())),
        Change::StepAttempts(2),
        Change::RetryTimeLimit(Some(at(99))),
        Change::RemoteError(Some("no route".into())),
        Change::PrerunCleanup(true),
        Change::QueueOut(Some("out".into())),
        Change::QueueErr(Some("err".into())),
        Change::PreviousState(Some(State::Terminated)),
        Change::Error(Some("Traceback".into())),
        Change::StartTime(Some(at(20))),
        Change::EndTime(Some(at(30))),
        Change::StoredData(Some(doc! {"n": 1, "deep": {"list": [1, 2]}})),
        Change::Outcome(Some(outcome())),
        Change::RetriesUsed(3),
    ]
}

fn outcome() -> Outcome {
    Outcome {
        exit_code: Some(137),
        signal: Some(9),
        host: Some("node7".into()),
        scheduler_state: None,
        stderr_tail: Some("killed".into()),
    }
}

pub(super) async fn each_change_is_stored(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    let other = read(&bench.stores, "b").await;
    let before = read(&bench.stores, "a").await;
    let check_out =
        Move::of(&before, Some(Event::CheckOut), at(9), BY).with(every_change()).because("a test");
    assert_eq!(bench.stores.queue.apply(&[check_out]).await.unwrap(), [Applied::Done]);
    let mut expected = before.clone();
    expected.state = State::CheckedOut;
    expected.updated_on = at(9);
    expected.run_dir = Some("/scratch/a".into());
    expected.remote = Remote {
        step_attempts: 2,
        queue_state: Some("QUEUED".into()),
        process_id: Some("4711".into()),
        retry_time_limit: Some(at(99)),
        error: Some("no route".into()),
        prerun_cleanup: true,
        queue_out: Some("out".into()),
        queue_err: Some("err".into()),
    };
    expected.previous_state = Some(State::Terminated);
    expected.error = Some("Traceback".into());
    expected.start_time = Some(at(20));
    expected.end_time = Some(at(30));
    expected.stored_data = Some(doc! {"n": 1, "deep": {"list": [1, 2]}});
    expected.ferry.outcome = Some(outcome());
    expected.ferry.retries_used = 3;
    expected.ferry.attempt = 1;
    let now = read(&bench.stores, "a").await;
    expected.ferry.history.clone_from(&now.ferry.history);
    assert_eq!(now, expected);
    assert_eq!(now.ferry.history[0].reason.as_deref(), Some("a test"));
    assert_eq!(read(&bench.stores, "b").await, other);
    clearing_and_the_last_of_two(bench).await;
}

async fn clearing_and_the_last_of_two(bench: &Bench) {
    let cleared = [
        Change::ProcessId(Some("first".into())),
        Change::ProcessId(None),
        Change::StoredData(None),
        Change::Outcome(None),
        Change::EndTime(None),
        Change::PreviousState(None),
    ];
    let job = read(&bench.stores, "a").await;
    let stage = Move::step(&job, Event::Stage, at(10), BY).with(cleared);
    bench.stores.queue.apply(&[stage]).await.unwrap();
    let now = read(&bench.stores, "a").await;
    assert_eq!((now.remote.process_id, now.stored_data, now.ferry.outcome), (None, None, None));
    assert_eq!((now.end_time, now.previous_state, now.start_time), (None, None, Some(at(20))));
    assert_eq!((now.remote.step_attempts, now.remote.retry_time_limit, now.remote.error), (0, None, None));
}

pub(super) async fn wrong_state_or_attempt_is_lost(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let check_out = step(&bench.stores, &key("a"), Event::CheckOut, 1).await;
    let queue = &bench.stores.queue;
    assert_eq!(queue.apply(std::slice::from_ref(&check_out)).await.unwrap(), [Applied::Done]);
    let before = everything(&bench.stores).await;
    let stage = step(&bench.stores, &key("a"), Event::Stage, 2).await;
    for lost in [
        check_out,
        Move { attempt: 0, ..stage.clone() },
        Move { attempt: 2, ..stage.clone() },
        Move { expected: State::Uploaded, event: Some(Event::Submit), ..stage.clone() },
        Move { key: key("unknown"), ..stage.clone() },
        Move { event: None, attempt: 7, ..stage.clone() }.with([Change::StepAttempts(5)]),
    ] {
        assert_eq!(queue.apply(std::slice::from_ref(&lost)).await.unwrap(), [Applied::Lost], "{lost:?}");
        assert_eq!(everything(&bench.stores).await, before, "{lost:?}");
    }
    assert_eq!(queue.apply(&[stage]).await.unwrap(), [Applied::Done]);
}

pub(super) async fn a_plain_write_keeps_state_and_history(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    advance(&bench.stores, &key("a"), &[Event::CheckOut]).await;
    let before = read(&bench.stores, "a").await;
    let failed = Move::of(&before, None, at(5), BY).with([
        Change::StepAttempts(1),
        Change::RetryTimeLimit(Some(at(35))),
        Change::RemoteError(Some("x".into())),
    ]);
    assert_eq!(bench.stores.queue.apply(&[failed]).await.unwrap(), [Applied::Done]);
    let now = read(&bench.stores, "a").await;
    assert_eq!((now.state, &now.ferry), (State::CheckedOut, &before.ferry));
    assert_eq!((now.remote.step_attempts, now.remote.retry_time_limit), (1, Some(at(35))));
    assert_eq!(now.updated_on, at(5));
}

pub(super) async fn an_illegal_move_writes_nothing(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    let before = everything(&bench.stores).await;
    let good = step(&bench.stores, &key("a"), Event::CheckOut, 1).await;
    let bad = step(&bench.stores, &key("b"), Event::Collect, 1).await;
    let error = bench.stores.queue.apply(&[bad.clone(), good]).await.unwrap_err();
    assert!(matches!(error, StoreError::Illegal(_)), "{error:?}");
    assert_eq!(everything(&bench.stores).await, before);
    assert!(bench.stores.queue.finish(&[bad.into()]).await.is_err());
    assert_eq!(everything(&bench.stores).await, before);
}

pub(super) async fn history_has_a_limit(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let rounds = HISTORY_LIMIT / 2 + 5;
    for round in 0..rounds {
        let mut check_out = step(&bench.stores, &key("a"), Event::CheckOut, 0).await;
        check_out.reason = Some(round.to_string());
        let mut rerun = check_out.clone();
        rerun.expected = State::CheckedOut;
        rerun.attempt += 1;
        rerun.event = Some(Event::Rerun);
        assert_eq!(bench.stores.queue.apply(&[check_out, rerun]).await.unwrap(), [Applied::Done; 2]);
    }
    let history = read(&bench.stores, "a").await.ferry.history;
    assert_eq!(history.len(), HISTORY_LIMIT);
    assert_eq!(history[0].reason.as_deref(), Some("5"), "the oldest are dropped");
    let last = (rounds - 1).to_string();
    assert_eq!(history[HISTORY_LIMIT - 1].reason.as_deref(), Some(last.as_str()));
    assert!(history.is_sorted_by_key(|entry| entry.attempt));
}

pub(super) async fn batches_answer_in_order(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[]), job("c", &[])])).await;
    let mut moves = Vec::new();
    for uuid in ["c", "a", "b"] {
        moves.push(step(&bench.stores, &key(uuid), Event::CheckOut, 1).await);
    }
    moves[1].attempt = 3;
    let answers = bench.stores.queue.apply(&moves).await.unwrap();
    assert_eq!(answers, [Applied::Done, Applied::Lost, Applied::Done]);
    assert_eq!(bench.stores.queue.apply(&[]).await.unwrap(), []);
}

pub(super) async fn a_held_job_is_left_alone(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    let queue = &bench.stores.queue;
    bench.outside().hold(&key("a"), Some("somebody")).await;
    let before = everything(&bench.stores).await;
    assert_eq!(before.0[0].lock.as_ref().map(|lock| lock.id.as_str()), Some("somebody"));
    assert_eq!(queue.claim(&super::making::claim_of(&[("w", 5)], at(3))).await.unwrap(), 0);
    let check_out = step(&bench.stores, &key("a"), Event::CheckOut, 3).await;
    assert_eq!(queue.apply(std::slice::from_ref(&check_out)).await.unwrap(), [Applied::Lost]);
    assert_eq!(queue.finish(&[check_out.clone().into()]).await.unwrap(), [Applied::Lost]);
    assert_eq!(everything(&bench.stores).await, before);
    bench.outside().hold(&key("a"), None).await;
    assert_eq!(queue.apply(&[check_out]).await.unwrap(), [Applied::Done]);
}
