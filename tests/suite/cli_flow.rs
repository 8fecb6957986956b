//! `jf flow`

use insta::assert_snapshot;

use crate::cli_environment::TestEnv;
use crate::cli_lab::{lab, uuid};

#[tokio::test]
async fn list_shows_the_columns_of_jobflow_remote() {
    let place = lab().await;
    assert_snapshot!(place.jf("flow list"), @r"
        exit: 0
        ----- stdout
         DB id  Name        State   Flow id                               Num Jobs  Last updated [CET]
         1      relaxation  FAILED  f0000000-0000-5000-8000-000000000001  4         2026-03-10 13:16
         5      scan        READY   f1000000-0000-5000-8000-000000000002  1         2026-03-10 13:00
        ----- stderr
        ");
    assert_snapshot!(place.jf("flow list -v"), @r#"
        exit: 0
        ----- stdout
         DB id  Name        State   Flow id                               Num Jobs  Last updated [CET]  Workers        Job states  Flow metadata
         1      relaxation  FAILED  f0000000-0000-5000-8000-000000000001  4         2026-03-10 13:16    here, cluster  C-F-W-RERR  {"project":"oxides"}
         5      scan        READY   f1000000-0000-5000-8000-000000000002  1         2026-03-10 13:00    here           R           {"project":"oxides"}
        ----- stderr
        "#);
    assert_snapshot!(place.jf("flow list --count -s FAILED"), @r"
        exit: 0
        ----- stdout
        Number of flows: 1
        ----- stderr
        ");
}

#[tokio::test]
async fn list_as_json_has_stable_names() {
    assert_snapshot!(lab().await.jf("flow list --json -n scan -v"), @r#"
        exit: 0
        ----- stdout
        [
          {
            "flow_id": "f1000000-0000-5000-8000-000000000002",
            "name": "scan",
            "state": "READY",
            "db_ids": [
              "5"
            ],
            "num_jobs": 1,
            "created_on": "2026-03-10T12:00:00Z",
            "updated_on": "2026-03-10T12:00:00Z",
            "lock_id": null,
            "lock_time": null,
            "jobstore": null,
            "metadata": {
              "project": "oxides"
            },
            "workers": [
              "here"
            ],
            "job_states": [
              "READY"
            ]
          }
        ]
        ----- stderr
        "#);
}

#[tokio::test]
async fn queries_choose_flows() {
    let place = lab().await;
    let whole = format!("-fid {}", uuid("f0", 1));
    let job = format!("-jid {}", uuid("ab", 5));
    let cases = [
        ("", vec!["scan", "relaxation"]),
        ("-did 2", vec!["relaxation"]),
        ("-s FAILED", vec!["relaxation"]),
        ("-n sc?n", vec!["scan"]),
        ("-meta project=oxides", vec!["scan", "relaxation"]),
        ("-meta project=nitrides", vec![]),
        (whole.as_str(), vec!["relaxation"]),
        (job.as_str(), vec!["scan"]),
        ("-l", vec![]),
        ("-hs 1", vec![]),
        ("-m 1", vec!["scan"]),
    ];
    for (query, wanted) in cases {
        let found = place.jf(&format!("flow list --sort created_on --json {query}")).json();
        let names: Vec<&str> =
            found.as_array().unwrap().iter().map(|flow| flow["name"].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{query}");
    }
}

#[tokio::test]
async fn info_shows_the_jobs() {
    let place = lab().await;
    assert_snapshot!(place.jf("flow info 1"), @r"
        exit: 0
        ----- stdout
        Flow: relaxation - f0000000-0000-5000-8000-000000000001 - FAILED
         DB id  Name     State         Job id  (Index)                            Worker   Last updated [CET]
         1      relax    COMPLETED     ab000000-0000-5000-8000-000000000001  (1)  here     2026-03-10 13:16
         2      static   FAILED        ab000000-0000-5000-8000-000000000002  (1)  here     2026-03-10 13:16
         3      bands    WAITING       ab000000-0000-5000-8000-000000000003  (1)  here     2026-03-10 12:00
         4      phonons  REMOTE_ERROR  ab000000-0000-5000-8000-000000000004  (1)  cluster  2026-03-10 13:20
        `jf job info 2` tells more about the error.
        ----- stderr
        ");
    for id in ["f0", "3", "-j ab000000-0000-5000-8000-000000000002"] {
        assert_eq!(place.jf(&format!("flow info --json {id}")).json()["name"], "relaxation", "{id}");
    }
    assert_snapshot!(place.jf("flow info f"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: f is the beginning of several flows:
            f1000000-0000-5000-8000-000000000002  scan
            f0000000-0000-5000-8000-000000000001  relaxation
        hint: type more of the id
        ");
    assert_snapshot!(place.jf("flow info 77"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: no flow has the id 77
        hint: `jf flow list -m 0` shows all of them
        ");
}

#[tokio::test]
async fn no_flows_is_no_error() {
    assert_snapshot!(TestEnv::with_project().jf("flow list"), @r"
        exit: 0
        ----- stdout
        No flows match.
        ----- stderr
        ");
}

#[tokio::test]
async fn graph_draws_the_jobs_and_what_waits_for_what() {
    let place = lab().await;
    let graph = place.jf("flow graph 1").stdout;
    let drawn: Vec<&str> = graph.lines().filter(|line| !line.contains("classDef")).collect();
    assert_snapshot!(drawn.join("\n"), @r#"
    flowchart TD
        1("relax"):::COMPLETED
        2("static"):::FAILED
        3("bands"):::WAITING
        4("phonons"):::REMOTE_ERROR
        1 --> 3
        2 --> 3
    "#);
    let workers = place.jf("flow graph 1 --label worker --mermaid").stdout;
    assert!(workers.contains("(\"cluster\"):::"), "{workers}");
    let edges = place.jf("flow graph 1 --json").json();
    assert_eq!(edges["edges"][0]["is_replacement"], false, "{edges}");
    assert_eq!(place.jf("flow graph 1 -p graph.html").code, Some(0));
    let page = std::fs::read_to_string(place.path("graph.html")).unwrap();
    assert!(page.contains("<pre class=\"mermaid\">\nflowchart TD\n") && page.contains("--&gt;"), "{page}");
}
