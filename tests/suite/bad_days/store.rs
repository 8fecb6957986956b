//! A store that is dead, dies and comes back.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use insta::{allow_duplicates, assert_snapshot};

use super::{LIMIT, Process, all, free_port, jobs, logged, paths_below, program, redact, told};
use crate::lab::{Lab, Site, Store, eventually, finish};
use crate::services::address;

/// Writes the project with its stores in the MongoDB of this port.
fn use_mongodb(lab: &Lab, port: u16) {
    let store = |collection| {
        format!(
            "{{type: MongoURIStore, uri: 'mongodb://127.0.0.1:{port}/', database: lab, collection_name: {collection}}}"
        )
    };
    let text = format!(
        "name: lab\nbase_dir: {}\nqueue: {{store: {}}}\njobstore: {{docs_store: {}}}\n{}    max_jobs: 2\n",
        lab.path("base").display(),
        store("jobs"),
        store("outputs"),
        lab.worker_text(""),
    );
    lab.write("projects/lab.yaml", &text);
}

#[test]
fn a_dead_database_is_told_by_every_command() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    use_mongodb(&lab, free_port());
    let commands: [(&str, &[&str]); 4] = [
        ("runner", &["run"]),
        ("jf", &["submit", "--", "true"]),
        ("jf", &["job", "list"]),
        ("runner", &["status"]),
    ];
    for (program, arguments) in commands {
        let begin = Instant::now();
        let output = finish(lab.command(program, arguments));
        assert!(begin.elapsed() < Duration::from_secs(10), "{program} {arguments:?}: {:?}", begin.elapsed());
        assert!(output.stdout.is_empty());
        allow_duplicates!(assert_snapshot!(told(&lab, &output), @r"
        exit: 5
        error: the store mongodb://127.0.0.1:[PORT]/lab does not answer
        caused by: 127.0.0.1:[PORT]: I/O error: Connection refused (os error 111)
        hint: check the address in the project file and that the server runs, then type `jf project check`
        "));
    }
    let begin = Instant::now();
    let started = finish(lab.command("runner", &["start"]));
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_snapshot!(told(&lab, &started), @r"
    exit: 5
    error: the runner ended while it was starting:
        error: the store mongodb://127.0.0.1:[PORT]/lab does not answer
        caused by: 127.0.0.1:[PORT]: I/O error: Connection refused (os error 111)
        hint: check the address in the project file and that the server runs, then type `jf project check`
    ");
    let checked = lab.jf(&["project", "check", "--json"]);
    assert_eq!(checked.status.code(), Some(4));
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let bad: Vec<String> = report["hops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hop| hop["ok"] == false)
        .map(|hop| hop.to_string())
        .collect();
    assert_eq!(bad.len(), 1, "the other hops are tried, too: {report}");
    assert_snapshot!(redact(&lab, &bad.concat()), @r#"{"what":"store","place":"by its connection string lab.jobs","ok":false,"detail":"the store mongodb://127.0.0.1:[PORT]/lab does not answer: 127.0.0.1:[PORT]: I/O error: Connection refused (os error 111)","advice":"check the address in the project file and that the server runs, then type `jf project check`"}"#);
    assert_eq!(paths_below(&lab.path("work")), Vec::<String>::new());
}

fn mongod(lab: &Lab, port: u16) -> Process {
    let cached =
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/jobferry-tests/mongod-6.0.5");
    let data = lab.path("mongodb");
    std::fs::create_dir_all(&data).unwrap();
    let mut command = Command::new(program("mongod").unwrap_or_else(cached));
    command.args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--dbpath"]);
    command.arg(data).args(["--port", &port.to_string()]);
    let process = Process::start(command);
    eventually("mongod listens", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    process
}

#[test]
fn heavy_a_database_that_dies_in_the_middle_pauses_the_runner() {
    let test = "heavy_a_database_that_dies_in_the_middle_pauses_the_runner";
    let Some(_) = address(test, "JF_TEST_MONGODB_URI") else { return };
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let port = free_port();
    let mut server = mongod(&lab, port);
    use_mongodb(&lab, port);
    let starts = lab.path("starts");
    let flow = format!(
        "flow: many\njobs:\n  one:\n    for: {{n: {{from: 1, to: 12}}}}\n    shell: 'echo ${{n}} >> {}; sleep 0.5'\n",
        starts.display()
    );
    lab.ok(&["submit", lab.write("many.yaml", &flow).to_str().unwrap()]);
    let mut runner = Process::start(lab.command("runner", &["run", "--until-idle", "--max-seconds", "120"]));
    eventually("some jobs have run", LIMIT, || {
        std::fs::read_to_string(&starts).is_ok_and(|starts| starts.lines().count() >= 3)
    });
    server.kill();
    eventually("the runner says that it waits", LIMIT, || !logged(&lab, "WARN").is_empty());
    // Longer than the driver looks for a server: the steps have failed, each more than once.
    eventually("the steps fail again and again", LIMIT, || the_outage_is_long(&lab));
    assert!(runner.0.try_wait().unwrap().is_none(), "the runner outlives it: {}", lab.log());
    server = mongod(&lab, port);
    assert_eq!(runner.ends_within(Duration::from_secs(120)), Some(0), "{}", lab.log());
    assert!(jobs(&lab).len() == 12 && all(&lab, "COMPLETED"), "{:?}", lab.states());
    let text = std::fs::read_to_string(&starts).unwrap();
    let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>(), "each started once");
    let warnings = logged(&lab, "WARN");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains(
            "all work pauses until the store answers again: the store mongodb://127.0.0.1:[PORT]/lab"
        ),
        "{warnings:?}"
    );
    let back =
        logged(&lab, "INFO").into_iter().filter(|line| line.contains("the store answers again")).count();
    assert_eq!(back, 1, "{}", lab.log());
    server.kill();
}

/// Whether nothing has started for so long that steps failed more than once. They say so once, so the time is waited for.
fn the_outage_is_long(lab: &Lab) -> bool {
    let written = std::fs::metadata(lab.path("starts")).unwrap().modified().unwrap();
    written.elapsed().is_ok_and(|passed| passed > Duration::from_secs(12))
}
