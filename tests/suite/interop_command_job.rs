//! Python tools decode command jobs without any package of ours: tried with jobflow itself.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::process::{Command, Stdio};

use bson::Bson;
use jobferry::flowfile::source::Format;
use jobferry::flowfile::{Defaults, parse};
use jobferry::jobflow::command::KeptFile;
use jobferry::jobflow::reference::{Properties, references, resolve};
use jobferry::jobflow::text::to_json;
use jobferry::model::Timestamp;
use jobferry::model::flow::OnMissing;
use jobferry::model::job::NewFlow;
use serde_json::{Value, json};

use crate::services::address;

fn demo_flow() -> NewFlow {
    let plan =
        parse(include_str!("../../config/examples/flows/diamond.yaml"), Format::Yaml, "diamond").unwrap();
    let defaults = Defaults { worker: Some("laptop".to_owned()), ..Defaults::default() };
    let mut ids = || uuid::Uuid::new_v4().to_string();
    plan.compile(&mut ids, &HashMap::new(), &defaults, Timestamp::from_millis(0)).unwrap()
}

/// An output that has everything that any job of the flow refers to.
fn an_output() -> Bson {
    let kept = KeptFile { name: "sorted.txt".to_owned(), sha256: "ab".repeat(32), size_bytes: 25 };
    bson::bson!({
        "sorted": kept.to_document(), "count": 5, "value": 5.43, "low": 5.4, "high": 5.47,
        "all": {"low": 5.4, "unit": "angstrom"}, "product": 1.5,
    })
}

fn ask_jobflow(python: &str, question: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/decode_command_job.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("JF_TEST_PYTHON can be started");
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let text = String::from_utf8(answer.stdout).unwrap();
    serde_json::from_str(text.lines().next_back().unwrap_or_default()).expect("the script prints JSON")
}

#[test]
fn jobflow_decodes_runs_and_resolves_command_jobs_as_we_do() {
    let Some(python) = address("jobflow_decodes_runs_and_resolves_command_jobs_as_we_do", "JF_TEST_PYTHON")
    else {
        return;
    };
    let (flow, output) = (demo_flow(), an_output());
    // A kept file, values inside JSON and texts, a gathered sweep, and a job without references.
    for name in ["prepare", "mean", "report", "scan:factor=3", "total"] {
        let job =
            flow.jobs.iter().find(|job| job.job.get_str("name").is_ok_and(|known| known == name)).unwrap();
        let parents = references(&job.job);
        let outputs: BTreeMap<&String, Value> = parents.iter().map(|uuid| (uuid, to_json(&output))).collect();
        let question = json!({"job": to_json(&Bson::Document(job.job.clone())), "outputs": outputs});
        let answer = ask_jobflow(&python, &question);

        let mut resolved = job.job.clone();
        resolve(&mut resolved, &|_| Some(&output), OnMissing::Error, Properties::Refused).unwrap();
        assert_eq!(answer["output"], to_json(resolved.get("function_kwargs").unwrap()), "{name}");
        assert_eq!(answer["references"], json!(parents), "{name}");
        assert_eq!(answer["input_uuids"], json!(parents), "{name}");
        assert_eq!(answer["uuid"], json!(job.key.uuid));
        assert_eq!(answer["name"], json!(name));
        assert_eq!(answer["hosts"], json!([flow.uuid]));
        assert_eq!(answer["on_missing"], json!("error"));
        let function = json!({"@module": "builtins", "@callable": "dict", "@bound": null});
        assert_eq!(answer["function_again"], function);
    }
}
