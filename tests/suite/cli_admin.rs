//! `jf admin` and `jf backup`, as people use them.

use std::process::Stdio;

use crate::cli_environment::{Run, TestEnv};
use crate::cli_lab::lab;
use crate::interop_peer::run_script;

/// Runs `jf` with these words and this on its standard input.
fn answering(place: &TestEnv, line: &str, typed: &str) -> Run {
    place.write("typed", typed);
    let mut command = place.command(line);
    command.stdin(Stdio::from(std::fs::File::open(place.path("typed")).unwrap()));
    place.run(command)
}

fn count(place: &TestEnv, what: &str) -> u64 {
    place.jf(&format!("{what} list --count --json")).json()["count"].as_u64().unwrap()
}

#[tokio::test]
async fn reset_asks_first_and_deletes_all() {
    let place = lab().await;
    let (jobs, flows) = (count(&place, "job"), count(&place, "flow"));
    assert!(jobs > 0 && flows > 0);

    let shown = place.jf("admin reset --dry-run -o --json").json();
    assert_eq!((shown["reset"].as_bool(), shown["jobs"].as_u64()), (Some(false), Some(jobs)));
    assert_eq!(shown["flows"].as_u64(), Some(flows));
    for (typed, code) in [("n\n", 0), ("\n", 0), ("", 1)] {
        let run = answering(&place, "admin reset", typed);
        assert_eq!(run.code, Some(code), "{run}");
        assert!(run.stderr.contains("delete all the Jobs data for project lab"), "{run}");
        assert_eq!(count(&place, "job"), jobs, "{run}");
    }
    let run = answering(&place, "admin reset", "y\n");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "The database was reset\n"), "{run}");
    assert_eq!((count(&place, "job"), count(&place, "flow")), (0, 0));
    assert_eq!(place.jf("admin reset -y").code, Some(0), "an empty store is reset too");
}

#[test]
fn reset_of_many_flows_wants_the_date() {
    let place = TestEnv::with_project();
    for _ in 0..25 {
        let run = place.jf("submit -- true");
        assert_eq!(run.code, Some(0), "{run}");
    }
    for line in ["admin reset -y", "admin reset 2020-01-01 -y"] {
        let run = place.jf(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run}");
        assert!(run.stderr.contains("error: The database was NOT reset: it has 25 flows"), "{run}");
        assert_eq!(count(&place, "flow"), 25);
    }
    // Right before midnight the date may be another one by the time it is read: then that one is told.
    let said = place.jf("admin reset -y").stderr;
    let (_, rest) = said.split_once("`jf admin reset ").unwrap();
    let run = place.jf(&format!("admin reset {} -y", rest.split('`').next().unwrap()));
    assert_eq!((run.code, count(&place, "flow")), (Some(0), 0), "{run}");
}

#[tokio::test]
async fn nothing_is_reset_or_copied_while_a_runner_is_up() {
    let place = lab().await;
    let started = place.jf("runner start");
    assert_eq!(started.code, Some(0), "{started}");
    let jobs = count(&place, "job");
    for line in ["admin reset -y", "backup create saved", "backup restore ."] {
        let run = place.jf(line);
        assert_eq!(run.code, Some(1), "{line}: {run}");
        let is_about_files = run.stderr.contains("there is no backup in");
        assert!(is_about_files == line.contains("restore"), "{run}");
        assert!(is_about_files || run.stderr.contains("hint: `jf runner stop` stops it"), "{run}");
    }
    assert_eq!(count(&place, "job"), jobs);
    assert!(!place.path("saved").exists());
    let stopped = place.jf("runner stop");
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert_eq!(place.jf("backup create saved").code, Some(0));
}

#[tokio::test]
async fn a_backup_brings_back_what_a_reset_deleted() {
    let place = lab().await;
    let before = place.jf("job list -m 0 --sort db_id --json").json();
    let run = place.jf("backup create saved -c");
    assert_eq!(run.code, Some(0), "{run}");
    let jobs = before["jobs"].as_array().or(before.as_array()).unwrap().len();
    assert!(run.stdout.starts_with("Backup created in saved/lab for\n"), "{run}");
    assert!(run.stdout.contains(&format!("    jobs collection: {jobs} documents\n")), "{run}");
    let again = place.jf("backup create saved");
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("there is a backup in saved/lab already"), "{again}");

    let refused = place.jf("backup restore saved");
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("error: the store is not empty: "), "{refused}");
    assert!(refused.stderr.contains("`jf admin reset`"), "{refused}");

    assert_eq!(place.jf("admin reset -y").code, Some(0));
    let shown = place.jf("backup restore saved --dry-run --json").json();
    assert_eq!(shown["documents"]["jobs"].as_u64().map(|n| n as usize), Some(jobs));
    assert_eq!(count(&place, "job"), 0, "a dry run writes nothing");
    let restored = place.jf("backup restore saved");
    assert_eq!(restored.code, Some(0), "{restored}");
    assert!(restored.stdout.starts_with("Backup restored from saved/lab:\n"), "{restored}");
    assert_eq!(place.jf("job list -m 0 --sort db_id --json").json(), before);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_written() {
    let place = lab().await;
    assert_eq!(place.jf("backup create saved").code, Some(0));
    assert_eq!(place.jf("admin reset -y").code, Some(0));
    let path = place.path("saved/lab/jobs.bson");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let run = place.jf("backup restore saved");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("saved/lab/jobs.bson is not a whole backup file"), "{run}");
    assert_eq!((count(&place, "job"), count(&place, "flow")), (0, 0));
}

#[tokio::test]
async fn nothing_locked_is_told() {
    let place = lab().await;
    for line in ["admin unlock", "admin unlock-flow"] {
        let run = place.jf(line);
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stderr.contains("No data matching the request"), "{run}");
        let run = place.jf(&format!("{line} -y --json"));
        assert_eq!(run.json()["unlocked"].as_u64(), Some(0));
    }
    let run = place.jf("admin unlock-runner");
    assert_eq!(run.stdout, "The runner document was not locked. Nothing changed.\n", "{run}");
}

#[tokio::test]
async fn an_sqlite_store_has_its_own_indexes_and_is_never_old() {
    let place = lab().await;
    let run = place.jf("admin index rebuild -fg");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Indexes rebuilt\n"), "{run}");
    let run = place.jf("admin index create job.name desc -c jobs -u");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("the index was not made"), "{run}");
    let run = place.jf("admin upgrade -ndr");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "No upgrade required\n"), "{run}");
}

/// Backups, resets, locks, indexes and upgrades on databases that jobflow-remote itself made and looks at afterwards.
#[test]
fn heavy_the_peer_and_ours_administer_one_database() {
    run_script("cli_admin::heavy_the_peer_and_ours_administer_one_database", "administer.py", &[]);
}
