//! `jf job` and `jf flow` where they change something, with the words that jobflow-remote's own tests look for.

use std::io::Write as _;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::json;

use crate::cli_environment::{Run, TestEnv};
use crate::cli_lab::{lab, uuid};

/// Runs `jf` with an answer on its standard input.
fn answering(place: &TestEnv, line: &str, answer: &str) -> Run {
    let mut command = place.command(line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { stdout: text(&output.stdout), stderr: text(&output.stderr), code: output.status.code() }
}

fn state(place: &TestEnv, id: &str) -> String {
    place.jf(&format!("job info {id} --json")).json()["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_goes_through_all_actions() {
    let place = lab().await;
    let line = |line: &str| {
        let run = place.jf(line);
        assert_eq!(run.code, Some(0), "{line}: {run}");
        run.stdout
    };
    let one = "Operation completed: 1 jobs modified\n";
    assert_eq!(line("job rerun 2"), one);
    assert_eq!(state(&place, "2"), "READY");
    assert_eq!(line("job pause -did 2"), one);
    assert_eq!(line("job play 2"), one);
    assert_eq!(line("job stop 2"), one);
    assert_eq!(state(&place, "2"), "USER_STOPPED");
    assert_eq!(line("job resume -s USER_STOPPED -v"), "Operation completed. Modified jobs: ['2']\n");
    assert_eq!(line("job retry 4"), one);
    assert_eq!(state(&place, "4"), "CHECKED_OUT");
    assert_eq!(line("job set-state FAILED 4"), one);
    assert_eq!(state(&place, "4"), "FAILED");
    assert_eq!(line("job rerun -f 1"), "Operation completed: 1 jobs modified\n", "its child only waits");
    assert_eq!(line("job set priority 7 1"), one);
    assert_eq!(line("job set worker here 4"), one);
    assert_eq!(line("job set resources ntasks=8,time=1 4"), one);
    let job = place.jf("job info 4 --json").json();
    assert_eq!((&job["worker"], &job["resources"]), (&json!("here"), &json!({"ntasks": "8", "time": "1"})));
    assert_eq!(line("job set resources -r {\"nodes\":1} 4"), one);
    assert_eq!(place.jf("job info 4 --json").json()["resources"], json!({"nodes": 1}));
    let history = place.jf("job info 2 --json").json()["history"].to_string();
    assert!(history.contains("tester@"), "{history}");
}

#[tokio::test]
async fn refusals_fail_with_the_words_of_jobflow_remote() {
    let place = lab().await;
    assert_snapshot!(place.jf("job rerun 1"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: Error while rerunning for job 1: Job in state COMPLETED cannot be rerun. Use the 'force' option to override this check.
    hint: `jf job info 1` tells more about the job
    ");
    assert_snapshot!(place.jf("job pause -did 1 -did 5"), @r"
    exit: 1
    ----- stdout
    Operation completed: 1 jobs modified
    ----- stderr
    Error while pausing for job 1: Job in state COMPLETED. The action cannot be performed
    ");
    assert_snapshot!(place.jf("job stop 3 --json"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: Error while stopping for job 3: Job in state WAITING. The action cannot be performed
    hint: `jf job info 3` tells more about the job
    ");
    assert_snapshot!(place.jf("job retry 5"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: Error while retrying for job 5: Job in state PAUSED cannot be retried.
    hint: `jf job info 5` tells more about the job
    ");
    assert_snapshot!(place.jf("job rerun 1 -s FAILED"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: If job_db_id is defined all the other query options should be disabled
    hint: leave out the id, or all options that choose jobs
    ");
    assert_snapshot!(place.jf("job set worker nowhere 5"), @r"
    exit: 6
    ----- stdout
    ----- stderr
    error: the project `lab` has no worker `nowhere`
    hint: known are: here
    ");
    assert_snapshot!(place.jf("job rerun 99"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: no job has the id 99
    hint: `jf job list -m 0` shows all of them
    ");
    assert_snapshot!(place.jf("job pause -re -s COMPLETED -s READY -s FAILED --json"), @r#"
    exit: 1
    ----- stdout
    {
      "modified": [],
      "refused": [
        {
          "db_id": "2",
          "error": "Job in state FAILED. The action cannot be performed"
        }
      ],
      "not_tried": 1
    }
    ----- stderr
    "#);
}

#[tokio::test]
async fn all_jobs_are_asked_for() {
    let place = lab().await;
    let question =
        "No filter has been set. This will apply the change to all the jobs in the DB. Proceed anyway?";
    let no = answering(&place, "job pause", "n\n");
    assert!(no.stderr.contains(question) && no.code == Some(0), "{no}");
    assert_eq!(state(&place, "5"), "READY");
    let nobody = place.jf("job pause");
    assert_eq!(nobody.code, Some(1), "{nobody}");
    let yes = answering(&place, "job pause", "y\n");
    assert_eq!(yes.stdout, "Operation completed: 2 jobs modified\n");
    assert!(yes.stderr.contains("Error while pausing for job 1: Job in state COMPLETED"), "{yes}");
    assert_eq!(yes.code, Some(1), "not all went well");
}

#[tokio::test]
async fn jobs_are_deleted_with_what_is_asked_for() {
    let place = lab().await;
    assert_snapshot!(place.jf("job delete 2 --dry-run"), @r"
    exit: 0
    ----- stdout
    This operation would delete 1 Job(s):
    2  FAILED  static
    ----- stderr
    ");
    assert_eq!(state(&place, "2"), "FAILED");
    let run = place.jf("job delete -did 2 -did 1 -o");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Operation completed: 2 jobs modified\n"));
    assert_eq!(state(&place, "3"), "READY", "it waits for nobody any more");
    let only = place.jf("job delete 5");
    assert!(
        only.stderr
            .contains("It is not possible to delete the only Job of the Flow. Delete the entire Flow.")
    );
    let many = place.jf("job delete -y -m 1");
    assert!(many.stderr.contains("as they exceed the specified maximum limit (1)"), "{many}");
    assert_eq!(many.code, Some(1));
}

#[tokio::test]
async fn directories_are_removed_only_where_they_are_ours() {
    let place = lab().await;
    let work = place.path("work");
    let flow = format!("flow: f\njobs:\n  a: {{shell: 'touch {}/ran'}}\n", work.display());
    place.write("f.yaml", &flow);
    assert_eq!(place.jf("submit f.yaml").code, Some(0));
    let mut runner = place.command("runner run --until-idle --max-seconds 60");
    assert!(runner.output().unwrap().status.success());
    let id = place.jf("job list -n a --json").json()[0]["db_id"].as_str().unwrap().to_owned();
    let folder = place.jf(&format!("job info {id} --json")).json()["run_dir"].as_str().unwrap().to_owned();
    let folder = folder.replace("[ROOT]", place.path("").to_str().unwrap().trim_end_matches('/'));
    let shown = place.jf(&format!("job files delete {id} --dry-run"));
    assert!(shown.stdout.starts_with("This operation would delete the folder "), "{shown}");
    assert!(std::path::Path::new(&folder).is_dir());
    let done = place.jf("flow clean -y -n f");
    assert_eq!(done.stdout, "Deleted execution folders of 1 Jobs\n", "{done}");
    assert!(!std::path::Path::new(&folder).exists());
    std::fs::create_dir_all(&folder).unwrap();
    let kept = place.jf(&format!("job files delete {id}"));
    assert!(kept.code == Some(1) && kept.stderr.contains("The files were not deleted in folder"), "{kept}");
    assert!(std::path::Path::new(&folder).is_dir(), "it holds no input of a job");
    let not_yet = place.jf("job files delete 3");
    assert_eq!(
        (not_yet.code, not_yet.stderr.trim()),
        (Some(0), "The remote folder has not been created yet")
    );
}

#[tokio::test]
async fn flows_are_deleted_and_resumed() {
    let place = lab().await;
    assert_eq!(place.jf("job pause 5").code, Some(0));
    assert_eq!(place.jf("flow resume 5").stdout, "1 Job(s) resumed\n");
    assert_snapshot!(place.jf("flow resume 5"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: Cannot resume a Flow in state READY
    hint: only the jobs of a PAUSED or STOPPED flow can be resumed together; `jf job resume` resumes single ones
    ");
    assert_snapshot!(place.jf("flow set store 5 elsewhere"), @r"
    exit: 6
    ----- stdout
    ----- stderr
    error: the project `lab` has no optional job store `elsewhere`
    hint: add it to [ROOT]/projects/lab.yaml
    ");
    assert_eq!(place.jf("flow set store 5").stdout, "Flow has been updated\n");
    let nothing = place.jf("flow delete -n nobody");
    assert!(nothing.stderr.contains("No flows matching criteria") && nothing.code == Some(0), "{nothing}");
    let no = answering(&place, "flow delete -v -n scan", "n\n");
    assert!(no.stderr.contains("This operation will delete the following 1 Flow"), "{no}");
    assert_snapshot!(place.jf("flow delete -n scan --dry-run"), @r"
    exit: 0
    ----- stdout
    This operation would delete 1 Flow(s):
    f1000000-0000-5000-8000-000000000002  READY  scan  1 jobs
    ----- stderr
    ");
    let limit = place.jf("flow delete -y -m 1");
    assert!(limit.stderr.contains("Cannot delete 2 Flows as they exceed the specified maximum limit (1)"));
    let yes = answering(&place, "flow delete -n scan -a", "y\n");
    assert_eq!(yes.stdout, format!("Deleted Flow(s) with id: {}\n", uuid("f1", 2)), "{yes}");
    assert_eq!(place.jf("flow list --count").stdout, "Number of flows: 1\n");
}
