use bson::{bson, doc};

use super::*;
use crate::model::ids::JobKey;
use crate::model::job::{Ferry, Remote};
use crate::model::state::State;

/// Files that jobflow-remote 1.0.1 left in run directories.
const REPLACED: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/replace_flow.out.json");
const DETOURED: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/detour.out.json");
const ADDED: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/stored_data_addition.out.json");
const FAILED: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/failed.out.json");

fn record(uuid: &str, flow: &str) -> JobRecord {
    JobRecord {
        key: JobKey::new(uuid, 1),
        db_id: "8".to_owned(),
        worker: "cluster".to_owned(),
        state: State::Downloaded,
        remote: Remote::default(),
        parents: vec!["before".to_owned()],
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: Timestamp::from_millis(0),
        updated_on: Timestamp::from_millis(0),
        priority: 7,
        exec_config: Some(bson!("ec1")),
        resources: Some(doc! {"qverbatim": "#abc"}),
        stored_data: None,
        job: doc! {"name": "n", "hosts": [flow]},
        ferry: Ferry::default(),
    }
}

fn response(text: &[u8]) -> Response {
    match JobReport::read(text).unwrap().end {
        ReportedEnd::Responded(response) => *response,
        other => panic!("{other:?}"),
    }
}

fn shape(growth: &Growth) -> Vec<(&str, i32, Vec<&str>)> {
    growth
        .jobs
        .iter()
        .map(|job| {
            (
                job.key.uuid.get(..4).unwrap_or(&job.key.uuid),
                job.key.index,
                job.parents.iter().map(|uuid| uuid.get(..4).unwrap_or(uuid)).collect(),
            )
        })
        .collect()
}

#[test]
fn a_replacement_has_the_parents_of_the_job() {
    let current = record("556822cb-341c-481c-bf08-d729f6d5b097", "219a33da-fd06-4566-a954-847f83b2e097");
    let growth = response(REPLACED).growth(&current).unwrap();
    let expected = [("1be8", 1, vec!["befo"]), ("418b", 1, vec!["1be8"]), ("5568", 2, vec!["418b"])];
    assert_eq!(shape(&growth), expected);
    assert_eq!((growth.stop, growth.detour_leaves.len()), (Stop::Nothing, 0));
    let first = &growth.jobs[0];
    assert_eq!((first.worker.as_str(), first.priority), ("cluster", 7));
    assert_eq!((&first.exec_config, &first.resources), (&current.exec_config, &current.resources));
    let hosts = bson!(["3229a3c6-1e32-409f-b459-774403b21201", "219a33da-fd06-4566-a954-847f83b2e097"]);
    assert_eq!(first.job.get("hosts"), Some(&hosts));
}

#[test]
fn a_detour_has_the_job_as_its_parent_and_tells_its_leaves() {
    let current = record("c", "2084e2df-a90e-49e4-8463-8abf206ecc83");
    let growth = response(DETOURED).growth(&current).unwrap();
    assert_eq!(shape(&growth), [("5c68", 1, vec!["c"]), ("57dd", 1, vec!["5c68"])]);
    assert_eq!(growth.detour_leaves, ["57dd9a93-f74d-4794-9c4a-c0e0cc63a753"]);
}

#[test]
fn additions_wait_for_the_detour_of_the_same_response() {
    let flow =
        |uuid: &str, jobs: &str| format!(r#"{{"@class": "Flow", "uuid": "{uuid}", "jobs": [{jobs}]}}"#);
    let job = |uuid: &str| format!(r#"{{"function": {{"@callable": "f"}}, "uuid": "{uuid}"}}"#);
    let (added, detour) = (flow("f", &job("a")), flow("g", &format!("{}, {}", job("d"), job("e"))));
    let text = format!(r#"{{"response": {{"addition": {added}, "detour": {detour}}}}}"#);
    let growth = response(text.as_bytes()).growth(&record("c", "top")).unwrap();
    assert_eq!(shape(&growth), [("a", 1, vec!["c", "d", "e"]), ("d", 1, vec!["c"]), ("e", 1, vec!["c"])]);
}

#[test]
fn an_addition_keeps_the_values_of_monty() {
    let response = response(ADDED);
    let growth = response.growth(&record("c", "eb33711f-fe84-4f0f-8024-a7932e6ec289")).unwrap();
    assert_eq!(shape(&growth), [("4b0f", 1, vec!["c"])]);
    let time = bson!({"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00"});
    assert_eq!(growth.jobs[0].job.get_document("function_kwargs").unwrap().get("dt"), Some(&time));
    let stored = response.stored_data().unwrap();
    assert_eq!(stored.get("dt"), Some(&time));
    assert!(stored.get_f64("nan").unwrap().is_nan());
    assert!(growth.detour_leaves.is_empty());
}

#[test]
fn an_error_wins_and_no_response_means_killed() {
    let failed = JobReport::read(FAILED).unwrap();
    assert!(matches!(&failed.end, ReportedEnd::Failed(text) if text.ends_with("ValueError: boom\n")));
    assert_eq!(failed.start_time.map(Timestamp::timestamp_millis), Some(1_795_159_144_658));
    assert_eq!(failed.end_time.map(Timestamp::timestamp_millis), Some(1_795_159_144_720));
    let start = br#"{"start_time": {"@module": "datetime", "@class": "datetime", "string": "2026-11-20 07:18:15.5"}}"#;
    let killed = JobReport::read(start).unwrap();
    assert_eq!((killed.end, killed.end_time), (ReportedEnd::Killed, None));
    assert_eq!(killed.start_time.map(Timestamp::timestamp_millis), Some(1_795_159_095_500));
    assert_eq!(JobReport::read(b"{\"response\": {}}").unwrap().end, ReportedEnd::Killed);
    let both = JobReport::read(br#"{"response": {"stop_children": true}, "error": "late"}"#).unwrap();
    assert_eq!(both.end, ReportedEnd::Failed("late".to_owned()));
}

#[test]
fn stops_and_odd_data_are_read() {
    let of = |text: &str| response(format!("{{\"response\": {text}}}").as_bytes());
    let growth = |text: &str| of(text).growth(&record("c", "f")).unwrap();
    assert_eq!(growth(r#"{"stop_children": true, "stop_jobflow": false}"#).stop, Stop::Children);
    assert_eq!(growth(r#"{"stop_children": true, "stop_jobflow": true}"#).stop, Stop::Flow);
    assert!(growth(r#"{"stop_children": false, "stop_jobflow": null, "replace": null}"#).is_nothing());
    assert_eq!(
        of(r#"{"stored_data": [1, NaN]}"#).stored_data().unwrap().get_array("value").unwrap().len(),
        2
    );
    assert_eq!(of(r#"{"stored_data": null, "x": 1}"#).stored_data(), None);
}

#[test]
fn what_is_no_report_is_refused() {
    let of = |text: &[u8]| JobReport::read(text).unwrap_err().to_string();
    let grown = |text: &str| {
        let text = format!("{{\"response\": {text}}}");
        response(text.as_bytes()).growth(&record("c", "f")).unwrap_err().to_string()
    };
    let job = r#"{"@class": "Job", "function": {"@callable": "f"}, "uuid": "a", "config": {"manager_config": {"exec_config": {"x": 1}}}}"#;
    insta::assert_snapshot!([
        of(b""),
        of(b"{\"response\": {\"output\": nul"),
        of(b"[]"),
        of(b"{\"response\": 3}"),
        grown(r#"{"replace": 3}"#),
        grown(&format!(r#"{{"addition": {job}}}"#)),
        grown(&format!(r#"{{"addition": {{"@class": "Flow", "uuid": "f", "jobs": [{job}]}}}}"#)),
        grown(r#"{"detour": {"@class": "DecoratedFlow", "fn": {"@callable": "my_flow"}, "args": []}}"#),
    ].join("\n"), @r"
    it is no JSON: a value is missing: the text ends at offset 0
    it is no JSON: `nul` is no JSON value at offset 24
    it holds a list of 0 items, not the report of a job
    its response is 3, not a serialized Response
    the replacement of the job's response cannot be added: 3 is no serialized Flow or Job of jobflow
    the addition of the job's response cannot be added: a job or a list stands where the worker should have made a Flow of it
    the addition of the job's response cannot be added: the job f (a) cannot have the exec_config of its manager_config: `x` is not one of modules, export, pre_run, post_run
    the detour of the job's response cannot be added: my_flow is a flow made by @flow, and its serialized form has no jobs: make a plain one of it first, in Python `Flow(list(flow), output=flow.output, name=flow.name, uuid=flow.uuid)`
    ");
}
