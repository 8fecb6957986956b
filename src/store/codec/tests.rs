use super::*;
use crate::model::flow::FlowState;

const JOBS: &str = include_str!("../../../tests/fixtures/documents/jobs.json");
const FLOWS: &str = include_str!("../../../tests/fixtures/documents/flows.json");

/// Documents that jobflow-remote 1.0.1 wrote, with their BSON types.
fn stored_by_python(text: &str) -> Vec<Document> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let documents = values.into_iter().map(|value| Bson::try_from(value).unwrap());
    documents
        .map(|document| match document {
            Bson::Document(mut document) => {
                document.remove("_id");
                document
            }
            other => panic!("not a document: {other}"),
        })
        .collect()
}

fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().unwrap()
}

fn a_job() -> Document {
    stored_by_python(JOBS).remove(0)
}

#[test]
fn jobs_of_the_python_side_are_written_back_byte_for_byte() {
    let documents = stored_by_python(JOBS);
    assert_eq!(documents.len(), 8);
    for document in documents {
        let mut again = job_document(&read_job(document.clone()).unwrap());
        assert_eq!(again.keys().last().unwrap(), FERRY, "our part is the last field");
        again.remove(FERRY);
        assert_eq!(bytes(&again), bytes(&document), "{}", describe_job(&document));
    }
}

#[test]
fn flows_of_the_python_side_are_written_back_byte_for_byte() {
    for document in stored_by_python(FLOWS) {
        let again = flow_document(&read_flow(document.clone()).unwrap());
        assert_eq!(bytes(&again), bytes(&document));
    }
}

#[test]
fn what_jobferry_adds_goes_through_the_document() {
    let mut job = read_job(a_job()).unwrap();
    job.lock = Some(Lock { id: "l".into(), time: Some(Timestamp::from_millis(7)) });
    job.previous_state = Some(State::Terminated);
    job.ferry = Ferry {
        attempt: 3,
        outcome: Some(Outcome { exit_code: Some(1), host: Some("n1".into()), ..Outcome::default() }),
        retries_used: 2,
        settling: true,
        history: vec![HistoryEntry {
            at: Timestamp::from_millis(5),
            from: State::Running,
            to: State::Terminated,
            attempt: 3,
            reason: Some("gone from the queue".into()),
            by: "runner@h".into(),
        }],
    };
    let document = job_document(&job);
    assert_eq!(document.get_str("previous_state").unwrap(), "RUN_FINISHED");
    assert_eq!(read_job(document).unwrap(), job);
}

#[test]
fn both_names_of_terminated_are_read_and_the_new_one_is_written() {
    for name in ["TERMINATED", "RUN_FINISHED"] {
        let mut document = a_job();
        document.insert("state", name);
        let job = read_job(document).unwrap();
        assert_eq!(job.state, State::Terminated);
        assert_eq!(job_document(&job).get_str("state").unwrap(), "RUN_FINISHED");
    }
}

#[test]
fn optional_fields_may_be_missing_and_unknown_ones_are_ignored() {
    let mut document = a_job();
    for field in ["remote", "parents", "lock_id", "lock_time", "priority", "resources", "run_dir"] {
        document.remove(field);
    }
    document.insert("a_later_version", 1);
    let job = read_job(document).unwrap();
    assert_eq!((job.remote, job.parents, job.lock, job.priority), (Remote::default(), vec![], None, 0));
    assert_eq!(job.ferry, Ferry::default());
}

#[test]
fn numbers_of_a_mongo_shell_are_read() {
    for seven in [Bson::Int64(7), Bson::Double(7.0)] {
        let mut document = a_job();
        document.insert("priority", seven);
        assert_eq!(read_job(document).unwrap().priority, 7);
    }
}

#[test]
fn a_wrong_field_is_named() {
    let cases: [(&str, Bson, &str); 8] = [
        ("uuid", Bson::Null, "the field `uuid` is missing"),
        ("index", "1".into(), "the field `index` is of type String, not a whole number of 32 bits"),
        ("index", 1.5.into(), "the field `index` is of type Double, not a whole number of 32 bits"),
        ("state", "LOST".into(), "the field `state` has an unknown value: `LOST` is not a state of a job"),
        ("created_on", "today".into(), "the field `created_on` is of type String, not a date"),
        (
            "remote",
            doc! { "process_id": 5 }.into(),
            "the field `remote.process_id` is of type Int32, not a string",
        ),
        ("parents", vec![1].into(), "the field `parents.0` is of type Int32, not a string"),
        (
            FERRY,
            doc! { "history": [{ "at": 1 }] }.into(),
            "the field `jobferry.history.0.at` is of type Int32, not a date",
        ),
    ];
    for (field, value, message) in cases {
        let mut document = a_job();
        document.insert(field, value);
        assert_eq!(read_job(document).unwrap_err().to_string(), message);
    }
    let mut flow = stored_by_python(FLOWS).remove(0);
    flow.insert("ids", vec![Bson::Array(vec!["1".into(), "u".into()])]);
    assert_eq!(read_flow(flow).unwrap_err().to_string(), "the field `ids.0.2` is missing");
}

fn a_new_flow() -> NewFlow {
    let job = |uuid: &str, parents: &[&str]| NewJob {
        key: JobKey::new(uuid, 1),
        worker: "w".into(),
        priority: 2,
        parents: parents.iter().map(|p| (*p).to_owned()).collect(),
        exec_config: Some("ec".into()),
        resources: None,
        job: doc! { "name": uuid, "hosts": ["f"] },
    };
    NewFlow {
        uuid: "f".into(),
        name: "flow".into(),
        metadata: doc! { "k": 1 },
        jobstore: None,
        jobs: vec![job("a", &[]), job("b", &["a"])],
        created_on: Timestamp::from_millis(9),
    }
}

#[test]
fn a_new_job_has_the_fields_of_a_stored_one() {
    let flow = a_new_flow();
    let document = new_job_document(&flow.jobs[1], "p-2", flow.created_on);
    let fields: Vec<&str> = document.keys().map(String::as_str).collect();
    let python: Vec<String> = a_job().keys().cloned().chain([FERRY.to_owned()]).collect();
    assert_eq!(fields, python);
    let remote: Vec<String> = document.get_document("remote").unwrap().keys().cloned().collect();
    assert_eq!(remote, a_job().get_document("remote").unwrap().keys().cloned().collect::<Vec<_>>());
    assert_eq!(document.get_str("state").unwrap(), "WAITING");
    assert_eq!(document.get("lock_id"), Some(&Bson::Null));
    assert_eq!(document.get_datetime("updated_on").unwrap(), &flow.created_on);
    assert_eq!(read_job(document).unwrap().db_id, "p-2");
}

#[test]
fn a_new_flow_has_the_fields_of_a_stored_one() {
    let flow = a_new_flow();
    let document = new_flow_document(&flow, &["1".into(), "2".into()]);
    let keys: Vec<String> = document.keys().cloned().collect();
    assert_eq!(keys, stored_by_python(FLOWS)[0].keys().cloned().collect::<Vec<_>>());
    assert_eq!(document.get_document("parents").unwrap(), &doc! { "a": { "1": [] }, "b": { "1": ["a"] } });
    let record = read_flow(document).unwrap();
    assert_eq!(record.ids, flow_ids(&flow, &["1".into(), "2".into()]));
    assert_eq!((record.state, record.jobs), (FlowState::Ready, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn changes_become_dotted_paths() {
    let set = changes_to_set(&[
        Change::ProcessId(Some("1".into())),
        Change::StepAttempts(2),
        Change::ProcessId(Some("7".into())),
        Change::PreviousState(Some(State::Terminated)),
        Change::StoredData(None),
        Change::Outcome(Some(Outcome { signal: Some(9), ..Outcome::default() })),
    ]);
    assert_eq!(
        set,
        doc! {
            "remote.process_id": "7",
            "remote.step_attempts": 2,
            "previous_state": "RUN_FINISHED",
            "stored_data": null,
            "jobferry.outcome": {
                "exit_code": null, "signal": 9, "host": null, "scheduler_state": null, "stderr_tail": null,
            },
        }
    );
}

#[test]
fn every_change_is_read_back_as_it_was_made() {
    let time = Some(Timestamp::from_millis(3));
    let text = || Some("t".to_owned());
    let changes = [
        Change::RunDir("/w".into()),
        Change::QueueState(text()),
        Change::RetryTimeLimit(time),
        Change::RemoteError(text()),
        Change::PrerunCleanup(true),
        Change::QueueOut(text()),
        Change::QueueErr(text()),
        Change::Error(text()),
        Change::StartTime(time),
        Change::EndTime(time),
        Change::StoredData(Some(doc! { "a.b": 1 })),
        Change::RetriesUsed(4),
    ];
    let mut document = a_job();
    write_paths(&mut document, &changes_to_set(&changes));
    let job = read_job(document).unwrap();
    assert_eq!(job.run_dir.as_deref(), Some("/w"));
    assert_eq!((job.start_time, job.end_time, job.remote.retry_time_limit), (time, time, time));
    let remote = job.remote;
    assert_eq!([remote.queue_state, remote.error, remote.queue_out], [text(), text(), text()]);
    assert_eq!((remote.queue_err, job.error, remote.prerun_cleanup), (text(), text(), true));
    assert_eq!((job.stored_data, job.ferry.retries_used), (Some(doc! { "a.b": 1 }), 4));
}

#[test]
fn a_move_is_judged_before_it_is_written() {
    let job = read_job(a_job()).unwrap();
    let at = Timestamp::from_millis(4);
    let mut step = Move::of(&job, Some(Event::Stage), at, "runner@h");
    assert!(written(&step).is_err(), "a COMPLETED job cannot be staged");
    step.expected = State::Ready;
    step.event = Some(Event::CheckOut);
    let checked_out = written(&step).unwrap();
    assert_eq!(checked_out.set, doc! { "updated_on": at, "jobferry.attempt": 1, "state": "CHECKED_OUT" });
    assert_eq!(checked_out.entry.unwrap().attempt, 1);
    step.event = None;
    assert_eq!(
        written(&step).unwrap(),
        Written { to: State::Ready, set: doc! { "updated_on": at }, entry: None }
    );
}

#[test]
fn a_summary_leaves_out_what_can_be_large() {
    let mut job = read_job(a_job()).unwrap();
    job.stored_data = Some(doc! { "x": 1 });
    let short = summary(job.clone());
    assert_eq!(short.job.keys().collect::<Vec<_>>(), ["name", "metadata", "config", "hosts"]);
    assert_eq!(short.job.get_document("config").unwrap(), &doc! { "on_missing_references": "error" });
    assert_eq!(short.name(), job.name());
    assert_eq!(short.stored_data, None);
}
