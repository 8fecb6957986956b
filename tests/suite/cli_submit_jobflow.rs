//! `jf submit` of flows that Python serialized. What is stored is compared with jobflow-remote in `interop_read_flows`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::cli_environment::TestEnv;

/// As jobflow 0.4.0 wrote it: a flow in a flow, a `NaN`, a date, settings of one job.
const DIAMOND: &str = include_str!("../fixtures/jobflow/diamond.json");

const MORE: &str = "\
exec_config:
  fast: {modules: [gcc]}
jobstore:
  additional_stores: {data: {type: SqliteStore}}
";

fn with_flow() -> TestEnv {
    let place = TestEnv::with_project();
    place.write("flow.json", DIAMOND);
    place
}

/// The flow with one value of a job put in.
fn changed(place: &TestEnv, name: &str, change: impl Fn(&mut Value)) {
    let mut flow: Value = serde_json::from_str(&DIAMOND.replace("NaN", "null")).unwrap();
    change(&mut flow);
    place.write(name, &flow.to_string());
}

#[test]
fn a_serialized_flow_is_submitted_once() {
    let place = with_flow();
    assert_snapshot!(place.jf("submit flow.json").without_chance(), @r"
    exit: 0
    ----- stdout
    Submitted flow diamond ([UUID]): 4 jobs, 1 to 4
    `jf flow info 1` follows it; a runner (`runner start`) runs it.
    ----- stderr
    ");
    let jobs = place.jf("job list --json --sort db_id -revs").json();
    let states: Vec<Value> =
        jobs.as_array().unwrap().iter().map(|job| json!([job["name"], job["state"]])).collect();
    let expected =
        json!([["first", "READY"], ["left", "WAITING"], ["right", "WAITING"], ["last", "WAITING"]]);
    assert_eq!(json!(states), expected);
    let again = place.jf("submit flow.json");
    assert_ne!(again.code, Some(0), "{again}");
    assert_eq!(place.jf("job list --json").json().as_array().unwrap().len(), 4);
}

#[test]
fn a_job_a_list_and_yaml_are_taken_too() {
    let place = with_flow();
    let flow: Value = serde_json::from_str(&DIAMOND.replace("NaN", "null")).unwrap();
    let mut job = flow["jobs"][0]["jobs"][0].clone();
    job["hosts"] = json!([]);
    place.write("job.json", &job.to_string());
    assert!(place.jf("submit job.json").stdout.contains("Submitted flow Flow"));
    job["uuid"] = json!("00000000-0000-4000-8000-0000000000aa");
    place.write("list.txt", &json!([job]).to_string());
    assert!(place.jf("submit list.txt --format json").stdout.contains("Submitted flow Flow"));
    job["uuid"] = json!("00000000-0000-4000-8000-0000000000bb");
    // JSON is YAML; this is the block form of its outermost map.
    let yaml: String =
        job.as_object().unwrap().iter().map(|(key, value)| format!("\"{key}\": {value}\n")).collect();
    place.write("job.yaml", &yaml);
    assert!(
        place.jf("submit job.yaml").stdout.contains("Submitted flow Flow"),
        "{}",
        place.jf("submit job.yaml")
    );
    assert_eq!(place.jf("job list --json").json().as_array().unwrap().len(), 3);
}

#[test]
fn all_faults_are_told_at_once_and_nothing_is_written() {
    let place = with_flow();
    changed(&place, "wrong.json", |flow| {
        flow["jobs"][1]["config"]["manager_config"] = json!({"worker": "hero", "exec_config": "slow"});
        flow["jobs"][2]["config"]["manager_config"] = json!({"priority": "high"});
        flow["jobs"][0]["jobs"][0]["data"] = json!("big");
    });
    assert_snapshot!(place.jf("submit wrong.json --jobstore other").without_chance(), @r#"
    exit: 6
    ----- stdout
    ----- stderr
    error: wrong.json has 4 faults; nothing was submitted:
          the job last ([UUID]) cannot have the priority of its manager_config: it is the text "high", not a whole number
          the project `lab` has no optional job store `other`: add it to [ROOT]/projects/lab.yaml
          the project `lab` has no worker `hero` (job right): did you mean `here`?
          the project `lab` has no exec_config `slow` (job right): add it to [ROOT]/projects/lab.yaml
    "#);
    assert_snapshot!(place.jf("submit wrong.json --exec-config fast").without_chance(), @r#"
    exit: 6
    ----- stdout
    ----- stderr
    error: wrong.json has 5 faults; nothing was submitted:
          the job last ([UUID]) cannot have the priority of its manager_config: it is the text "high", not a whole number
          the project `lab` has no exec_config `fast` (job first): add it to [ROOT]/projects/lab.yaml
          the job first stores into `data`, which is no additional store
          the project `lab` has no worker `hero` (job right): did you mean `here`?
          the project `lab` has no exec_config `slow` (job right): add it to [ROOT]/projects/lab.yaml
    "#);
    changed(&place, "outside.json", |flow| {
        flow["jobs"].as_array_mut().unwrap().remove(0);
    });
    assert_snapshot!(place.jf("submit outside.json").without_chance(), @r"
    exit: 6
    ----- stdout
    ----- stderr
    error: outside.json cannot be submitted: jobs refer to outputs of jobs outside the flow: the job right ([UUID]) to [UUID], the job last ([UUID]) to [UUID]
    hint: --allow-external-references allows it, if those jobs are in the same database
    ");
    assert!(place.jf("job list --json").json().as_array().unwrap().is_empty());
    assert!(place.jf("submit outside.json --allow-external-references").stdout.contains("2 jobs"));
}

#[test]
fn names_of_the_project_are_known() {
    let place = with_flow();
    place.write("projects/lab.yaml", &(place.project("lab") + MORE));
    changed(&place, "flow.json", |flow| flow["jobs"][0]["jobs"][0]["data"] = json!("big"));
    assert_eq!(place.jf("submit flow.json --exec-config fast --priority 3 --cpus 2").code, Some(0));
    let (first, left) = (place.jf("job info 1 --json").json(), place.jf("job info 2 --json").json());
    assert_eq!((&first["exec_config"], &first["priority"]), (&json!("fast"), &json!(3)));
    assert_eq!(
        (&first["resources"]["cpus_per_task"], &left["resources"]["processes"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(left["priority"], 9);
}

#[test]
fn options_of_other_flows_are_refused() {
    let place = with_flow();
    place.write("ours.yaml", "jobs: {one: {command: ['true']}}\n");
    for line in
        ["submit flow.json --name x", "submit ours.yaml --exec-config fast", "submit --jobstore x -- true"]
    {
        let run = place.jf(line);
        assert_eq!(run.code, Some(2), "{line}: {run}");
    }
}
