use proptest::prelude::*;

use super::*;
use crate::model::ids::JobKey;
use crate::scheduler::by_name;

fn files(
    payload: &Payload,
    setup: &Setup,
    resources: &Resources,
    scheduler: &str,
) -> Result<Vec<ScriptFile>, ScriptError> {
    let token = Token::new(&JobKey::new("u", 1), 2);
    let (run_dir, work_dir) = ("/work/u/u_1", "/work");
    let attempt = Attempt { token: &token, name: "my job", run_dir, work_dir, resources, setup, payload };
    build(&attempt, &*by_name(scheduler).unwrap())
}

fn command(words: &[&str]) -> CommandPayload {
    let program = Program::Arguments(words.iter().map(|word| (*word).to_owned()).collect());
    CommandPayload { program, environment: Vec::new(), stdin: None }
}

fn body_of(payload: &Payload, setup: &Setup) -> Result<String, ScriptError> {
    Ok(files(payload, setup, &Resources::default(), "shell")?.remove(1).content)
}

#[test]
fn a_submit_script_begins_with_the_directives() {
    let mut resources = Resources { partition: Some("main".into()), ..Resources::default() };
    resources.template.insert("qverbatim", "#SBATCH --x\nulimit -s unlimited\n# after");
    let made = files(&Payload::Python, &Setup::default(), &resources, "slurm").unwrap();
    let head = made[0].content.split_once(WRAPPER).unwrap().0;
    assert_eq!((made[0].path, made[0].mode), ("submit.sh", 0o700));
    insta::assert_snapshot!(head, @r"
    #!/bin/bash
    #SBATCH --partition=main
    #SBATCH --job-name=my_job
    #SBATCH --output=/work/u/u_1/queue.out
    #SBATCH --error=/work/u/u_1/queue.err
    #SBATCH --x

    # Attempt u_1_2 of a job of JobFerry.
    jf_token=u_1_2
    jf_run_dir=/work/u/u_1
    jf_spool=/work/.jobferry/ended
    jf_grace=25
    jf_id=${SLURM_JOB_ID:-}
    jf_restarts=${SLURM_RESTART_COUNT:-0}
    jf_header() {
    :
    ulimit -s unlimited
    # after
    }
    ");
}

#[test]
fn the_body_of_a_command_is_executed_without_a_shell() {
    let mut payload = command(&["prog", "a b", "$x"]);
    payload.environment = vec![("A".into(), "$1".into())];
    payload.stdin = Some("in put".into());
    let setup = Setup {
        pre_run: "echo a".into(),
        modules: vec!["gcc/12".into()],
        export: vec![("PATH".into(), "/x/bin:$PATH".into())],
        ..Setup::default()
    };
    insta::assert_snapshot!(body_of(&Payload::Command(payload), &setup).unwrap(), @r#"
    # u_1_2
    jf_guard() { read -r jf_line <"$JF_RUN_DIR"/.jobferry/body && [ "$JF_TOKEN $jf_line" = 'u_1_2 # u_1_2' ] || exit 72; }
    cd "$JF_RUN_DIR" && jf_guard || exit 72
    echo a
    export PATH="/x/bin:$PATH"
    module load gcc/12
    export A='$1'
    jf_guard
    exec prog 'a b' '$x' <"$JF_RUN_DIR"/'in put' >"$JF_RUN_DIR"/stdout 2>"$JF_RUN_DIR"/stderr
    "#);
}

#[test]
fn the_execution_command_of_the_worker_is_taken_as_it_is() {
    let setup = Setup {
        pre_run: "a\nb\n".into(),
        post_run: "c".into(),
        execution_command: Some("jf -fe execution run {}".into()),
        ..Setup::default()
    };
    insta::assert_snapshot!(body_of(&Payload::Python, &setup).unwrap(), @r#"
    # u_1_2
    jf_guard() { read -r jf_line <"$JF_RUN_DIR"/.jobferry/body && [ "$JF_TOKEN $jf_line" = 'u_1_2 # u_1_2' ] || exit 72; }
    cd "$JF_RUN_DIR" && jf_guard || exit 72
    a
    b
    jf_guard
    jf -fe execution run /work/u/u_1
    jf_job_status=$?
    c
    exit "$jf_job_status"
    "#);
    assert_eq!(files(&Payload::Python, &setup, &Resources::default(), "shell").unwrap().len(), 2);
}

#[test]
fn without_one_our_own_program_runs_a_python_job() {
    let setup = Setup { export: vec![("JF_PYTHON".into(), "~/x/python".into())], ..Setup::default() };
    let body = body_of(&Payload::Python, &setup).unwrap().replace(FIND_PYTHON, "[python.sh]\n");
    insta::assert_snapshot!(body, @r#"
    # u_1_2
    jf_guard() { read -r jf_line <"$JF_RUN_DIR"/.jobferry/body && [ "$JF_TOKEN $jf_line" = 'u_1_2 # u_1_2' ] || exit 72; }
    cd "$JF_RUN_DIR" && jf_guard || exit 72
    export JF_PYTHON="${HOME}/x/python"
    jf_guard
    [python.sh]
    jf_find_python && exec "$jf_python" "$JF_RUN_DIR"/.jobferry/execute.py "$JF_RUN_DIR"
    "#);
    let made = files(&Payload::Python, &setup, &Resources::default(), "shell").unwrap();
    assert_eq!((made[2].path, made[2].mode), (".jobferry/execute.py", 0o600));
}

#[test]
fn what_follows_our_own_program_does_not_change_its_exit_code() {
    let setup = Setup { post_run: "c".into(), ..Setup::default() };
    let body = body_of(&Payload::Python, &setup).unwrap();
    insta::assert_snapshot!(body.split_once(FIND_PYTHON).unwrap().1, @r#"
    jf_find_python && "$jf_python" "$JF_RUN_DIR"/.jobferry/execute.py "$JF_RUN_DIR"
    jf_job_status=$?
    c
    exit "$jf_job_status"
    "#);
}

#[test]
fn commands_that_cannot_be_are_refused() {
    let refused =
        |payload: CommandPayload| body_of(&Payload::Command(payload), &Setup::default()).unwrap_err();
    assert_eq!(refused(command(&[])), ScriptError::NoCommand);
    assert_eq!(refused(command(&[""])), ScriptError::NoCommand);
    assert!(matches!(refused(command(&["a\0b"])), ScriptError::Nul(_)));
    for name in ["", "1A", "A B", "A-B", "A;rm", "ä"] {
        let payload = CommandPayload { environment: vec![(name.into(), String::new())], ..command(&["x"]) };
        assert_eq!(refused(payload), ScriptError::VariableName(name.into()));
        let setup = Setup { export: vec![(name.into(), String::new())], ..Setup::default() };
        assert!(body_of(&Payload::Python, &setup).is_err());
    }
    let resources = Resources {
        partition: Some("p".into()),
        account: Some("a".into()),
        nodes: Some(2),
        walltime_seconds: Some(1),
        template: bson::doc! {"ntasks": 1},
        ..Resources::default()
    };
    let error = files(&Payload::Python, &Setup::default(), &resources, "shell").unwrap_err();
    let said = "the scheduler shell cannot express: nodes (more than one), partition, account, ntasks";
    assert_eq!(error.to_string(), said);
}

#[test]
fn a_leading_dash_is_no_option_of_exec() {
    let payload = Payload::Command(command(&["-x", "-y"]));
    assert!(body_of(&payload, &Setup::default()).unwrap().contains("exec -- -x -y <"));
}

#[test]
fn braces_mean_what_python_makes_of_them() {
    for (template, expected) in [
        ("run {}", "run D"),
        ("run {0} {}", "run D D"),
        ("a {{}} {b} }", "a {} {b} }"),
        ("${HOME}/x {", "${HOME}/x {"),
        ("", ""),
    ] {
        assert_eq!(fill_in(template, "D"), expected);
    }
}

/// Returns the variable's value in a real shell where `A` is `1 2`, `E` is empty and `HOME` is `/h`.
fn exported(value: &str) -> String {
    let script = format!("A='1 2'; E=; HOME=/h; unset U; export X={}; printf %s \"$X\"", export_value(value));
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exports_expand_variables_and_nothing_else() {
    for (value, expected) in [
        ("/x/bin:$A", "/x/bin:1 2"),
        ("${A}b$A", "1 2b1 2"),
        ("$U$E", ""),
        ("${U:-/opt/x}", "/opt/x"),
        ("a${E:+:$E}${A:+:$A}", "a:1 2"),
        ("${U-d}${A+$HOME}", "d/h"),
        ("~/x:~/y:z~", "/h/x:/h/y:z~"),
        ("~", "/h"),
        ("~user", "~user"),
        ("\"a b\"", "a b"),
        ("\"a $A\"", "a 1 2"),
        ("'a $A'", "a $A"),
        ("a b; c", "a b; c"),
        ("$(id) `id` \\ \" '", "$(id) `id` \\ \" '"),
        ("${A", "${A"),
        ("${A:-`id`}", "${A:-`id`}"),
        ("$1 $ $", "$1 $ $"),
        ("line\nfeed", "line\nfeed"),
        ("ü", "ü"),
    ] {
        assert_eq!(exported(value), expected, "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn exports_without_variables_are_plain_text(value in "[^\0$~'\"]{0,20}") {
        prop_assert_eq!(exported(&value), value);
    }

    #[test]
    fn exports_never_run_anything(value in "[$(){}`;&|~:'\"\\\\ aA+\\-]{0,16}") {
        let script = format!("PATH=/nowhere; X={}; echo done", export_value(&value));
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
        prop_assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
