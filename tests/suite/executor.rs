//! The worker side of Python jobs: our program, with a Python that has jobflow alone, beside the peer's program on the
//! same run directories; and `jf execution run`, which runs both kinds of job.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bson::{Bson, Document};
use jobferry::flowfile::source::Format;
use jobferry::flowfile::{Defaults, parse};
use jobferry::jobflow::json;
use jobferry::model::Timestamp;
use jobferry::scheduler::by_name;
use jobferry::worker::input::json_of;
use jobferry::worker::script::Payload;
use regex::Regex;

use crate::run_directories::Job;
use crate::services::address;

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/worker/execute.py");

/// Returns a command that finds the jobs of `executor_jobs.py`, and leaves nothing in the repository.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONPATH", INTEROP).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    command.env_remove("JF_PYTHON").env_remove("JF_HANDED_OVER").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs `tests/interop/executor.py` and returns what it printed.
fn executor(python: &str, words: &[&str]) -> Vec<u8> {
    let output = command(python).arg(format!("{INTEROP}/executor.py")).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Stages the cases (all, if none is named), has them run by the program, and returns what is in their directories.
fn ran(folder: &Path, names: &[&str], python: &str, program: &str) -> Document {
    let folder = folder.to_str().unwrap();
    let stager = std::env::var("JF_TEST_PYTHON").unwrap();
    executor(&stager, &[["stage", folder].as_slice(), names].concat());
    executor(python, &["run", folder, program]);
    let Bson::Document(read) = json::parse(&executor(python, &["read", folder])).unwrap() else { panic!() };
    read
}

/// Returns the files of one case as texts, with times, new ids and folders taken out.
fn comparable(case: &Document, folder: &Path) -> BTreeMap<String, String> {
    let left_out = ["exit", "out", "err", "out.gz", "err.gz", "jfremote_in.json"];
    let uuid = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let input = case.get("jfremote_in.json").or_else(|| case.get("jfremote_in.json.gz"));
    let job = input.unwrap().as_document().unwrap().get_document("job").unwrap();
    let own = job.get_str("uuid").unwrap();
    let mut ids = vec![own.to_owned()];
    let mut number = |id: &str| {
        let known = ids.iter().position(|known| known == id);
        known.unwrap_or_else(|| {
            ids.push(id.to_owned());
            ids.len() - 1
        })
    };
    let files = case.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
    let texts = files.map(|(name, content)| {
        let text = timeless(name, content, own).to_string().replace(folder.to_str().unwrap(), "FOLDER");
        let text = uuid.replace_all(&text, |found: &regex::Captures<'_>| format!("<{}>", number(&found[0])));
        (name.clone(), text.into_owned())
    });
    texts.collect()
}

/// Returns the content of a file without what is different each time, and without documents that were there before.
fn timeless(name: &str, content: &Bson, own: &str) -> Bson {
    let mut content = content.clone();
    match &mut content {
        Bson::Document(result) if name == "jfremote_out.json" => {
            for key in ["start_time", "end_time"] {
                if let Some(time) = result.get_mut(key) {
                    let form = time.as_document().unwrap();
                    assert_eq!(form.get_str("@class").unwrap(), "datetime");
                    assert!(form.get_str("string").unwrap().ends_with("+00:00"), "{form}");
                    *time = "TIME".into();
                }
            }
            if let Ok(error) = result.get_str("error") {
                let said = heart(error);
                result.insert("error", said);
            }
        }
        Bson::Array(documents) => {
            documents
                .retain(|one| one.as_document().unwrap().get_str("uuid").map_or(true, |uuid| uuid == own));
            for document in documents.iter_mut().filter_map(Bson::as_document_mut) {
                if let Some(time) = document.get_mut("completed_at") {
                    assert!(time.as_str().unwrap().parse::<jiff::civil::DateTime>().is_ok(), "{time}");
                    *time = "TIME".into();
                }
            }
            // The peer writes parts in the order of a set of Python.
            documents.sort_by_key(|one| one.as_document().unwrap().get("data").map(ToString::to_string));
        }
        _ => {}
    }
    content
}

/// Returns the line that names the exception, or else the first.
fn heart(error: &str) -> String {
    let exception = Regex::new(r"^[\w.]+(Error|Exit|Interrupt)\b").unwrap();
    let line = error.lines().rev().find(|line| exception.is_match(line)).or_else(|| error.lines().next());
    line.unwrap_or_default().to_owned()
}

#[test]
fn our_program_leaves_what_the_peers_does() {
    let test = "our_program_leaves_what_the_peers_does";
    let (Some(python), Some(peer)) = (address(test, "JF_TEST_PYTHON"), address(test, "JF_TEST_PEER_PYTHON"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    let by_peer = ran(&theirs, &[], &peer, "peer");
    let by_us = ran(&ours, &[], &python, PROGRAM);
    assert!(by_us.len() > 50);
    let mut different = String::new();
    for (name, case) in &by_us {
        let case = case.as_document().unwrap();
        let we = comparable(case, &ours);
        let they = comparable(by_peer.get_document(name).unwrap(), &theirs);
        for file in they.keys().chain(we.keys()).collect::<BTreeSet<_>>() {
            if we.get(file) != they.get(file) {
                let said = we.get(file).map_or("is not there", String::as_str);
                writeln!(different, "{name}: {file} {}", briefly(said)).unwrap();
            }
        }
        let result = case.get_document("jfremote_out.json").unwrap();
        let answered = result.get_document("response").is_ok();
        assert_eq!(
            case.get_i32("exit").unwrap() == 0,
            answered,
            "{name}: the exit code says whether there is one"
        );
    }
    // What ours leaves where the peer's leaves something else. The peer fails, after the job has run, for bytes and ids and
    // for half a surrogate pair; turns NaN to null; wraps parts that are kept apart once more; looks for keys in the whole
    // document; loses the response of a job that goes to another directory, and says nothing of sys.exit; makes its files
    // before it runs the job; has no msgspec here; and keeps what was there for references.
    insta::assert_snapshot!(different, @r#"
    additional_store_that_is_not_there: remote_job_data.json []
    additional_stores_inside_each_other: additional_store_other.json [{ "@class": "", "@module": "", "blob_uuid": "<2>", "data": { "inner": 1, "rest": 2 }, "job_uuid": "<0>", "job_index": 1 }]
    additional_stores_inside_each_other: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "outer": { "@class": "", "@module": "", "blob_uuid": "<2>", "store": "other" }, "inner": { "@class": "", "@module": "", "blob_uuid": "<1>", "store": "data" } }, … }]
    bytes_and_ids: jfremote_out.json { "response": RESPONSE, "error": null }
    bytes_and_ids: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "bytes": { "$binary": { "base64": "AP8=", "subType": "00" } }, "id": { "$oid": "6afff43a374b9c7d94d5a44a" } }, … }]
    compressed_directory: jfremote_in.json.gz is not there
    compressed_directory: remote_job_data.json.gz is not there
    document_of_the_job: jfremote_out.json { "response": null, "error": "ModuleNotFoundError: No module named 'jobflow_remote'" }
    document_of_the_job: remote_job_data.json []
    exposed_store: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "name": "look_around", "found": [{ "x": 2 }], "count": 1, "output": { "x": 2 }, "additional": ["data", "other"], "directory": ["err", "jfremote_in.json", "jfremote_out.json", "out", "remote_job_data.json"] }, … }]
    function_that_is_not_there: jfremote_out.json { "response": null, "error": "The function in the Job could not be deserialized: {'@module': 'executor_jobs', '@callable': 'no_such_function', '@bound': None}." }
    half_a_surrogate_pair: jfremote_out.json { "response": RESPONSE, "error": null }
    half_a_surrogate_pair: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": "a�b", … }]
    interrupted: jfremote_out.json { "response": null, "error": "KeyboardInterrupt" }
    key_of_the_document: additional_store_data.json [{ "@class": "", "@module": "", "blob_uuid": "<1>", "data": "in the output", "job_uuid": "<0>", "job_index": 1 }]
    key_of_the_document: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "name": { "@class": "", "@module": "", "blob_uuid": "<1>", "store": "data" }, "metadata": 1 }, … }]
    killed: additional_store_data.json is not there
    killed: additional_store_other.json is not there
    killed: remote_job_data.json is not there
    maker_that_is_not_there: jfremote_out.json { "response": null, "error": "The function in the Job could not be deserialized: {'@module': 'executor_jobs', '@callable': 'AddMaker.make', '@bound': {'@module': 'no_such_package.makers', '@class': 'AddMaker', '@version': None, 'name': 'adder', 'shift': 1.5, 'colour': 'red'}}." }
    msgspec_store: additional_store_data.json [{ "@class": "", "@module": "", "blob_uuid": "<1>", "data": ["2024-01-02T03:04:05.678900", 1.5, "ü"], "job_uuid": "<0>", "job_index": 1 }]
    msgspec_store: additional_store_other.json []
    msgspec_store: jfremote_out.json { "response": RESPONSE, "error": null }
    msgspec_store: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "time": "2024-01-02T03:04:05.678900", "big": { "@class": "", "@module": "", "blob_uuid": "<1>", "store": "data" } }, … }]
    nan: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "nan": NaN, "list": [inf, -inf, NaN] }, … }]
    newest_of_two_outputs: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": [2, { "deep": { "x": 2 } }], … }]
    other_directory: jfremote_out.json { "response": RESPONSE, "error": null }
    stored_bytes: jfremote_out.json { "response": { "output": null, "detour": null, "addition": null, "replace": null, "stored_data": { "bytes": { "$binary": { "base64": "YWI=", "subType": "00" } } }, "stop_children": false, "stop_jobflow": false, "job_dir": null, "@module": "jobflow.core.job", "@class": "Response", "@version": "0.4.0" }, "error": null }
    sys_exit: jfremote_out.json { "response": null, "error": "SystemExit: 0" }
    terminated: additional_store_data.json is not there
    terminated: additional_store_other.json is not there
    terminated: remote_job_data.json is not there
    two_additional_stores: additional_store_other.json [{ "@class": "", "@module": "", "blob_uuid": "<2>", "data": "hello", "job_uuid": "<0>", "job_index": 1 }, { "@class": "", "@module": "", "blob_uuid": "<3>", "data": [3], "job_uuid": "<0>", "job_index": 1 }]
    two_additional_stores: remote_job_data.json [{ "uuid": "<0>", "index": 1, "output": { "big": { "@class": "", "@module": "", "blob_uuid": "<1>", "store": "data" }, "nested": { "big": { "deep": 1 }, "first": { "@class": "", "@module": "", "blob_uuid": "<2>", "store": "other" } }, "second": { "@class": "", "@module": "", "blob_uuid": "<3>", "store": "other" } }, … }]
    "#);
}

/// Leaves out what every response and every document has.
fn briefly(text: &str) -> String {
    let response = Regex::new(
        r#"\{ "output": null, "detour": null, [^{}]*"@class": "Response", "@version": "[^"]*" \}"#,
    )
    .unwrap();
    let document =
        Regex::new(r#", "completed_at": "TIME", .*?"@class": "JobStoreDocument", "@version": "[^"]*""#)
            .unwrap();
    let text = response.replace_all(text, "RESPONSE");
    document.replace_all(&text, ", …").replace(r#", "start_time": "TIME", "end_time": "TIME""#, "")
}

#[test]
fn a_job_finds_its_document_where_jobflow_remote_is() {
    let test = "a_job_finds_its_document_where_jobflow_remote_is";
    let (Some(_), Some(peer)) = (address(test, "JF_TEST_PYTHON"), address(test, "JF_TEST_PEER_PYTHON"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let case = "document_of_the_job";
    let outputs = [("theirs", "peer"), ("ours", PROGRAM)].map(|(name, program)| {
        let place = folder.path().join(name);
        let read = ran(&place, &[case], &peer, program);
        comparable(read.get_document(case).unwrap(), &place)
    });
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[1]["remote_job_data.json"].contains(r#"["16", "w", "look_at_own_document", true]"#));
}

/// A run directory as the runner stages it, with the input of a case of `executor_jobs.py`.
struct Staging {
    folder: tempfile::TempDir,
    job: Job,
}

impl Staging {
    fn new(case: &str) -> Option<Self> {
        let python = address(case, "JF_TEST_PYTHON")?;
        let folder = tempfile::tempdir().unwrap();
        let cases = folder.path().join("cases");
        executor(&python, &["stage", cases.to_str().unwrap(), case]);
        fs::rename(cases.join(case).join("jfremote_in.json"), folder.path().join("jfremote_in.json"))
            .unwrap();
        let job = Job::shell("").with(|job| {
            job.payload = Payload::Python;
            job.setup.export.push(("JF_PYTHON".to_owned(), python));
        });
        Some(Self { folder, job })
    }

    fn with(mut self, change: impl FnOnce(&mut Job)) -> Self {
        change(&mut self.job);
        self
    }

    /// Puts a program into a folder that is then the first in PATH.
    fn with_program(self, name: &str, text: &str) -> Self {
        let bin = self.folder.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        let path = ("PATH".to_owned(), format!("{}:/usr/bin:/bin", bin.display()));
        self.with(|job| job.setup.export.retain(|(name, _)| name != "JF_PYTHON"))
            .with(|job| job.setup.export.push(path))
    }

    /// Runs `submit.sh` by the shell and returns the exit code, the result file, and what was printed.
    fn run(&self, shell: &str) -> (i32, Document, Output) {
        let work_dir = self.folder.path().join(format!("work-{shell}"));
        let staged = self.job.stage(&work_dir, 1, &*by_name("shell").unwrap());
        fs::copy(self.folder.path().join("jfremote_in.json"), staged.run_dir.join("jfremote_in.json"))
            .unwrap();
        let mut submit = command(shell);
        let output = submit.arg("./submit.sh").current_dir(&staged.run_dir).output().unwrap();
        let result = json::parse(staged.read("jfremote_out.json").as_bytes()).unwrap();
        assert_eq!(Some(staged.end().exit_code), output.status.code());
        (staged.end().exit_code, result.as_document().unwrap().clone(), output)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_script_runs_it_and_its_exit_code_is_the_jobs() {
    let (Some(good), Some(bad)) = (Staging::new("function"), Staging::new("exception")) else { return };
    let bad = bad.with(|job| job.setup.post_run = "echo after".to_owned());
    for shell in ["bash", "dash"] {
        let (code, result, output) = good.run(shell);
        assert_eq!((code, result.get("error")), (0, Some(&Bson::Null)), "{shell}");
        assert!(text(&output.stdout).contains("Starting job - add"), "{output:?}");
        let (code, result, output) = bad.run(shell);
        assert_eq!(code, 1, "{shell}");
        assert_eq!(heart(result.get_str("error").unwrap()), "ValueError: boom ü");
        assert!(text(&output.stderr).contains("ValueError: boom ü"), "{output:?}");
        assert!(text(&output.stdout).ends_with("after\n"), "{output:?}");
    }
}

#[test]
fn without_a_python_the_result_says_so() {
    let Some(staging) = Staging::new("function") else { return };
    let staging =
        staging.with(|job| job.setup.export = vec![("JF_PYTHON".into(), "/no \"such\\/python".into())]);
    for shell in ["bash", "dash"] {
        let (code, result, output) = staging.run(shell);
        assert_eq!((code, result.get("response")), (127, Some(&Bson::Null)), "{shell}");
        let error = result.get_str("error").unwrap();
        assert!(error.contains("There is no Python on "), "{error}");
        assert!(error.contains(": /no \"such\\/python cannot be found, and PATH is /"), "{error}");
        assert!(text(&output.stderr).contains("There is no Python"), "{output:?}");
    }
}

#[test]
fn a_python_without_jobflow_says_which_it_is() {
    let Some(staging) = Staging::new("function") else { return };
    // Only what comes with Python.
    let staging = staging.with_program(
        "python3",
        "#!/bin/sh\nexec /usr/bin/env -u PYTHONPATH /usr/bin/python3 -S -E \"$@\"\n",
    );
    let (code, result, output) = staging.run("bash");
    assert_eq!((code, result.get("response")), (1, Some(&Bson::Null)), "{output:?}");
    let error = result.get_str("error").unwrap();
    assert!(
        error.starts_with(
            "jobflow cannot be imported: No module named 'jobflow'.\nThe Python is /usr/bin/python3"
        ),
        "{error}"
    );
    assert!(error.contains("JF_PYTHON") && error.contains("Traceback"), "{error}");
    assert!(result.get_document("start_time").is_ok());
}

#[test]
fn the_python_of_the_peers_program_is_taken_where_the_first_has_no_jobflow() {
    let Some(staging) = Staging::new("function") else { return };
    let python = std::env::var("JF_TEST_PYTHON").unwrap();
    let staging = staging
        .with_program("python3", "#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n")
        .with_program("jf", &format!("#!{python}\nraise SystemExit('not to be run')\n"));
    let (code, result, output) = staging.run("bash");
    assert_eq!((code, result.get("error")), (0, Some(&Bson::Null)), "{output:?}");
}

/// Runs `jf -fe execution run` on a folder.
fn execution_run(folder: &Path, python: &str) -> Output {
    let mut jf = command(env!("CARGO_BIN_EXE_jf"));
    jf.args(["-fe", "execution", "run"])
        .arg(folder)
        .env("JF_PYTHON", python)
        .env("HOME", folder)
        .output()
        .unwrap()
}

fn read(folder: &Path, name: &str) -> Document {
    let content = json::parse(&fs::read(folder.join(name)).unwrap()).unwrap();
    match content {
        Bson::Array(documents) => documents[0].as_document().unwrap().clone(),
        other => other.as_document().unwrap().clone(),
    }
}

#[test]
fn execution_run_runs_a_python_job() {
    let Some(python) = address("execution_run_runs_a_python_job", "JF_TEST_PYTHON") else { return };
    let folder = tempfile::tempdir().unwrap();
    executor(&python, &["stage", folder.path().join("cases").to_str().unwrap(), "function", "exception"]);
    for (case, code) in [("function", 0), ("exception", 1)] {
        let run_dir = folder.path().join("cases").join(case);
        let output = execution_run(&run_dir, &python);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(read(&run_dir, "jfremote_out.json").get_document("response").is_ok(), code == 0);
    }
    let output = read(&folder.path().join("cases/function"), "remote_job_data.json");
    assert_eq!(output.get_i32("output").unwrap(), 3);
    let output = execution_run(folder.path(), &python);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output.stderr).contains("is not a run directory: jfremote_in.json"), "{output:?}");
}

/// Writes the run directory of the first job of a flow file.
fn command_directory(flow: &str) -> tempfile::TempDir {
    let plan = parse(flow, Format::Yaml, "flow").unwrap();
    let defaults = Defaults { worker: Some("w".to_owned()), ..Defaults::default() };
    let mut ids = || uuid::Uuid::new_v4().to_string();
    let made = plan.compile(&mut ids, &Default::default(), &defaults, Timestamp::from_millis(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = bson::bson!({"job": made.jobs[0].job.clone(), "store": null, "job_doc": null});
    fs::write(folder.path().join("jfremote_in.json"), json_of(&input)).unwrap();
    folder
}

#[test]
fn execution_run_runs_a_command_job() {
    let folder = command_directory(include_str!("../../config/examples/flows/diamond.yaml"));
    let output = execution_run(folder.path(), "/no/python");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result = read(folder.path(), "jfremote_out.json");
    assert_eq!(result.get("error"), Some(&Bson::Null));
    assert_eq!(result.get_document("response").unwrap().get_str("@class").unwrap(), "Response");
    let document = read(folder.path(), "remote_job_data.json");
    let outputs = document.get_document("output").unwrap();
    assert_eq!(outputs.get_i32("count").unwrap(), 5);
    assert_eq!(outputs.get_document("sorted").unwrap().get_i32("size_bytes").unwrap(), 25);
    assert_eq!(document.get_str("name").unwrap(), "prepare");

    let failing = command_directory("flow: f\njobs:\n  a:\n    shell: |\n      echo why >&2\n      exit 7\n");
    let output = execution_run(failing.path(), "/no/python");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let result = read(failing.path(), "jfremote_out.json");
    assert_eq!(result.get_str("error").unwrap(), "ended with exit code 7\nwhy\n");
    assert_eq!(result.get("response"), Some(&Bson::Null));
}

/// Returns how long the command takes.
fn duration(command: &mut Command) -> Duration {
    let begin = Instant::now();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    begin.elapsed()
}

#[test]
fn heavy_a_job_starts_as_fast_as_jobflow_is_imported() {
    let Some(python) = address("heavy_a_job_starts_as_fast_as_jobflow_is_imported", "JF_TEST_PYTHON") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path().join("cases");
    executor(&python, &["stage", cases.to_str().unwrap(), "replaced_by_flow_without_output"]);
    let run_dir = cases.join("replaced_by_flow_without_output");
    // The job's own module imports things of its own.
    let import = "import sys; sys.path.insert(0, sys.argv[1]); import executor_jobs";
    // In pairs, so that both meet the same load; the quietest pair counts.
    let over = (0..5).map(|_| {
        let imported = duration(command(&python).args(["-c", import, INTEROP]));
        duration(command(&python).arg(PROGRAM).arg(&run_dir)).saturating_sub(imported)
    });
    let over = over.min().unwrap();
    assert!(over < Duration::from_millis(100), "a job takes {over:?} more than the imports");
}
