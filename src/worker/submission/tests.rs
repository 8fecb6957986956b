use proptest::prelude::*;

use super::*;
use crate::model::ids::JobKey;
use crate::scheduler::slurm::Slurm;

fn jobs(count: i32) -> Vec<ToSubmit> {
    let job = |number| ToSubmit {
        token: Token::new(&JobKey::new("u", number), 1),
        run_dir: format!("/w/u_{number} "),
        mode: if number == 2 { Mode::Again } else { Mode::First },
    };
    (1..=count).map(job).collect()
}

fn printed(stdout: &str) -> Printed {
    Printed { exit_code: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

const WHOLE: &str = "Welcome\njobferry-submission 1\njob u_1_1 ran 0\no:sbatch: warning\no:17\njob u_2_1 ran 1\n\
    e:sbatch: error: invalid partition specified: x\njob u_3_1 held 0\njob u_4_1 started 0\no:18\njob u_5_1 skipped 0\nend 5\n";

#[test]
fn one_line_per_job_goes_out() {
    let question = submission(&Slurm, &jobs(2));
    assert_eq!(question.input, "first u_1_1 /w/u_1 /\nagain u_2_1 /w/u_2 /\n");
    assert!(question.script.starts_with("jf_submit() {\n"));
}

#[test]
fn each_answer_is_read() {
    let read = read_submissions(&printed(WHOLE), &jobs(5), &Slurm).unwrap();
    assert_eq!(read[0], Submission::Accepted { id: "17".into() });
    assert_eq!(read[1], Submission::Refused { why: "invalid partition specified: x".into() });
    assert!(matches!(&read[2], Submission::Unclear { .. }));
    assert_eq!(read[3], Submission::Accepted { id: "18".into() });
    assert!(matches!(&read[4], Submission::NotTried { .. }));
}

#[test]
fn a_deleted_directory_is_the_jobs_trouble_and_a_missing_file_system_is_not() {
    let read = |word: &str| {
        let text = format!("jobferry-submission 1\njob u_1_1 {word} 0\nend 1\n");
        read_submissions(&printed(&text), &jobs(1), &Slurm).unwrap().remove(0)
    };
    assert!(matches!(read("missing"), Submission::Missing { .. }));
    for word in ["unreachable", "storage", "skipped"] {
        assert!(matches!(read(word), Submission::NotTried { .. }), "{word}");
    }
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    for (length, _) in WHOLE.trim_end().char_indices() {
        assert!(read_submissions(&printed(&WHOLE[..length]), &jobs(5), &Slurm).is_err(), "{length}");
    }
    assert!(read_submissions(&printed(WHOLE), &jobs(4), &Slurm).is_err());
    let other = WHOLE.replace("job u_2_1", "job u_9_1");
    assert!(read_submissions(&printed(&other), &jobs(5), &Slurm).is_err());
}

proptest! {
    #[test]
    fn noise_never_panics(noise in "(\\PC|\n|job u_1_1 ran 0\n|end 1\n|o:1\n|jobferry-submission 1\n){0,12}") {
        let _ignored = read_submissions(&printed(&noise), &jobs(1), &Slurm);
    }
}
