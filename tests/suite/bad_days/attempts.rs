//! Jobs that kill their wrapper, fail and are tried again, or do not write what they promised.

use insta::assert_snapshot;
use serde_json::json;

use super::{listed, redact};
use crate::lab::{Lab, Site, Store};

/// Returns what `jf job info` knows about the job of this name.
fn info(lab: &Lab, name: &str) -> serde_json::Value {
    let jobs = listed(&lab.json(&["job", "list", "-n", name]));
    lab.json(&["job", "info", jobs[0]["db_id"].as_str().unwrap()])
}

#[test]
fn a_job_that_kills_its_own_wrapper_has_failed() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let flow = "flow: bad\njobs:\n  suicide: {shell: 'echo last words >&2; kill -9 $PPID; exit 0'}\n  \
                child: {command: [echo, never], after: [suicide]}\n";
    lab.ok(&["submit", lab.write("bad.yaml", flow).to_str().unwrap()]);
    let begin = std::time::Instant::now();
    lab.run_until_idle();
    // Not before the grace in which an end marker could still appear.
    assert!(begin.elapsed() >= std::time::Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(
        lab.states(),
        [("child", "WAITING"), ("suicide", "FAILED")].map(|(n, s)| (n.to_owned(), s.to_owned()))
    );
    let job = info(&lab, "suicide");
    assert_snapshot!(redact(&lab, job["error"].as_str().unwrap()), @"it started on [HOST] and never ended: it was killed with all its processes, or its machine failed");
    assert!(job.to_string().contains("last words"), "{job}");
}

#[test]
fn a_job_is_tried_again_and_its_earlier_attempts_are_kept() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let flow = format!(
        "flow: third\njobs:\n  third:\n    retries: {{count: 2}}\n    \
         shell: 'echo x >> {0}; n=$(wc -l < {0}); echo try $n; test $n = 3'\n    outputs: {{text: {{text: stdout}}}}\n",
        lab.path("tries").display()
    );
    lab.ok(&["submit", lab.write("third.yaml", &flow).to_str().unwrap()]);
    lab.run_until_idle();
    let job = info(&lab, "third");
    assert_eq!((&job["state"], &job["attempt"]), (&json!("COMPLETED"), &json!(3)), "{job}");
    assert_eq!(lab.output("third"), json!({"text": "try 3"}));
    let text = lab.ok(&["job", "info", job["db_id"].as_str().unwrap()]);
    let again: Vec<&str> = text.lines().filter(|line| line.contains("ended with exit code 1")).collect();
    assert!(again.len() == 2 && again[0].contains(" 1 ") && again[1].contains(" 2 "), "{text}");
    let run_dir = job["run_dir"].as_str().unwrap();
    let said = |suffix: &str| std::fs::read_to_string(format!("{run_dir}{suffix}/stdout")).unwrap();
    assert_eq!([said(".attempt-1"), said(".attempt-2"), said("")], ["try 1\n", "try 2\n", "try 3\n"]);
}

#[test]
fn a_job_without_its_declared_output_has_failed_and_says_which() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let flow = "flow: bare\njobs:\n  bare: {command: [echo, hello], outputs: {energy: {json: result.json, pointer: /energy}}}\n";
    lab.ok(&["submit", lab.write("bare.yaml", flow).to_str().unwrap()]);
    lab.run_until_idle();
    let job = info(&lab, "bare");
    assert_eq!(job["state"], "FAILED");
    assert_snapshot!(job["error"].as_str().unwrap(), @"the output `energy` cannot be taken from the file result.json: the command ended well but did not write it");
}
