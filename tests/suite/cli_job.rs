//! `jf job`

use insta::assert_snapshot;
use serde_json::json;

use crate::cli_environment::TestEnv;
use crate::cli_lab::{lab, uuid};

#[tokio::test]
async fn list_shows_the_columns_of_jobflow_remote() {
    assert_snapshot!(lab().await.jf("job list"), @r"
        exit: 0
        ----- stdout
         DB id  Name         State         Job id  (Index)                            Worker   Last updated [CET]
         4      phonons      REMOTE_ERROR  ab000000-0000-5000-8000-000000000004  (1)  cluster  2026-03-10 13:20
         2      static       FAILED        ab000000-0000-5000-8000-000000000002  (1)  here     2026-03-10 13:16
         1      relax        COMPLETED     ab000000-0000-5000-8000-000000000001  (1)  here     2026-03-10 13:16
         5      scan\x1b[2J  READY         ab000000-0000-5000-8000-000000000005  (1)  here     2026-03-10 13:00
         3      bands        WAITING       ab000000-0000-5000-8000-000000000003  (1)  here     2026-03-10 12:00
        `jf job info ID` tells more about an error.
        ----- stderr
        ");
}

#[tokio::test]
async fn list_shows_more_on_demand() {
    let place = lab().await;
    assert_snapshot!(place.jf("job list -v --sort db_id -revs -did 2"), @r"
        exit: 0
        ----- stdout
         DB id  Name    State   Job id  (Index)                            Worker  Last updated [CET]  Queue id  Run time [h:mm]  Retry time [CET]  Prev state  Locked
         2      static  FAILED  ab000000-0000-5000-8000-000000000002  (1)  here    2026-03-10 13:16    102       1:11
        `jf job info ID` tells more about an error.
        ----- stderr
        ");
    assert_snapshot!(place.jf("job list -vv -did 4"), @r#"
        exit: 0
        ----- stdout
         DB id  Name     State         Job id  (Index)                            Worker   Last updated [CET]  Queue id  Run time [h:mm]  Retry time [CET]  Prev state   Lock id  Lock time [CET]  Metadata
         4      phonons  REMOTE_ERROR  ab000000-0000-5000-8000-000000000004  (1)  cluster  2026-03-10 13:20                                                 CHECKED_OUT                            {"tag":4}
        `jf job info ID` tells more about an error.
        ----- stderr
        "#);
    assert_snapshot!(place.jf("job list -o name,state,run_time -m 2"), @r"
        exit: 0
        ----- stdout
         Name     State         Run time [h:mm]
         phonons  REMOTE_ERROR
         static   FAILED        1:11
        Only 2 jobs are shown; `-m 0` shows all.
        `jf job info ID` tells more about an error.
        ----- stderr
        ");
}

#[tokio::test]
async fn list_as_json_has_stable_names() {
    assert_snapshot!(lab().await.jf("job list --json -did 2"), @r#"
        exit: 0
        ----- stdout
        [
          {
            "db_id": "2",
            "uuid": "ab000000-0000-5000-8000-000000000002",
            "index": 1,
            "name": "static",
            "state": "FAILED",
            "worker": "here",
            "flow_id": "f0000000-0000-5000-8000-000000000001",
            "created_on": "2026-03-10T11:00:00Z",
            "updated_on": "2026-03-10T12:16:00Z",
            "start_time": "2026-03-10T11:04:00Z",
            "end_time": "2026-03-10T12:15:00Z",
            "run_time_seconds": 4260.0,
            "queue_id": "102",
            "retry_time": null,
            "previous_state": null,
            "lock_id": null,
            "lock_time": null,
            "priority": 0,
            "attempt": 1,
            "run_dir": "/work/2",
            "metadata": {
              "tag": 2
            },
            "parents": []
          }
        ]
        ----- stderr
        "#);
}

#[tokio::test]
async fn queries_choose_jobs() {
    let place = lab().await;
    let flow = uuid("f0", 1);
    let by_flow = format!("-fid {flow} -s COMPLETED");
    let by_key = format!("-jid {}:1", uuid("ab", 3));
    let cases = [
        ("", vec!["5", "4", "3", "2", "1"]),
        ("-did 1 -did 5", vec!["5", "1"]),
        ("-s FAILED -s READY", vec!["5", "2"]),
        ("-s completed", vec!["1"]),
        ("-e", vec!["4", "2"]),
        ("-run", vec![]),
        ("-n s*", vec!["5", "2"]),
        ("-n bands", vec!["3"]),
        ("-n band", vec![]),
        ("-wk cluster", vec!["4"]),
        (by_flow.as_str(), vec!["1"]),
        ("-fid 5", vec!["5"]),
        ("-fid f0", vec!["4", "3", "2", "1"]),
        (by_key.as_str(), vec!["3"]),
        (r#"-meta {"tag":2}"#, vec!["2"]),
        ("-meta tag=2", vec![]),
        ("-lf 1", vec!["5"]),
        ("-sdate 2026-03-10T13:15:30", vec!["4", "2", "1"]),
        ("-edate 2026-03-10T12:30:00", vec!["3"]),
        ("-ds 1", vec![]),
    ];
    for (query, wanted) in cases {
        let found = place.jf(&format!("job list --sort db_id --json {query}")).json();
        let ids: Vec<&str> =
            found.as_array().unwrap().iter().map(|job| job["db_id"].as_str().unwrap()).collect();
        assert_eq!(ids, wanted, "{query}");
        let count = place.jf(&format!("job list --count --json {query}")).json();
        assert_eq!(count, json!({"count": wanted.len()}), "{query}");
    }
    assert_snapshot!(place.jf("job list --count -e"), @r"
        exit: 0
        ----- stdout
        Number of jobs: 2
        ----- stderr
        ");
}

#[tokio::test]
async fn options_that_exclude_each_other_are_refused() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("job list -sdate 2026-01-01 -ds 3"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: the argument '--start-date <TIME>' cannot be used with '--days <N>'

        Usage: jf job list --start-date <TIME>

        For more information, try '--help'.
        ");
    assert_snapshot!(place.jf("job list -e -run"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: the argument '--error' cannot be used with '--running'

        Usage: jf job list --error

        For more information, try '--help'.
        ");
    assert_snapshot!(place.jf("job list -s RUNING"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: invalid value 'RUNING' for '--state <STATE>': `RUNING` is not a state of a job

        For more information, try '--help'.
        ");
    assert_snapshot!(place.jf("job list -sdate soon"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: invalid value 'soon' for '--start-date <TIME>': expected 2026-11-20, 2026-11-20T14:30:00 or 14:30:00

        For more information, try '--help'.
        ");
}

#[tokio::test]
async fn no_jobs_is_no_error() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("job list"), @r"
        exit: 0
        ----- stdout
        No jobs match.
        ----- stderr
        ");
    assert_snapshot!(place.jf("job list --json"), @r"
        exit: 0
        ----- stdout
        []
        ----- stderr
        ");
}

#[tokio::test]
async fn info_tells_why_a_job_failed() {
    assert_snapshot!(lab().await.jf("job info 2"), @r#"
        exit: 0
        ----- stdout
        Job 2 (static)
                 db_id = 2
                  uuid = ab000000-0000-5000-8000-000000000002
                 index = 1
                  name = static
                 state = FAILED
             exit code = 3
                 error = the job ended with exit code 3
          stderr (end) = warning: step 7
                         error: no convergence\x07
                  host = node1
                worker = here
              queue id = 102
               run_dir = /work/2
               attempt = 1
              priority = 0
            created_on = 2026-03-10 12:00:00
            updated_on = 2026-03-10 13:16:00
            start_time = 2026-03-10 12:04:00
              end_time = 2026-03-10 13:15:00
              run time = 1:11
                  flow = f0000000-0000-5000-8000-000000000001
              metadata = {"tag":2}
        History
         Time [CET]           From         To           Attempt  By          Why
         2026-03-10 12:01:00  READY        CHECKED_OUT  1        runner@lab
         2026-03-10 12:02:00  CHECKED_OUT  UPLOADED     1        runner@lab
         2026-03-10 12:03:00  UPLOADED     SUBMITTED    1        runner@lab
         2026-03-10 12:04:00  SUBMITTED    RUNNING      1        runner@lab
         2026-03-10 13:15:00  RUNNING      DOWNLOADED   1        runner@lab
         2026-03-10 13:16:00  DOWNLOADED   FAILED       1        runner@lab
        `jf job queue-out 2` prints what the job wrote, `jf job files ls 2` lists its files.
        ----- stderr
        "#);
}

#[tokio::test]
async fn info_tells_why_a_step_failed() {
    assert_snapshot!(lab().await.jf("job info 4"), @r#"
        exit: 0
        ----- stdout
        Job 4 (phonons)
                 db_id = 4
                  uuid = ab000000-0000-5000-8000-000000000004
                 index = 1
                  name = phonons
                 state = REMOTE_ERROR
          remote error = cannot connect to cluster: no route to host
             failed in = CHECKED_OUT
                worker = cluster
               attempt = 1
              priority = 0
            created_on = 2026-03-10 12:00:00
            updated_on = 2026-03-10 13:20:00
                  flow = f0000000-0000-5000-8000-000000000001
              metadata = {"tag":4}
        History
         Time [CET]           From         To            Attempt  By          Why
         2026-03-10 12:01:00  READY        CHECKED_OUT   1        runner@lab
         2026-03-10 13:20:00  CHECKED_OUT  REMOTE_ERROR  1        runner@lab  no route to host
        `jf project check -w cluster` tries the way to the worker.
        `jf job queue-out 4` prints what the job wrote, if it ran.
        ----- stderr
        "#);
}

#[tokio::test]
async fn info_tells_what_a_job_waits_for() {
    assert_snapshot!(lab().await.jf("job info 3"), @r#"
        exit: 0
        ----- stdout
        Job 3 (bands)
               db_id = 3
                uuid = ab000000-0000-5000-8000-000000000003
               index = 1
                name = bands
               state = WAITING
           waits for = 2  static  FAILED
              worker = here
             attempt = 0
            priority = 0
          created_on = 2026-03-10 12:00:00
          updated_on = 2026-03-10 12:00:00
             parents = 1  relax  COMPLETED
                       2  static  FAILED
                flow = f0000000-0000-5000-8000-000000000001
            metadata = {"tag":3}
        `jf job info 2` tells about what it waits for.
        ----- stderr
        "#);
}

#[expect(clippy::too_many_lines, reason = "the recorded text is one piece")]
#[tokio::test]
async fn info_as_json_has_stable_names() {
    assert_snapshot!(lab().await.jf("job info --json 2"), @r#"
        exit: 0
        ----- stdout
        {
          "db_id": "2",
          "uuid": "ab000000-0000-5000-8000-000000000002",
          "index": 1,
          "name": "static",
          "state": "FAILED",
          "worker": "here",
          "flow_id": "f0000000-0000-5000-8000-000000000001",
          "created_on": "2026-03-10T11:00:00Z",
          "updated_on": "2026-03-10T12:16:00Z",
          "start_time": "2026-03-10T11:04:00Z",
          "end_time": "2026-03-10T12:15:00Z",
          "run_time_seconds": 4260.0,
          "queue_id": "102",
          "retry_time": null,
          "previous_state": null,
          "lock_id": null,
          "lock_time": null,
          "priority": 0,
          "attempt": 1,
          "run_dir": "/work/2",
          "metadata": {
            "tag": 2
          },
          "parents": [],
          "error": "the job ended with exit code 3",
          "remote": {
            "step_attempts": 0,
            "queue_state": null,
            "process_id": "102",
            "retry_time_limit": null,
            "error": null,
            "queue_out": null,
            "queue_err": null
          },
          "exit_code": 3,
          "signal": null,
          "host": "node1",
          "scheduler_state": null,
          "stderr_tail": "warning: step 7\nerror: no convergence\u0007\n",
          "retries_used": 0,
          "hosts": [
            "f0000000-0000-5000-8000-000000000001"
          ],
          "resources": {
            "ntasks": 4
          },
          "exec_config": null,
          "stored_data": null,
          "history": [
            {
              "at": "2026-03-10T11:01:00Z",
              "from": "READY",
              "to": "CHECKED_OUT",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            },
            {
              "at": "2026-03-10T11:02:00Z",
              "from": "CHECKED_OUT",
              "to": "UPLOADED",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            },
            {
              "at": "2026-03-10T11:03:00Z",
              "from": "UPLOADED",
              "to": "SUBMITTED",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            },
            {
              "at": "2026-03-10T11:04:00Z",
              "from": "SUBMITTED",
              "to": "RUNNING",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            },
            {
              "at": "2026-03-10T12:15:00Z",
              "from": "RUNNING",
              "to": "DOWNLOADED",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            },
            {
              "at": "2026-03-10T12:16:00Z",
              "from": "DOWNLOADED",
              "to": "FAILED",
              "attempt": 1,
              "reason": null,
              "by": "runner@lab"
            }
          ],
          "waits_for": [],
          "job": {
            "@module": "jobflow.core.job",
            "@class": "Job",
            "uuid": "ab000000-0000-5000-8000-000000000002",
            "index": 1,
            "name": "static",
            "hosts": [
              "f0000000-0000-5000-8000-000000000001"
            ],
            "metadata": {
              "tag": 2
            },
            "config": {
              "on_missing_references": "error"
            }
          }
        }
        ----- stderr
        "#);
}

#[tokio::test]
async fn jobs_are_found_by_every_kind_of_id() {
    let place = lab().await;
    let whole = uuid("ab", 2);
    for line in
        ["job info 2", &format!("job info {whole}"), &format!("job info {whole} 1"), "job info --pid 102"]
    {
        assert_eq!(place.jf(&format!("{line} --json")).json()["db_id"], "2", "{line}");
    }
    assert_snapshot!(place.jf("job info ab00"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: ab00 is the beginning of several jobs:
            5  ab000000-0000-5000-8000-000000000005  scan\x1b[2J
            4  ab000000-0000-5000-8000-000000000004  phonons
            3  ab000000-0000-5000-8000-000000000003  bands
            2  ab000000-0000-5000-8000-000000000002  static
            1  ab000000-0000-5000-8000-000000000001  relax
        hint: type more of the id
        ");
    assert_snapshot!(place.jf("job info 99"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: no job has the id 99
        hint: `jf job list -m 0` shows all of them
        ");
    assert_snapshot!(place.jf("job info 2 7"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: no job has the id 2 with index 7
        hint: `jf job list -m 0` shows all of them
        ");
    assert_snapshot!(place.jf("job info"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: the following required arguments were not provided:
          <ID>

        Usage: jf job info <ID> [INDEX]

        For more information, try '--help'.
        ");
}

#[tokio::test]
async fn output_is_printed_or_written() {
    let place = lab().await;
    assert_snapshot!(place.jf("job output 1"), @r#"
        exit: 0
        ----- stdout
        {
          "energy": -1.5,
          "steps": [
            1,
            2
          ],
          "gap": null
        }
        ----- stderr
        "#);
    assert_snapshot!(place.jf("job output 1 -p out.json"), @r"
        exit: 0
        ----- stdout
        ----- stderr
        written to out.json
        ");
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("out.json")).unwrap()).unwrap();
    assert_eq!(written, json!({"energy": -1.5, "steps": [1, 2], "gap": null}));
    assert_snapshot!(place.jf("job output 2"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: job 2 has no output; it is FAILED
        hint: `jf job info 2` says where it is
        ");
}

#[tokio::test]
async fn names_cannot_command_the_terminal() {
    let run = lab().await.jf("--color always job list -did 5");
    assert!(run.stdout.contains("scan\\x1b[2J") && !run.stdout.contains("\u{1b}[2J"), "{run}");
    assert!(run.stdout.contains("\u{1b}["), "colours were asked for: {run}");
}

#[tokio::test]
async fn colours_are_for_terminals_and_no_color_is_honoured() {
    let place = lab().await;
    assert!(!place.jf("job list").stdout.contains('\u{1b}'));
    assert!(!place.jf("--color never job list").stdout.contains('\u{1b}'));
}
