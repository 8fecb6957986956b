//! `jf project`, and what every command says when the project or its store is not as it should be.

use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::cli_environment::TestEnv;

#[test]
fn list_shows_usable_and_broken_files() {
    let place = TestEnv::with_project();
    place.write("projects/broken.yaml", "name: broken\nworkers:\n  here:\n    type: locl\n");
    assert_snapshot!(place.jf("project list"), @r"
        exit: 0
        ----- stdout
            Name  Store  Workers  File
            broken  not usable  [ROOT]/projects/broken.yaml
         *  lab  SqliteStore  here  [ROOT]/projects/lab.yaml
        `jf project list --warn` says what is wrong with the others.
        ----- stderr
        ");
    assert_snapshot!(place.jf("project list --warn"), @r"
        exit: 0
        ----- stdout
            Name  Store  Workers  File
            broken  not usable  [ROOT]/projects/broken.yaml
         *  lab  SqliteStore  here  [ROOT]/projects/lab.yaml
        the project file [ROOT]/projects/broken.yaml has 3 faults:
        [ROOT]/projects/broken.yaml:4:5: the key `scheduler_type` is missing (in workers.here)
          |
        4 |  type: locl
          |  ^ write one of shell, slurm, pbs, sge, lsf, flux
        [ROOT]/projects/broken.yaml:4:5: the key `work_dir` is missing (in workers.here)
          |
        4 |  type: locl
          |  ^ write the absolute path of a directory on the worker
        [ROOT]/projects/broken.yaml:4:11: `locl` is not known here (in workers.here.type)
          |
        4 |  type: locl
          |  ^^^^ did you mean `local`?
        ----- stderr
        ");
    assert_snapshot!(place.jf("project list --json"), @r#"
        exit: 0
        ----- stdout
        [
          {
            "name": "broken",
            "file": "[ROOT]/projects/broken.yaml",
            "selected": false,
            "store": null,
            "workers": null,
            "error": "the project file [ROOT]/projects/broken.yaml has 3 faults:\n[ROOT]/projects/broken.yaml:4:5: the key `scheduler_type` is missing (in workers.here)\n  |\n4 |  type: locl\n  |  ^ write one of shell, slurm, pbs, sge, lsf, flux\n[ROOT]/projects/broken.yaml:4:5: the key `work_dir` is missing (in workers.here)\n  |\n4 |  type: locl\n  |  ^ write the absolute path of a directory on the worker\n[ROOT]/projects/broken.yaml:4:11: `locl` is not known here (in workers.here.type)\n  |\n4 |  type: locl\n  |  ^^^^ did you mean `local`?"
          },
          {
            "name": "lab",
            "file": "[ROOT]/projects/lab.yaml",
            "selected": true,
            "store": "SqliteStore",
            "workers": [
              "here"
            ],
            "error": null
          }
        ]
        ----- stderr
        "#);
}

#[test]
fn no_project_says_how_to_make_one() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("project list"), @r"
        exit: 0
        ----- stdout
        There are no projects in [ROOT]/projects.
        `jf init` makes one; `jf demo` shows what a project does.
        ----- stderr
        ");
    assert_snapshot!(place.jf("job list"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: there is no project in [ROOT]/projects
        hint: make one: jf init; or try without: jf demo
        ");
}

#[test]
fn an_unknown_project_is_named_with_the_known_ones() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("-p lap job list"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: there is no project `lap` in [ROOT]/projects
        hint: did you mean `lab`? type: jf -p lab …
        ");
    place.write("projects/other.yaml", &place.project("other"));
    assert_snapshot!(place.jf("job list"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: there are several projects in [ROOT]/projects and none is chosen: lab, other
        hint: choose one: jf -p lab …; or for good: export JFREMOTE_PROJECT=lab
        ");
    let mut named = place.command("job list --count");
    named.env("JFREMOTE_PROJECT", "other");
    assert_snapshot!(place.run(named), @r"
        exit: 0
        ----- stdout
        Number of jobs: 0
        ----- stderr
        ");
    assert_snapshot!(place.jf("job list --count --project lab"), @r"
        exit: 0
        ----- stdout
        Number of jobs: 0
        ----- stderr
        ");
}

#[test]
fn show_says_where_each_value_comes_from() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("project show --source --changed"), @r"
        exit: 0
        ----- stdout
        Project lab
         Key  Value  From
         name  lab  [ROOT]/projects/lab.yaml:1
         workers.here.type  local  [ROOT]/projects/lab.yaml:4
         workers.here.scheduler_type  shell  [ROOT]/projects/lab.yaml:5
         workers.here.work_dir  [ROOT]/work  [ROOT]/projects/lab.yaml:6
         queue.store.type  SqliteStore  [ROOT]/projects/lab.yaml:9
         queue.store.path  [ROOT]/lab.sqlite  [ROOT]/projects/lab.yaml:10
        ----- stderr
        ");
    let all = place.jf("project show --json").json();
    let keys: Vec<&str> =
        all["settings"].as_array().unwrap().iter().filter_map(|one| one["key"].as_str()).collect();
    assert!(keys.contains(&"runner.delay_checkout") && keys.contains(&"workers.here.work_dir"), "{keys:?}");
}

#[test]
fn show_prints_the_defaults_without_any_project() {
    let run = TestEnv::empty().jf("project show --default");
    assert!(run.code == Some(0) && run.stdout.contains("delay_checkout: 30"), "{run}");
}

#[test]
fn a_faulty_project_file_is_refused_with_all_its_faults() {
    let place = TestEnv::empty();
    place.write(
        "projects/lab.yaml",
        "name: lab\nlog_levl: info\nworkers:\n  here:\n    type: local\n    scheduler_type: slrm\n    work_dir: relative\n",
    );
    assert_snapshot!(place.jf("job list"), @r#"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project file [ROOT]/projects/lab.yaml has 3 faults:
            [ROOT]/projects/lab.yaml:2:1: the key `log_levl` is not known here
              |
            2 | log_levl: info
              | ^^^^^^^^ did you mean `log_level`?
            [ROOT]/projects/lab.yaml:6:21: `slrm` is not known here (in workers.here.scheduler_type)
              |
            6 |     scheduler_type: slrm
              |                     ^^^^ did you mean `slurm`?
            [ROOT]/projects/lab.yaml:7:15: the path "relative" is not absolute (in workers.here.work_dir)
              |
            7 |     work_dir: relative
              |               ^^^^^^^^ `~` and variables mean nothing here; begin with /
        hint: mend the file, then type: jf project check
        "#);
}

#[test]
fn a_dead_database_is_told_within_seconds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let place = TestEnv::empty();
    let store = format!(
        "type: MongoStore\n    host: 127.0.0.1\n    port: {port}\n    database: jf\n    collection_name: jobs"
    );
    let file = place.project("lab").replace("type: SqliteStore", &store);
    let file: String =
        file.lines().filter(|line| !line.contains(".sqlite")).map(|line| format!("{line}\n")).collect();
    place.write("projects/lab.yaml", &file);
    let begin = Instant::now();
    let run = place.jf("job list");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("\nhint: "), "{run}");
    assert_eq!(place.jf("project check").code, Some(4));
}

#[test]
fn a_store_that_is_no_database_is_told() {
    let place = TestEnv::with_project();
    place.write("lab.sqlite", "this is not a database, but a text that somebody wrote over it\n");
    assert_snapshot!(place.jf("job list"), @r"
        exit: 1
        ----- stdout
        ----- stderr
        error: the database in [ROOT]/lab.sqlite cannot be read: file is not a database
        hint: another program may have written it: restore a backup, or name another store in the project file
        ");
}

#[test]
fn a_store_in_a_place_that_cannot_be_made_is_told() {
    let place = TestEnv::with_project();
    std::fs::create_dir(place.path("lab.sqlite")).unwrap();
    assert_snapshot!(place.jf("job list"), @r"
        exit: 5
        ----- stdout
        ----- stderr
        error: the store [ROOT]/lab.sqlite does not answer
        caused by: unable to open database file: [ROOT]/lab.sqlite
        hint: check the address in the project file and that the server runs, then type `jf project check`
        ");
}

#[test]
fn check_tries_each_hop() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("project check").without_chance(), @r"
        exit: 0
        ----- stdout
        Project lab
             What  Where  Result
         ok  project file  [ROOT]/projects/lab.yaml  valid
         ok  store of jobs  [ROOT]/lab.sqlite  answers
         ok  store of outputs  [ROOT]/lab.sqlite  answers
         ok  host  localhost  answers
         ok  work directory of here  [ROOT]/work  can be written
         ok  scheduler of here  shell  [SYSTEM]
        ----- stderr
        ");
    assert_snapshot!(place.jf("project check --worker nowhere"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project `lab` has no worker `nowhere`
        hint: known are: here
        ");
}

#[test]
fn check_names_the_hop_that_fails() {
    let place = TestEnv::with_project();
    std::fs::remove_dir(place.path("work")).unwrap();
    place.write("work", "a file where the work directory should be");
    assert_snapshot!(place.jf("project check").without_chance(), @r"
        exit: 4
        ----- stdout
        Project lab
                 What  Where  Result
         ok  project file  [ROOT]/projects/lab.yaml  valid
         ok  store of jobs  [ROOT]/lab.sqlite  answers
         ok  store of outputs  [ROOT]/lab.sqlite  answers
         ok  host  localhost  answers
         FAILED  work directory of here  [ROOT]/work  cannot be made: mkdir: cannot create directory '[ROOT]/work': File exists
         ok  scheduler of here  shell  [SYSTEM]
        work directory of here: make it by hand, or set another work_dir in the project file
        ----- stderr
        ");
    let report = place.jf("project check --json");
    assert_eq!(report.code, Some(4));
    assert!(report.stdout.contains("\"ok\": false"), "{report}");
}
