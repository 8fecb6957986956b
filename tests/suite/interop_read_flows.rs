//! Serialized flows and responses, as we read them and as the real jobflow-remote put them into a database.
//!
//! `tests/interop/read_flows.py` says what is compared.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use bson::{Bson, Document};
use jobferry::jobflow::flow::{ExternalReferences, SerializedFlow};
use jobferry::jobflow::response::{JobReport, ReportedEnd};
use jobferry::jobflow::run_config::RunConfig;
use jobferry::jobflow::{json, monty};
use jobferry::model::ids::JobKey;
use jobferry::model::job::{Ferry, JobRecord, NewJob, Remote};
use jobferry::model::state::State;
use jobferry::model::{Timestamp, job};

use crate::services::address;

/// Returns what the script found out, one document a line.
fn found(test: &str) -> Option<Vec<Document>> {
    let python = address(test, "JF_TEST_PEER_PYTHON")?;
    address(test, "JF_TEST_MONGODB_URI")?;
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/read_flows.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("JF_TEST_PEER_PYTHON can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| Document::from_reader(&*from_hexadecimal(line)).unwrap()).collect())
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A job as we insert it or as the peer did, in the same words.
#[derive(Debug, PartialEq)]
struct Inserted {
    key: JobKey,
    worker: String,
    priority: i32,
    /// Sorted: jobflow has those of one job in the order of a Python set.
    parents: Vec<String>,
    state: State,
    exec_config: Bson,
    resources: Bson,
    job: Bson,
}

fn ours(job: &NewJob, stop: job::Stop) -> Inserted {
    let mut parents = job.parents.clone();
    parents.sort();
    Inserted {
        key: job.key.clone(),
        worker: job.worker.clone(),
        priority: job.priority,
        parents,
        state: if stop == job::Stop::Nothing { job.first_state() } else { State::Stopped },
        exec_config: job.exec_config.clone().unwrap_or(Bson::Null),
        resources: job.resources.clone().map_or(Bson::Null, Bson::Document),
        job: comparable(&Bson::Document(job.job.clone())),
    }
}

fn theirs(document: &Document) -> Inserted {
    let mut parents = texts(document, "parents");
    parents.sort();
    Inserted {
        key: key_of(document),
        worker: document.get_str("worker").unwrap().to_owned(),
        priority: document.get_i32("priority").unwrap(),
        parents,
        state: document.get_str("state").unwrap().parse().unwrap(),
        exec_config: document.get("exec_config").unwrap().clone(),
        resources: document.get("resources").unwrap().clone(),
        job: comparable(document.get("job").unwrap()),
    }
}

fn key_of(document: &Document) -> JobKey {
    JobKey::new(document.get_str("uuid").unwrap(), document.get_i32("index").unwrap())
}

fn texts(document: &Document, key: &str) -> Vec<String> {
    document.get_array(key).unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The one difference there may be: a date that came as text stays as monty wrote it, where the peer's `submit_flow`
/// stores a BSON date. Keys are sorted: in Python their order says nothing.
fn comparable(value: &Bson) -> Bson {
    if let Some(moment) = value.as_document().and_then(|_| monty::moment(value)) {
        return Bson::DateTime(moment);
    }
    match value {
        Bson::Document(document) => {
            let mut entries: Vec<(String, Bson)> =
                document.iter().map(|(key, value)| (key.clone(), comparable(value))).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Bson::Document(entries.into_iter().collect())
        }
        Bson::Array(items) => Bson::Array(items.iter().map(comparable).collect()),
        // It is not even equal to itself.
        Bson::Double(number) if number.is_nan() => Bson::from("not a number"),
        other => other.clone(),
    }
}

/// Compares job by job, in the order of the short ids where jobflow has one.
fn compare(case: &str, exact: bool, ours: Vec<Inserted>, theirs: Vec<Inserted>) {
    let (mut ours, mut theirs) = (ours, theirs);
    let order = |jobs: &[Inserted]| jobs.iter().map(|job| job.key.clone()).collect::<Vec<_>>();
    if exact {
        assert_eq!(order(&ours), order(&theirs), "{case}: the order of the jobs");
    } else {
        for jobs in [&mut ours, &mut theirs] {
            jobs.sort_by(|one, other| one.key.cmp(&other.key));
        }
    }
    assert_eq!(ours.len(), theirs.len(), "{case}");
    for (our, their) in ours.iter().zip(&theirs) {
        assert_eq!(our, their, "{case}");
    }
}

fn flow_as_submitted(line: &Document) {
    let case = line.get_str("case").unwrap();
    let given = line.get_document("given").unwrap();
    let config = RunConfig {
        worker: given.get_str("worker").unwrap().to_owned(),
        priority: given.get_i32("priority").unwrap_or_default(),
        exec_config: given.get("exec_config").filter(|value| **value != Bson::Null).cloned(),
        resources: given.get_document("resources").ok().cloned(),
    };
    let external = match line.get_bool("external").unwrap() {
        true => ExternalReferences::Allowed,
        false => ExternalReferences::Refused,
    };
    let flow = line.get_document("flow").unwrap();
    let value = json::parse(line.get_str("text").unwrap().as_bytes()).unwrap();
    let mut uuid = || flow.get_str("uuid").unwrap().to_owned();
    let read =
        SerializedFlow::submitted(value, external, &mut uuid).unwrap_or_else(|why| panic!("{case}: {why}"));
    assert_eq!(
        (read.uuid.as_str(), read.name.as_str()),
        (uuid().as_str(), flow.get_str("name").unwrap()),
        "{case}"
    );
    assert_eq!(&read.metadata, flow.get_document("metadata").unwrap(), "{case}");
    let jobs = read.members.into_iter().map(|member| {
        let parents = member.parents.clone();
        ours(&config.new_job(member, parents).unwrap(), job::Stop::Nothing)
    });
    let stored = line.get_array("jobs").unwrap().iter().map(|job| theirs(job.as_document().unwrap()));
    compare(case, line.get_bool("exact").unwrap(), jobs.collect(), stored.collect());
}

fn record(document: &Document) -> JobRecord {
    JobRecord {
        key: key_of(document),
        db_id: document.get_str("db_id").unwrap().to_owned(),
        worker: document.get_str("worker").unwrap().to_owned(),
        state: State::Downloaded,
        remote: Remote::default(),
        parents: texts(document, "parents"),
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: Timestamp::from_millis(0),
        updated_on: Timestamp::from_millis(0),
        priority: document.get_i32("priority").unwrap(),
        exec_config: document.get("exec_config").filter(|value| **value != Bson::Null).cloned(),
        resources: document.get_document("resources").ok().cloned(),
        stored_data: None,
        job: document.get_document("job").unwrap().clone(),
        ferry: Ferry::default(),
    }
}

/// Returns how many jobs the response made.
fn response_as_followed(line: &Document) -> usize {
    let case = format!("a job of {}", line.get_str("case").unwrap());
    let record = record(line.get_document("job").unwrap());
    let after = line.get_document("after").unwrap();
    let report = JobReport::read(line.get_str("text").unwrap().as_bytes()).unwrap();
    let date = |key: &str| after.get_datetime(key).ok().copied();
    assert_eq!((report.start_time, report.end_time), (date("start_time"), date("end_time")), "{case}");
    let response = match report.end {
        ReportedEnd::Responded(response) => response,
        ReportedEnd::Failed(error) => {
            assert_eq!(after.get_str("state").unwrap(), "FAILED", "{case}");
            assert_eq!(after.get_str("error").unwrap(), error, "{case}");
            return 0;
        }
        ReportedEnd::Killed => panic!("{case}: no job was killed"),
    };
    assert_eq!(after.get_str("state").unwrap(), "COMPLETED", "{case}");
    let stored = response.stored_data().map_or("null".to_owned(), Document::to_string);
    assert_eq!(stored, after.get("stored_data").unwrap().to_string(), "{case}");
    let growth = response.growth(&record).unwrap_or_else(|why| panic!("{case}: {why}"));
    for child in line.get_array("children").unwrap() {
        let child = child.as_document().unwrap();
        let parents = |key: &str| texts(child, key).into_iter().collect::<BTreeSet<String>>();
        let mut expected = parents("before");
        expected.extend(growth.detour_leaves.iter().cloned());
        assert_eq!(expected, parents("after"), "{case}: the parents of a child");
    }
    let jobs = growth.jobs.iter().map(|job| ours(job, growth.stop));
    // In the database for a moment already: children of completed jobs have been released since.
    let stored = line.get_array("new").unwrap().iter().map(|job| {
        let mut job = theirs(job.as_document().unwrap());
        if job.state == State::Ready && !job.parents.is_empty() {
            job.state = State::Waiting;
        }
        job
    });
    compare(&case, line.get_bool("exact").unwrap(), jobs.collect(), stored.collect());
    growth.jobs.len()
}

#[test]
fn jobflow_remote_stores_flows_and_responses_as_we_read_them() {
    let Some(lines) = found("jobflow_remote_stores_flows_and_responses_as_we_read_them") else { return };
    let (flows, responses): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains_key("flow"));
    flows.iter().for_each(|line| flow_as_submitted(line));
    let new_jobs: usize = responses.iter().map(|line| response_as_followed(line)).sum();
    let exact = flows.iter().filter(|line| line.get_bool("exact").unwrap()).count();
    assert!(
        exact >= 30 && new_jobs >= 60,
        "{exact} of {} flows in exact order, {new_jobs} new jobs",
        flows.len()
    );
}
