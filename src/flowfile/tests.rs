mod bad;
mod examples;

use std::collections::HashMap;
use std::path::PathBuf;

use bson::{Bson, Document};
use proptest::prelude::*;

use super::fault::render;
use super::source::Format;
use super::*;
use crate::model::Timestamp;
use crate::model::job::NewFlow;

fn plan(text: &str) -> FlowPlan {
    parse(text, Format::Yaml, "flow")
        .unwrap_or_else(|faults| panic!("{}", render(&faults, "flow.yaml", text)))
}

/// Uuids are `u0` (the flow), `u1`, … in topological order.
fn compiled(plan: &FlowPlan, local: &HashMap<PathBuf, LocalContent>) -> Result<NewFlow, Vec<fault::Fault>> {
    let mut count = 0;
    let mut ids = || {
        count += 1;
        format!("u{}", count - 1)
    };
    let defaults = Defaults { worker: Some("laptop".to_owned()), ..Defaults::default() };
    plan.compile(&mut ids, local, &defaults, Timestamp::from_millis(0))
}

fn flow(text: &str) -> NewFlow {
    compiled(&plan(text), &HashMap::new()).unwrap()
}

fn command(flow: &NewFlow, job: usize) -> &Document {
    flow.jobs[job].job.get_document("function_kwargs").unwrap().get_document("jobferry").unwrap()
}

fn names(flow: &NewFlow) -> Vec<&str> {
    flow.jobs.iter().map(|job| job.job.get_str("name").unwrap()).collect()
}

#[test]
fn a_command_job_is_a_serialized_job_of_jobflow() {
    let flow = flow(
        "flow: f\njobs:\n  b: {command: [cat, \"${a.e[0]}\", \"x=${a.e}\"]}\n  a: {command: [x], outputs: {e: {json: o}}}\n",
    );
    let job = crate::jobflow::text::to_json(&Bson::Document(flow.jobs[1].job.clone()));
    let lines = job.as_object().unwrap().iter().map(|(key, value)| format!("{key}: {value}"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    @module: "jobflow.core.job"
    @class: "Job"
    @version: "0.4.0"
    function: {"@module":"builtins","@callable":"dict","@bound":null}
    function_args: []
    function_kwargs: {"jobferry":{"version":1,"arguments":["cat",{"@module":"jobflow.core.reference","@class":"OutputReference","@version":null,"uuid":"u1","attributes":[["i","e"],["i",0]],"output_schema":null},{"$text":["x=",{"@module":"jobflow.core.reference","@class":"OutputReference","@version":null,"uuid":"u1","attributes":[["i","e"]],"output_schema":null}]}],"environment":{},"stdin":null,"files":[],"outputs":{},"retries":{"count":0,"delay_seconds":0}}}
    output_schema: null
    uuid: "u2"
    index: 1
    name: "b"
    metadata: {}
    config: {"@module":"jobflow.core.job","@class":"JobConfig","@version":"0.4.0","resolve_references":true,"on_missing_references":"error","manager_config":{},"expose_store":false,"pass_manager_config":true,"response_manager_config":{}}
    hosts: ["u0"]
    metadata_updates: []
    config_updates: []
    name_updates: []
    "#);
    assert_eq!(flow.jobs[1].parents, ["u1"]);
    assert_eq!(names(&flow), ["a", "b"], "parents first");
}

#[test]
fn what_a_job_does_not_say_comes_from_the_defaults() {
    let flow = flow(
        "
defaults:
  worker: w
  env: {A: 1, B: 2}
  resources: {cpus: 4, memory: 2GB, time: 30m}
  modules: [m]
  retries: 2
  priority: 3
jobs:
  a: {command: [x]}
  b: {command: [x], worker: v, env: {B: 3}, resources: {cpus: 1}, exec_config: e, retries: {count: 1, delay: 10m}, priority: -1}
",
    );
    let [a, b] = flow.jobs.as_slice() else { panic!() };
    let memory = 2_i64 << 30;
    assert_eq!((a.worker.as_str(), a.priority), ("w", 3));
    assert_eq!(a.resources, Some(bson::doc! {"cpus_per_task": 4_i64, "memory": memory, "time": "1800s"}));
    let modules = bson::bson!({"modules": ["m"], "export": null, "pre_run": null, "post_run": null});
    assert_eq!(a.exec_config, Some(modules));
    assert_eq!((b.worker.as_str(), b.priority), ("v", -1));
    assert_eq!(b.resources, Some(bson::doc! {"cpus_per_task": 1_i64, "memory": memory, "time": "1800s"}));
    assert_eq!(b.exec_config, Some("e".into()));
    assert_eq!(command(&flow, 1).get("environment"), Some(&bson::bson!({"B": "3", "A": "1"})));
    assert_eq!(command(&flow, 1).get("retries"), Some(&bson::bson!({"count": 1, "delay_seconds": 600})));
}

#[test]
fn a_sweep_is_one_job_for_each_combination() {
    let flow = flow(
        "
jobs:
  s:
    for: {x: [1, 2], m: [a, '$${z}']}
    command: [run, \"${for.x}\", \"${m}-${x}\"]
    env: {X: \"${x}\"}
    resources: {cpus: \"${x}\"}
    files: {\"${m}.in\": {json: {x: \"${x}\", all: [\"${m}\"]}}}
    outputs: {e: {text: stdout, type: number}}
",
    );
    assert_eq!(names(&flow), ["s:x=1,m=a", "s:x=1,m=$${z}", "s:x=2,m=a", "s:x=2,m=$${z}"]);
    assert_eq!(command(&flow, 2).get("arguments"), Some(&bson::bson!(["run", "2", "a-2"])));
    assert_eq!(
        command(&flow, 1).get("arguments"),
        Some(&bson::bson!(["run", "1", "$${z}-1"])),
        "values are data"
    );
    let file = command(&flow, 2).get_array("files").unwrap()[0].as_document().unwrap();
    assert_eq!(file.get("path"), Some(&"a.in".into()));
    assert_eq!(file.get("content"), Some(&bson::bson!({"json": {"x": 2, "all": ["a"]}})));
    assert_eq!(flow.jobs[3].resources, Some(bson::doc! {"cpus_per_task": 2_i64}));
    assert_eq!(flow.jobs[2].job.get("metadata"), Some(&bson::bson!({"for": {"x": 2, "m": "a"}})));
}

#[test]
fn ranges_have_both_ends() {
    let values = |range: &str| {
        let flow = flow(&format!("jobs: {{s: {{for: {{x: {range}}}, command: [a]}}}}"));
        let value = |job: &crate::model::job::NewJob| {
            let metadata = job.job.get_document("metadata").unwrap();
            metadata.get_document("for").unwrap().get("x").unwrap().clone()
        };
        flow.jobs.iter().map(value).collect::<Vec<_>>()
    };
    assert_eq!(values("{from: 1, to: 3}"), [1, 2, 3].map(Bson::Int32));
    assert_eq!(values("{from: 1, to: 8, step: 3}"), [1, 4, 7].map(Bson::Int32));
    assert_eq!(values("{from: 0.1, to: 0.5, step: 0.2}"), [0.1, 0.3, 0.5].map(Bson::Double));
    assert_eq!(values("{from: 1, to: 0, step: -0.5}"), [1.0, 0.5, 0.0].map(Bson::Double));
    assert_eq!(values("{from: 0, to: 1, count: 3}"), [0.0, 0.5, 1.0].map(Bson::Double));
}

#[test]
fn sweeps_are_gathered_indexed_and_followed() {
    let flow = flow(
        "
jobs:
  s: {for: [{x: 1, y: a}, {x: 2, y: b}], command: [a], outputs: {e: {json: o}}}
  t: {each: s, for: {z: [5, 6]}, command: [b, \"${s.e.k}\", \"${y}${z}\"], outputs: {f: {text: stdout}}}
  u: {each: t, command: [\"${s.e}\", \"${t.f}\"], after: s}
  g:
    command: [c, \"${s.e.k}\", \"${s[-1].e}\"]
    files: {j: {json: [\"${s.for.x}\", \"${s.for.y}\"]}}
    after: u
",
    );
    assert_eq!(names(&flow)[..4], ["s:x=1,y=a", "s:x=2,y=b", "t:x=1,y=a,z=5", "t:x=1,y=a,z=6"]);
    let reference = |uuid: &str, steps: &[&str]| {
        let steps: Vec<Bson> = steps.iter().map(|step| bson::bson!(["i", *step])).collect();
        bson::bson!({
            "@module": "jobflow.core.reference", "@class": "OutputReference", "@version": null,
            "uuid": uuid, "attributes": steps, "output_schema": null,
        })
    };
    let arguments = |job: usize| command(&flow, job).get("arguments").unwrap().clone();
    assert_eq!(arguments(4), bson::bson!(["b", reference("u2", &["e", "k"]), "b5"]));
    assert_eq!(flow.jobs[4].parents, ["u2"]);
    assert_eq!(
        arguments(9),
        bson::bson!([reference("u2", &["e"]), reference("u6", &["f"])]),
        "pairs go all the way"
    );
    assert_eq!(flow.jobs[9].parents, ["u2", "u6"]);
    let gathered = bson::bson!([reference("u1", &["e", "k"]), reference("u2", &["e", "k"])]);
    assert_eq!(arguments(10), bson::bson!(["c", gathered, reference("u2", &["e"])]));
    let file = command(&flow, 10).get_array("files").unwrap()[0].as_document().unwrap();
    assert_eq!(file.get("content"), Some(&bson::bson!({"json": [[1, 2], ["a", "b"]]})));
    assert_eq!(flow.jobs[10].parents.len(), 2 + 4);
}

#[test]
fn values_in_a_shell_text_become_variables() {
    let flow = flow(
        "
jobs:
  a: {command: [x], outputs: {e: {json: o}}}
  b:
    for: {n: [7]}
    shell: |
      x=${HOME:-$HOME}; echo \"${a.e.k}\" ${a.e[0]} ${n} $${y} ${a.e.k}
"
        .replace("${HOME:-$HOME}", "$${HOME:-$HOME}")
        .as_str(),
    );
    let shell = command(&flow, 1).get_document("shell").unwrap();
    assert_eq!(
        shell.get_str("text").unwrap(),
        "x=${HOME:-$HOME}; echo \"${jf_a_e_k}\" ${jf_a_e_0} ${jf_n} ${y} ${jf_a_e_k}\n"
    );
    let names: Vec<&String> = shell.get_document("variables").unwrap().keys().collect();
    assert_eq!(names, ["jf_a_e_0", "jf_a_e_k", "jf_n"]);
}

#[test]
fn copied_files_are_asked_for_once_and_stored_under_their_hash() {
    let plan = plan(
        "
jobs:
  a: {command: [x], files: [in/POSCAR, lib]}
  b: {command: [x], files: {p: ./in//POSCAR, q: {copy: in/POSCAR, executable: true}}}
",
    );
    let paths: Vec<String> =
        plan.local_files().iter().map(|local| local.path.display().to_string()).collect();
    assert_eq!(paths, ["in/POSCAR", "lib"]);
    let file = |digit: &str| LocalFile { sha256: digit.repeat(64), size_bytes: 3, mode: 0o644 };
    let folder =
        vec![("x.py".to_owned(), LocalFile { mode: 0o755, ..file("b") }), ("d/y".to_owned(), file("c"))];
    let local = HashMap::from([
        (PathBuf::from("in/POSCAR"), LocalContent::File(file("a"))),
        (PathBuf::from("lib"), LocalContent::Folder(folder)),
    ]);
    let flow = compiled(&plan, &local).unwrap();
    let files = |job: usize| {
        let spec = crate::jobflow::command::CommandSpec::from_job(&flow.jobs[job].job).unwrap().unwrap();
        spec.files.into_iter().map(|file| (file.path, file.mode)).collect::<Vec<_>>()
    };
    let expected = [("POSCAR", 0o644), ("lib/x.py", 0o755), ("lib/d/y", 0o644)];
    assert_eq!(files(0), expected.map(|(path, mode)| (path.to_owned(), mode)));
    assert_eq!(files(1), [("p", 0o644), ("q", 0o755)].map(|(path, mode)| (path.to_owned(), mode)));
    let faults = compiled(&plan, &HashMap::new()).unwrap_err();
    assert_eq!(faults.len(), 4);
    assert_eq!(faults[0].message, "the file in/POSCAR cannot be read");
}

#[test]
fn one_command_is_a_flow_too() {
    let arguments = ["/bin/echo", "${x}", "a b"].map(str::to_owned);
    let plan = single_command(&arguments, &[], None).unwrap();
    let flow = compiled(&plan, &HashMap::new()).unwrap();
    assert_eq!(flow.name, "echo");
    assert_eq!(command(&flow, 0).get("arguments"), Some(&bson::bson!(["/bin/echo", "${x}", "a b"])));
    assert!(single_command(&[], &[], None).is_err());
    assert!(single_command(&["a\0".to_owned()], &[], None).is_err());
    assert!(single_command(&["a".to_owned()], &[("1 X".to_owned(), String::new())], None).is_err());
}

#[test]
fn a_job_needs_a_worker_from_somewhere() {
    let text = "jobs: {a: {command: [x]}}";
    let made = plan(text).compile(
        &mut String::new,
        &HashMap::new(),
        &Defaults::default(),
        Timestamp::from_millis(0),
    );
    insta::assert_snapshot!(render(&made.unwrap_err(), "flow.yaml", text), @r"
    flow.yaml:1:8: the job `a` has no worker (in jobs.a)
      |
    1 | jobs: {a: {command: [x]}}
      |        ^ write `worker:` under `defaults`, or give --worker
    ");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn damaged_files_never_make_it_panic(from in 0..2600_usize, length in 0..80_usize, patch in "[\\[\\]{}:,$ \n\"'a-z0-9-]{0,8}") {
        let text = include_str!("../../config/examples/flows/diamond.yaml");
        let start = (0..=from.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let end = (start..=(start + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let damaged = format!("{}{patch}{}", &text[..start], &text[end..]);
        match parse(&damaged, Format::Yaml, "flow") {
            Ok(plan) => { compiled(&plan, &HashMap::new()).ok(); }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                render(&faults, "flow.yaml", &damaged);
            }
        }
    }
}
