use proptest::prelude::*;

use super::*;
use crate::model::ids::JobKey;
use crate::model::resources::Resources;

fn token(number: i32) -> Token {
    Token::new(&JobKey::new("u", number), 1)
}

fn job(number: i32) -> Watched {
    Watched {
        id: format!("{number}-70-ab12"),
        token: token(number),
        run_dir: format!("/w/{number}"),
        submitted: None,
    }
}

fn printed(exit_code: i32, stdout: &str, stderr: &str) -> Printed {
    Printed { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn submissions() {
    let accepted = Submission::Accepted { id: "12-34-abcd1234".into() };
    assert_eq!(Shell.read_submission(&printed(0, "12-34-abcd1234\n", "")), accepted);
    assert_eq!(Shell.read_submission(&printed(0, "Hello!\n\n12-34-abcd1234\n", "noise")), accepted);
    let kind = |exit_code, stdout, stderr| match Shell.read_submission(&printed(exit_code, stdout, stderr)) {
        Submission::Accepted { .. } => "accepted",
        Submission::Wait { .. } | Submission::NotTried { .. } | Submission::Missing { .. } => "wait",
        Submission::Refused { .. } => "refused",
        Submission::Unclear { .. } => "unclear",
    };
    assert_eq!(kind(0, "", ""), "unclear");
    assert_eq!(kind(0, "12--abcd", ""), "unclear");
    assert_eq!(kind(1, "12-34-abcd1234", ""), "unclear");
    assert_eq!(kind(69, "", "this host has no /proc"), "refused");
    assert_eq!(kind(2, "", "sh: 1: Cannot fork"), "wait");
}

#[test]
fn polls() {
    let jobs: Vec<Watched> = (1..=6).map(job).collect();
    let text = "banner\njobferry-poll 1\n1-70-ab12 running\n2-70-ab12 gone\n3-70-ab12 left\n4-70-ab12 stopped\n\
        5-70-ab12 dancing\n6-70-ab12 gone\nend 6\n";
    let read = Shell.read_poll(&printed(0, text, ""), &jobs).unwrap();
    let phases: Vec<Option<Phase>> = read
        .into_iter()
        .map(|observed| match observed {
            Observed::Seen(status) => Some(status.phase),
            Observed::Absent => None,
        })
        .collect();
    let expected = [
        Some(Phase::Running),
        None,
        Some(Phase::Running),
        Some(Phase::Suspended),
        Some(Phase::Unknown),
        None,
    ];
    assert_eq!(phases, expected);
    for bad in
        [text.replace("3-70", "9-70"), text.replace("end 6", "end 5"), text.replace("6-70-ab12 gone\n", "")]
    {
        assert!(Shell.read_poll(&printed(0, &bad, ""), &jobs).is_err(), "{bad}");
    }
    assert!(Shell.read_poll(&printed(1, text, ""), &jobs).is_err());
    let unsupported = printed(0, "jobferry-poll 1\nunsupported this host has no /proc\n", "");
    assert_eq!(Shell.read_poll(&unsupported, &jobs).unwrap_err().why, "this host has no /proc");
}

#[test]
fn finds() {
    let text = "jobferry-find 1\nu_1_1 9-80-ab other\nu_1_1 8-70-ab wrapper\nu_2_1 7-60-ab other\nu_2_1 6-50-ab other\nend 4\n";
    let read = Shell.read_find(&printed(0, text, ""), &[token(1), token(2), token(3)]).unwrap();
    assert_eq!(read, [vec!["8-70-ab".to_owned()], vec!["6-50-ab".to_owned()], vec![]]);
    for bad in ["u_1_1 x wrapper", "u_1_1", "u_1_1 8-x-ab wrapper"] {
        let text = format!("jobferry-find 1\n{bad}\nend 1\n");
        assert!(Shell.read_find(&printed(0, &text, ""), &[token(1)]).is_err(), "{bad}");
    }
}

#[test]
fn amounts_are_taken_and_things_that_are_not_there_refused() {
    let header = |resources: &Resources| Shell.header(&HeaderJob { name: "n", run_dir: "/w", resources });
    let amounts = Resources {
        nodes: Some(1),
        tasks: Some(2),
        cpus_per_task: Some(4),
        memory_per_node_bytes: Some(1),
        gpus: Some(1),
        walltime_seconds: Some(60),
        template: bson::doc! {"qverbatim": "# x\nulimit -c 0", "job_name": "x"},
        ..Resources::default()
    };
    assert_eq!(header(&amounts).unwrap(), "# x\nulimit -c 0\n");
    let absent = Resources {
        gpu_type: Some("a100".into()),
        qos: Some("q".into()),
        template: bson::doc! {"mem": 1},
        ..Resources::default()
    };
    assert_eq!(header(&absent).unwrap_err().fields, ["gpu_type", "qos", "mem"]);
}

#[test]
fn checks() {
    let good = printed(0, "jobferry-check 1\nversion Linux 6.1, bash 5.2\nend 1\n", "");
    assert_eq!(Shell.read_check(&good), Ok("Linux 6.1, bash 5.2".into()));
    let bad = printed(0, "jobferry-check 1\nfault no setsid\nversion Linux\nend 2\n", "");
    assert_eq!(Shell.read_check(&bad), Err("no setsid".into()));
}

proptest! {
    #[test]
    fn noise_never_panics(noise in "(\\PC|\n|jobferry-(poll|find|cancel) 1\n|end [0-2]\n|1-70-ab12 |u_1_1 ){0,12}") {
        let noise = printed(0, &noise, "");
        let _ignored = Shell.read_submission(&noise);
        let _ignored = (Shell.read_poll(&noise, &[job(1)]), Shell.read_find(&noise, &[token(1)]));
        let _ignored = (Shell.read_cancel(&noise, &["1".into()]), Shell.read_check(&noise));
    }
}
