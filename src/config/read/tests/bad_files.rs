//! What the user is told about bad project files, as it is told.

use super::*;

pub(super) fn told(text: &str) -> String {
    parse(text).expect_err("the file is accepted")
}

const WORKER: &str =
    "name: p\nworkers:\n  w:\n    type: local\n    scheduler_type: shell\n    work_dir: /w\n";

#[test]
fn nothing_at_all() {
    insta::assert_snapshot!(told(""), @r"
    demo.yaml:1:1: the key `name` is missing
      hint: write `name: my_project` in the first line
    ");
}

#[test]
fn broken_syntax() {
    insta::assert_snapshot!(told("name: p\nworkers: {a: [}\n"), @r"
    demo.yaml:2:15: while parsing a node, did not find expected node content
      |
    2 | workers: {a: [}
      |               ^
    ");
}

#[test]
fn a_list_in_place_of_a_map() {
    insta::assert_snapshot!(told("name: p\nworkers:\n  - type: local\n"), @r"
    demo.yaml:3:3: a map is needed here, not a list (in workers)
      |
    3 |   - type: local
      |   ^
    ");
}

#[test]
fn misspelt_keys_everywhere_at_once() {
    let text = format!(
        "{WORKER}    max_job: 3\n    prerun: x\nrunner:\n  delay_chekout: 1\nqeue: {{}}\nnonsense: 1\n"
    );
    insta::assert_snapshot!(told(&text), @r"
    demo.yaml:7:5: the key `max_job` is not known here (in workers.w)
      |
    7 |     max_job: 3
      |     ^^^^^^^ did you mean `max_jobs`?
    demo.yaml:8:5: the key `prerun` is not known here (in workers.w)
      |
    8 |     prerun: x
      |     ^^^^^^ did you mean `pre_run`?
    demo.yaml:10:3: the key `delay_chekout` is not known here (in runner)
       |
    10 |   delay_chekout: 1
       |   ^^^^^^^^^^^^^ did you mean `delay_checkout`?
    demo.yaml:11:1: the key `qeue` is not known here
       |
    11 | qeue: {}
       | ^^^^ did you mean `queue`?
    demo.yaml:12:1: the key `nonsense` is not known here
       |
    12 | nonsense: 1
       | ^^^^^^^^
    ");
}

#[test]
fn a_worker_without_its_necessities() {
    insta::assert_snapshot!(told("name: p\nworkers:\n  w: {}\n  v: {type: remote, scheduler_type: slrum, work_dir: /w}\n"), @r"
    demo.yaml:3:6: the key `type` is missing (in workers.w)
      |
    3 |   w: {}
      |      ^ write `type: local` for this machine, `type: remote` for an SSH host
    demo.yaml:3:6: the key `scheduler_type` is missing (in workers.w)
      |
    3 |   w: {}
      |      ^ write one of shell, slurm, pbs, sge, lsf, flux
    demo.yaml:3:6: the key `work_dir` is missing (in workers.w)
      |
    3 |   w: {}
      |      ^ write the absolute path of a directory on the worker
    demo.yaml:4:6: the key `host` is missing (in workers.v)
      |
    4 |   v: {type: remote, scheduler_type: slrum, work_dir: /w}
      |      ^ write a name of your OpenSSH configuration or an address
    demo.yaml:4:37: `slrum` is not known here (in workers.v.scheduler_type)
      |
    4 |   v: {type: remote, scheduler_type: slrum, work_dir: /w}
      |                                     ^^^^^ did you mean `slurm`?
    ");
}

#[test]
fn keys_of_another_type_of_worker() {
    insta::assert_snapshot!(told(&format!("{WORKER}    host: h\n    transfer: {{host: t}}\n    keepalive: 5\n")), @r"
    demo.yaml:7:5: the key `host` is not known here (in workers.w)
      |
    7 |     host: h
      |     ^^^^ it goes with `type: remote`
    demo.yaml:8:5: the key `transfer` is not known here (in workers.w)
      |
    8 |     transfer: {host: t}
      |     ^^^^^^^^ it goes with `type: separated_transfer`
    demo.yaml:9:5: the key `keepalive` is not known here (in workers.w)
      |
    9 |     keepalive: 5
      |     ^^^^^^^^^ it goes with `type: remote`
    ");
}

#[test]
fn relative_paths() {
    let text = "name: p\nbase_dir: jobs\nworkers:\n  w:\n    type: local\n    scheduler_type: shell\n    work_dir: ~/jobs\n";
    insta::assert_snapshot!(told(text), @r#"
    demo.yaml:2:11: the path `jobs` is not absolute (in base_dir)
      |
    2 | base_dir: jobs
      |           ^^^^ begin it with / or ~/
    demo.yaml:7:15: the path "~/jobs" is not absolute (in workers.w.work_dir)
      |
    7 |     work_dir: ~/jobs
      |               ^^^^^^ `~` and variables mean nothing here; begin with /
    "#);
}

#[test]
fn a_command_without_its_braces() {
    insta::assert_snapshot!(told(&format!("{WORKER}    execution_cmd: jf execution run\n")), @r"
    demo.yaml:7:20: the command has no `{}`, so that it would not know its job's directory (in workers.w.execution_cmd)
      |
    7 |     execution_cmd: jf execution run
      |                    ^^^^^^^^^^^^^^^^ write `jf execution run {}`
    ");
}

#[test]
fn numbers_out_of_range() {
    let text = format!(
        "{WORKER}    max_jobs: -1\n    timeout_execute: 0\n    delay_download: soon\nrunner:\n  delay_checkout: -3\n  \
         max_step_attempts: 0\n  delta_retry: [1, -1, x]\n"
    );
    insta::assert_snapshot!(told(&text), @r#"
    demo.yaml:7:15: -1 cannot be meant: 0 or more is needed here (in workers.w.max_jobs)
      |
    7 |     max_jobs: -1
      |               ^^
    demo.yaml:8:22: 0 is no duration: seconds are needed here, more than 0 (in workers.w.timeout_execute)
      |
    8 |     timeout_execute: 0
      |                      ^
    demo.yaml:9:21: a number is needed here, not the text "soon" (in workers.w.delay_download)
      |
    9 |     delay_download: soon
      |                     ^^^^
    demo.yaml:11:19: -3 is no duration: seconds are needed here, more than 0 (in runner.delay_checkout)
       |
    11 |   delay_checkout: -3
       |                   ^^
    demo.yaml:12:22: 0 cannot be meant: 1 or more is needed here (in runner.max_step_attempts)
       |
    12 |   max_step_attempts: 0
       |                      ^
    demo.yaml:13:20: -1 is no duration: seconds are needed here, 0 or more (in runner.delta_retry[1])
       |
    13 |   delta_retry: [1, -1, x]
       |                    ^^
    demo.yaml:13:24: a number is needed here, not the text "x" (in runner.delta_retry[2])
       |
    13 |   delta_retry: [1, -1, x]
       |                        ^
    "#);
}

#[test]
fn words_that_are_not_known() {
    let text = "name: p\nlog_level: INFO\nworkers:\n  w: {type: ssh, scheduler_type: SLURM, work_dir: /w}\n";
    insta::assert_snapshot!(told(text), @r"
    demo.yaml:2:12: `INFO` is not known here (in log_level)
      |
    2 | log_level: INFO
      |            ^^^^ did you mean `info`?
    demo.yaml:4:13: `ssh` is not known here (in workers.w.type)
      |
    4 |   w: {type: ssh, scheduler_type: SLURM, work_dir: /w}
      |             ^^^ known are: local, remote, separated_transfer
    demo.yaml:4:34: `SLURM` is not known here (in workers.w.scheduler_type)
      |
    4 |   w: {type: ssh, scheduler_type: SLURM, work_dir: /w}
      |                                  ^^^^^ did you mean `slurm`?
    ");
}

#[test]
fn names_that_cannot_be_names() {
    insta::assert_snapshot!(told("name: ../p\nworkers:\n  a/b: {type: local, scheduler_type: shell, work_dir: /w}\n"), @r"
    demo.yaml:1:7: `../p` is no name for a project (in name)
      |
    1 | name: ../p
      |       ^^^^ use letters, digits, `.`, `_` and `-`, and begin with a letter, a digit or `_`
    demo.yaml:3:3: `a/b` is no name for a worker (in workers)
      |
    3 |   a/b: {type: local, scheduler_type: shell, work_dir: /w}
      |   ^^^ use letters, digits, `.`, `_` and `-`, and begin with a letter, a digit or `_`
    ");
}

#[test]
fn stores_that_contradict_themselves() {
    let text = "
name: p
queue:
  store:
    type: MongoStore
    uri: mongodb://h/d
    host: h
    password: hunter2
    password_env: P
    collection_name: flows
jobstore: {docs_store: {type: MongoStor, database: d}}
optional_jobstores:
  one: {additional_stores: {}}
  two: {docs_store: {host: h}}
";
    insta::assert_snapshot!(told(text), @r"
    demo.yaml:4:3: the collection `flows` is used for two things (in queue)
      |
    4 |   store:
      |   ^ jobs, flows, auxiliary documents and batches each need their own
    demo.yaml:5:5: the password is given in two ways (in queue.store)
      |
    5 |     type: MongoStore
      |     ^ keep one of password, password_env, password_file and password_command
    demo.yaml:5:5: there is a password and no `username` (in queue.store)
      |
    5 |     type: MongoStore
      |     ^ name the user
    demo.yaml:7:11: the server is named twice: by a connection string, and by host or port (in queue.store.host)
      |
    7 |     host: h
      |           ^ keep one of them
    demo.yaml:11:24: `MongoStor` is no store (in jobstore.docs_store)
       |
    11 | jobstore: {docs_store: {type: MongoStor, database: d}}
       |                        ^ did you mean `MongoStore`?
    demo.yaml:13:8: an optional output store needs a `docs_store` that lasts (in optional_jobstores.one)
       |
    13 |   one: {additional_stores: {}}
       |        ^ write `docs_store: {type: MongoStore, …}`
    demo.yaml:14:21: the store does not say what it is: the key `type` is missing (in optional_jobstores.two.docs_store)
       |
    14 |   two: {docs_store: {host: h}}
       |                     ^ write `type: MongoStore`; known are SqliteStore, MongoStore, MongoURIStore
    ");
}

#[test]
fn a_queue_that_cannot_be_a_queue() {
    insta::assert_snapshot!(told("name: p\nqueue:\n  store: {type: MemoryStore}\n"), @r"
    demo.yaml:3:10: jobs cannot be kept in a MemoryStore (in queue.store)
      |
    3 |   store: {type: MemoryStore}
      |          ^ use `type: MongoStore`, or leave `store` out for SQLite
    ");
}

#[test]
fn a_misspelt_secret_is_not_shown() {
    let text =
        "name: p\nqueue:\n  store: {type: MongoStore, database: d, collection_name: c, pasword: hunter2}\n";
    let report = told(text);
    assert!(!report.contains("hunter2"), "{report}");
    insta::assert_snapshot!(report, @r"
    demo.yaml:3:62: the key `pasword` is not known here (in queue.store)
      |
    3 |   store: {type: MongoStore, database: d, collection_name: c, pasword: ********
      |                                                              ^^^^^^^ did you mean `password`?
    ");
}

#[test]
fn a_broken_line_with_a_secret_is_not_shown() {
    for line in [
        "password: 'hunter2",
        "uri: \"mongodb://u:hunter2@h",
        "password = hunter2: [",
        "x: y: token: hunter2",
    ] {
        let report = told(&format!("name: p\n{line}\n"));
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_key_given_twice() {
    insta::assert_snapshot!(told("name: p\nlog_level: info\nlog_level: debug\n"), @r"
    demo.yaml:3:1: the key `log_level` is given twice (first in line 2)
      |
    3 | log_level: debug
      | ^^^^^^^^^ keep one of them
    ");
}

#[test]
fn two_names_of_the_output_store() {
    insta::assert_snapshot!(told("name: p\njobstore: {docs_store: {type: SqliteStore}}\nJOB_STORE: {docs_store: {type: SqliteStore}}\n"), @r"
    demo.yaml:3:12: `JOB_STORE` is another name of `jobstore`, and both are given (in JOB_STORE)
      |
    3 | JOB_STORE: {docs_store: {type: SqliteStore}}
      |            ^ keep `jobstore`
    ");
}

#[test]
fn batch_workers_with_one_directory() {
    let worker = "{type: local, scheduler_type: shell, work_dir: /w, max_jobs: 1, batch: {jobs_handle_dir: /b, work_dir: /c}}";
    insta::assert_snapshot!(told(&format!("name: p\nworkers:\n  one: {worker}\n  two: {worker}\n")), @r"
    demo.yaml:4:3: `jobs_handle_dir` is also the one of the worker `one` on the same host (in workers)
      |
    4 |   two: {type: local, scheduler_type: shell, work_dir: /w, max_jobs: 1, batch: {jobs_handle_dir: /b,
      |   ^^^ give each batch worker its own
    ");
}

#[test]
fn hosts_that_are_options() {
    insta::assert_snapshot!(told("name: p\nworkers:\n  w: {type: remote, host: -oProxyCommand=x, port: 70000, scheduler_type: slurm, work_dir: /w}\n"), @r#"
    demo.yaml:3:27: "-oProxyCommand=x" is no host (in workers.w.host)
      |
    3 |   w: {type: remote, host: -oProxyCommand=x, port: 70000, scheduler_type: slurm, work_dir: /w}
      |                           ^^^^^^^^^^^^^^^^ write a name of your OpenSSH configuration or an address
    demo.yaml:3:51: 70000 is not between 1 and 65535 (in workers.w.port)
      |
    3 |   w: {type: remote, host: -oProxyCommand=x, port: 70000, scheduler_type: slurm, work_dir: /w}
      |                                                   ^^^^^
    "#);
}

#[test]
fn variables_and_options_that_mean_nothing() {
    let variables = [
        ("JOBFERRY_WORKERS__CLUTSER__MAX_JOBS", "1"),
        ("JOBFERRY_WROKERS__A__B", "1"),
        ("JOBFERRY_LOG_LEVEL", "loud"),
        ("JOBFERRY_RUNNER__DELAY_CHEKOUT", "3"),
        ("JOBFERRY_NAME__X", "3"),
    ];
    let option = Override {
        key: "workers.cluster.max_jobs".to_owned(),
        value: "x".to_owned(),
        option: "--max-jobs".to_owned(),
    };
    let environment = Environment::new(variables, Some("/home/alice".into()));
    let report = parse_in(CLUSTER, Format::Yaml, &environment, &[option]).unwrap_err();
    insta::assert_snapshot!(report, @r#"
    environment JOBFERRY_NAME__X: `name` is no map, so that `X` cannot be set in it
    environment JOBFERRY_WORKERS__CLUTSER__MAX_JOBS: `clutser` is not among the workers of the project file
      hint: did you mean `cluster`?
    environment JOBFERRY_WROKERS__A__B: `wrokers` is no key of a project
      hint: did you mean `workers`?
    environment JOBFERRY_LOG_LEVEL: `loud` is not known here (in log_level)
      hint: known are: error, warn, info, debug
    environment JOBFERRY_RUNNER__DELAY_CHEKOUT: the key `delay_chekout` is not known here (in runner.delay_chekout)
      hint: did you mean `delay_checkout`?
    option --max-jobs: a whole number is needed here, not the text "x" (in workers.cluster.max_jobs)
    "#);
}

#[test]
fn a_secret_in_the_wrong_key_is_not_shown() {
    let store = "type: MongoStore, database: d, collection_name: c, username: u";
    for key in ["password_command: hunter2", "password: [hunter2]", "password_file: hunter2x/../hunter"] {
        let report = told(&format!("name: p\nqueue: {{store: {{{store}, {key}}}}}\n"));
        assert!(!report.contains("[hunter2]") && !report.contains("text \"hunter2"), "{report}");
    }
}
