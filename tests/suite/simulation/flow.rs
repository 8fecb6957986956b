//! The flow that the simulated cluster computes: a diamond, a sweep of eight, a job that gathers the sweep.

use std::time::Duration;

use bson::{Bson, Document};
use jobferry::jobflow::command::Retries;
use jobferry::jobflow::command::stored::{Output, OutputKind, StoredCommand, StoredProgram};
use jobferry::jobflow::document::CommandJob;
use jobferry::jobflow::reference::{Reference, Step};
use jobferry::model::Timestamp;
use jobferry::model::flow::OnMissing;
use jobferry::model::ids::JobKey;
use jobferry::model::job::{NewFlow, NewJob};

use super::world::MOST_FAILURES;

/// Returns what a job has to come to; the seed is added to the first job, so that outputs of other seeds are wrong.
pub(super) fn expected(seed: u64, name: &str) -> i64 {
    let a = first(seed);
    let d = (a + 2) + (a + 3);
    match name {
        "a" => a,
        "b" => a + 2,
        "c" => a + 3,
        "d" => d,
        "g" => 8 * d + 36,
        sweep => d + sweep.trim_start_matches('s').parse::<i64>().unwrap(),
    }
}

fn first(seed: u64) -> i64 {
    i64::try_from(seed).unwrap() + 1
}

/// A job of the flow: its arguments are numbers, or names of jobs whose sums they stand for.
struct Sum<'a> {
    name: &'a str,
    worker: &'a str,
    numbers: Vec<i64>,
    parents: Vec<&'a str>,
}

/// Returns the flow; no two seeds have a uuid in common.
pub(super) fn sums(seed: u64, at: Timestamp) -> NewFlow {
    let sum = |name, worker, numbers: &[i64], parents: &[&'static str]| Sum {
        name,
        worker,
        numbers: numbers.to_vec(),
        parents: parents.to_vec(),
    };
    let mut jobs = vec![
        sum("a", "here", &[first(seed)], &[]),
        sum("b", "away", &[2], &["a"]),
        sum("c", "here", &[3], &["a"]),
        sum("d", "away", &[], &["b", "c"]),
    ];
    let sweep = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"];
    jobs.extend(sweep.iter().zip(1..).map(|(name, number)| sum(name, "away", &[number], &["d"])));
    jobs.push(sum("g", "here", &[], &sweep));
    let uuid = uuid_of(seed, "flow");
    let jobs = jobs.iter().map(|job| new_job(seed, job, &uuid)).collect();
    NewFlow { uuid, name: "sums".into(), metadata: Document::new(), jobstore: None, jobs, created_on: at }
}

fn uuid_of(seed: u64, name: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{seed}/{name}").as_bytes()).to_string()
}

fn new_job(seed: u64, sum: &Sum<'_>, flow: &str) -> NewJob {
    let key = JobKey::new(uuid_of(seed, sum.name), 1);
    let reference = |name: &&str| {
        let reference = Reference { uuid: uuid_of(seed, name), steps: vec![Step::Key("sum".into())] };
        Bson::Document(reference.to_document())
    };
    let numbers = sum.numbers.iter().map(|number| Bson::String(number.to_string()));
    let arguments =
        [Bson::String("sum".into())].into_iter().chain(numbers).chain(sum.parents.iter().map(reference));
    let output = Output {
        name: "sum".into(),
        file: "out.json".into(),
        kind: OutputKind::Json { pointer: Some("/sum".into()) },
        optional: false,
    };
    let command = StoredCommand {
        program: StoredProgram::Arguments(arguments.collect()),
        environment: Document::new(),
        stdin: None,
        files: Vec::new(),
        outputs: vec![output],
        retries: Retries { count: MOST_FAILURES, delay: Duration::from_secs(5) },
    };
    let job = CommandJob {
        key: key.clone(),
        name: sum.name.to_owned(),
        metadata: Document::new(),
        on_missing: OnMissing::Error,
        hosts: vec![flow.to_owned()],
        specification: command.to_document(),
    };
    NewJob {
        key,
        worker: sum.worker.to_owned(),
        priority: 0,
        parents: sum.parents.iter().map(|name| uuid_of(seed, name)).collect(),
        exec_config: None,
        resources: None,
        job: job.into_document(),
    }
}
