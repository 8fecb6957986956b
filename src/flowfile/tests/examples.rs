//! The example files fit the schema, compile, and do what they say: run here by a loop over the pure parts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bson::{Bson, Document, doc};

use super::{Format, compiled};
use crate::flowfile::fault::render;
use crate::flowfile::{FlowPlan, LocalContent, LocalFile, parse, schema};
use crate::jobflow::command::{CommandSpec, Digest, FileContent, Program, ResultFiles, extract};
use crate::jobflow::reference::{Properties, references, resolve};
use crate::model::flow::OnMissing;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/flows")
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| Format::of_path(path).is_some()).collect();
    paths.sort();
    assert!(paths.len() >= 4);
    paths
}

fn read(path: &Path) -> (String, FlowPlan) {
    let text = std::fs::read_to_string(path).unwrap();
    let plan = parse(&text, Format::of_path(path).unwrap(), "flow");
    let plan =
        plan.unwrap_or_else(|faults| panic!("{}", render(&faults, &path.display().to_string(), &text)));
    (text, plan)
}

fn as_json(text: &str, format: Format) -> serde_json::Value {
    let mut faults = crate::flowfile::fault::Faults::default();
    let tree = crate::flowfile::source::read(text, format, &mut faults).unwrap();
    crate::jobflow::text::to_json(&tree.to_bson())
}

#[test]
fn every_example_compiles_and_fits_the_schema() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    for path in examples() {
        let (text, plan) = read(&path);
        let json = as_json(&text, Format::of_path(&path).unwrap());
        let errors: Vec<String> = schema.iter_errors(&json).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        let mut local = HashMap::new();
        for file in plan.local_files() {
            assert!(folder().join(&file.path).is_file(), "{:?}", file.path);
            let content = LocalFile { sha256: "a".repeat(64), size_bytes: 1, mode: 0o644 };
            local.insert(file.path, LocalContent::File(content));
        }
        let flow = compiled(&plan, &local).unwrap();
        let mut seen = Vec::new();
        for job in &flow.jobs {
            assert!(job.parents.iter().all(|parent| seen.contains(parent)), "parents come first");
            assert!(
                references(&job.job).iter().all(|uuid| job.parents.contains(uuid)),
                "references are parents"
            );
            seen.push(job.key.uuid.clone());
        }
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let job = "command: [x]";
    let bad = [
        "jobs: {}".to_owned(),
        "flow: x".to_owned(),
        "jobs: {a: {}}".to_owned(),
        "jobs: {a: {command: x}}".to_owned(),
        "jobs: {a: {command: []}}".to_owned(),
        "jobs: {a: {command: [x], shell: y}}".to_owned(),
        "jobs: {a: {comand: [x]}}".to_owned(),
        "jobs: {1a: {command: [x]}}".to_owned(),
        format!("jobs: {{for: {{{job}}}}}"),
        format!("jobs: {{a: {{{job}}}}}\ntasks: 1"),
        format!("jobs: {{a: {{{job}, resources: {{cores: 1}}}}}}"),
        format!("jobs: {{a: {{{job}, resources: {{memory: 2000}}}}}}"),
        format!("jobs: {{a: {{{job}, resources: {{time: 90}}}}}}"),
        format!("jobs: {{a: {{{job}, resources: {{time: '90'}}}}}}"),
        format!("jobs: {{a: {{{job}, resources: {{time: '10:30'}}}}}}"),
        format!("jobs: {{a: {{{job}, outputs: {{e: stdout}}}}}}"),
        format!("jobs: {{a: {{{job}, outputs: {{e: {{json: /etc/x}}}}}}}}"),
        format!("jobs: {{a: {{{job}, outputs: {{e: {{json: a, text: b}}}}}}}}"),
        format!("jobs: {{a: {{{job}, outputs: {{e: {{regex: a}}}}}}}}"),
        format!("jobs: {{a: {{{job}, outputs: {{e: {{json: a, pointer: b}}}}}}}}"),
        format!("jobs: {{a: {{{job}, files: {{../x: {{text: a}}}}}}}}"),
        format!("jobs: {{a: {{{job}, files: {{x: {{text: a, json: b}}}}}}}}"),
        format!("jobs: {{a: {{{job}, files: {{x: ../y}}}}}}"),
        format!("jobs: {{a: {{{job}, for: {{x: 3}}}}}}"),
        format!("jobs: {{a: {{{job}, for: {{x: {{from: 1}}}}}}}}"),
        format!("jobs: {{a: {{{job}, on_missing: maybe}}}}"),
        format!("jobs: {{a: {{{job}, retries: {{times: 3}}}}}}"),
    ];
    for text in bad {
        assert!(parse(&text, Format::Yaml, "flow").is_err(), "the reader takes {text}");
        assert!(!schema.is_valid(&as_json(&text, Format::Yaml)), "the schema takes {text}");
    }
}

/// A run directory whose job has ended.
struct Ended {
    folder: PathBuf,
    content: HashMap<String, Vec<u8>>,
}

impl Ended {
    fn new(folder: &Path, job: &Document) -> Self {
        let files = crate::jobflow::command::result_files(job);
        let read = |path: &String| std::fs::read(folder.join(path)).ok().map(|bytes| (path.clone(), bytes));
        let content = files.iter().filter_map(|file| read(&file.path)).collect();
        Self { folder: folder.to_owned(), content }
    }
}

impl ResultFiles for Ended {
    fn content(&self, path: &str) -> Option<&[u8]> {
        self.content.get(path).map(Vec::as_slice)
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        let bytes = self.content.get(path)?;
        // The content itself is found again by this: see `stage`.
        let sha256 = format!("{:064x}", bytes.len() * 31 + usize::from(bytes[0]));
        std::fs::copy(self.folder.join(path), self.folder.parent().unwrap().join(&sha256)).unwrap();
        Some(Digest { sha256, size_bytes: bytes.len() as u64 })
    }
}

fn stage(folder: &Path, spec: &CommandSpec) {
    for file in &spec.files {
        let path = folder.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &file.content {
            FileContent::Bytes(bytes) => std::fs::write(path, bytes).unwrap(),
            FileContent::Stored { sha256, .. } => {
                std::fs::copy(folder.parent().unwrap().join(sha256), path).map(|_| ()).unwrap();
            }
        }
    }
}

fn run(folder: &Path, spec: &CommandSpec) {
    let mut command = match &spec.program {
        Program::Arguments(arguments) => {
            let mut command = Command::new(&arguments[0]);
            command.args(&arguments[1..]);
            command
        }
        Program::Shell(text) => {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        }
    };
    let stdin = match &spec.stdin {
        Some(path) => Stdio::from(std::fs::File::open(folder.join(path)).unwrap()),
        None => Stdio::null(),
    };
    let stdout = std::fs::File::create(folder.join("stdout")).unwrap();
    command.current_dir(folder).envs(spec.environment.iter().cloned()).stdin(stdin).stdout(stdout);
    assert!(command.status().unwrap().success(), "{:?}", spec.program);
}

/// Runs the flow's jobs one after the other and returns their outputs by name.
fn outputs_of(example: &str) -> HashMap<String, Bson> {
    let (_, plan) = read(&folder().join(example));
    let flow = compiled(&plan, &HashMap::new()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut outputs: HashMap<String, Bson> = HashMap::new();
    let mut by_name = HashMap::new();
    for job in &flow.jobs {
        let mut document = job.job.clone();
        resolve(&mut document, &|uuid| outputs.get(uuid), OnMissing::Error, Properties::Refused).unwrap();
        let spec = CommandSpec::from_job(&document).unwrap().unwrap();
        let folder = place.path().join(&job.key.uuid);
        std::fs::create_dir(&folder).unwrap();
        stage(&folder, &spec);
        run(&folder, &spec);
        let output = Bson::Document(extract(&job.job, &Ended::new(&folder, &job.job)).unwrap());
        outputs.insert(job.key.uuid.clone(), output.clone());
        by_name.insert(document.get_str("name").unwrap().to_owned(), output);
    }
    by_name
}

#[test]
fn the_demo_flow_gives_the_right_outputs() {
    let outputs = outputs_of("diamond.yaml");
    assert_eq!(outputs.len(), 13);
    let summary = doc! {
        "mean": 5.43, "range": [5.4, 5.47], "unit": "angstrom", "text": "5 points, mean 5.43",
    };
    assert_eq!(outputs["report"], Bson::Document(doc! {"summary": summary}));
    assert_eq!(outputs["scan:factor=8"], Bson::Document(doc! {"product": 43.44}));
    assert_eq!(outputs["total"], Bson::Document(doc! {"sum": 195.48}));
}

#[test]
fn the_other_examples_that_need_no_cluster_run() {
    let hello = outputs_of("hello.json");
    assert_eq!(hello["greet"], Bson::Document(doc! {"greeting": "HELLO FROM STANDARD INPUT"}));
    assert_eq!(hello["count"], Bson::Document(doc! {"characters": 25}));
    let scaling = outputs_of("scaling.toml");
    assert_eq!(scaling.len(), 5);
    assert!(scaling["table"].as_document().unwrap().get_str("table").unwrap().starts_with("[1,2,4,8] ["));
}
