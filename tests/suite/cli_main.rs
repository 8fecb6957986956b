//! What holds for every command: help, version, usage errors, the two names of the program.

use std::process::Command;

use insta::assert_snapshot;

use crate::cli_environment::TestEnv;

#[expect(clippy::too_many_lines, reason = "the recorded text is one piece")]
#[test]
fn version_and_help() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("--version"), @r"
        exit: 0
        ----- stdout
        jf [VERSION]
        ----- stderr
        ");
    let help = place.jf("--help");
    assert_eq!(help.code, Some(0), "{help}");
    let (_, options) =
        help.stdout.split_once("\n\n").and_then(|(_, rest)| rest.split_once("Options:\n")).unwrap();
    assert_snapshot!(options, @r"
          -h, --help
                  Print help (see a summary with '-h')

          -V, --version
                  Print version

        Options of every command:
          -p, --project <NAME>
                  Act on this project; else the one of `JFREMOTE_PROJECT`, else the only one there is

              --json
                  Print results as JSON, under stable names

              --color [<WHEN>]
                  Use colours; `NO_COLOR` turns them off [also -col]

                  Possible values:
                  - auto:   On a terminal, unless `NO_COLOR` is set
                  - always
                  - never
                  
                  [default: auto]

              --full-exc
                  Print errors with all their inner detail [also -fe]

        Exit codes:
            0  done
            1  could not be done: nothing found, refused, failed
            2  wrong command line
            3  --wait: a job did not complete
            4  a check found something wrong
            5  the store or a host does not answer
            6  a project file or flow file is wrong or missing
          130  --wait: ended by Ctrl-C; the jobs go on
        ");
    assert_snapshot!(place.jf("job list --help"), @r"
        exit: 0
        ----- stdout
        List jobs, the last updated first

        Usage: jf job list [OPTIONS]

        Options:
          -h, --help
                  Print help (see a summary with '-h')

        Which jobs:
              --job-id <UUID:INDEX>
                  Jobs of these uuids and indexes [also -jid]

              --db-id <ID>
                  Jobs of these short ids [also -did]

              --flow-id <FLOW>
                  Jobs of these flows: uuid, short id of a member, or the beginning of a uuid [also -fid]

          -s, --state <STATE>
                  Jobs in these states

          -n, --name <NAME>
                  Jobs of this name; *, ? and [...] match as in a shell

              --worker <WORKER>
                  Jobs of these workers [also -wk]

              --metadata <K=V|JSON>
                  Metadata that have these entries: k=v,k=v (values are texts) or a JSON object [also -meta]

              --start-date <TIME>
                  Updated at or after this local time: 2026-11-20, 2026-11-20T14:30:00 or 14:30:00 [also
                  -sdate]

              --end-date <TIME>
                  Updated at or before this local time [also -edate]

              --days <N>
                  Updated in the last N days [also -ds]

              --hours <N>
                  Updated in the last N hours; adds to the days [also -hs]

          -e, --error
                  Jobs in an error state (`REMOTE_ERROR`, `FAILED`)

              --running
                  Jobs that a runner has in hand (`CHECKED_OUT` to `DOWNLOADED`) [also -run]

          -l, --locked
                  Jobs that somebody holds locked

              --latest-flow <N>
                  Jobs of the N latest flows [also -lf]

        How much, in which order:
          -m, --max-results <N>
                  Show at most N; 0 shows all
                  
                  [default: 100]

              --sort <FIELD>
                  Newest (highest) first by this
                  
                  [default: updated_on]
                  [possible values: created_on, updated_on, db_id]

              --reverse-sort
                  Oldest (lowest) first [also -revs]

          -v, --verbose...
                  Show more columns; twice for even more

          -o, --output <COLUMN,…>
                  Show these columns, in this order
                  
                  [possible values: db_id, name, state, job_id, worker, last_updated, queue_id, run_time,
                  retry_time, prev_state, locked, lock_id, lock_time, metadata]

              --stored-data-key <KEY>
                  Add a column with this entry of the stored data [also -sdk]

              --count
                  Print only how many jobs there are

        Options of every command:
          -p, --project <NAME>
                  Act on this project; else the one of `JFREMOTE_PROJECT`, else the only one there is

              --json
                  Print results as JSON, under stable names

              --color [<WHEN>]
                  Use colours; `NO_COLOR` turns them off [also -col]

                  Possible values:
                  - auto:   On a terminal, unless `NO_COLOR` is set
                  - always
                  - never
                  
                  [default: auto]

              --full-exc
                  Print errors with all their inner detail [also -fe]
        ----- stderr
        ");
}

#[test]
fn wrong_command_lines_end_with_2() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("job lst"), @r"
    exit: 2
    ----- stdout
    ----- stderr
    error: unrecognized subcommand 'lst'

      tip: some similar subcommands exist: 'stop', 'list'

    Usage: jf job [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.jf("job list --wrker here"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: unexpected argument '--wrker' found

          tip: a similar argument exists: '--worker'

        Usage: jf job list --worker <WORKER>

        For more information, try '--help'.
        ");
    assert_eq!(place.jf("").code, Some(2));
}

#[test]
fn full_exc_shows_the_inner_form_too() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("-fe job list"), @r#"
        exit: 6
        ----- stdout
        ----- stderr
        error: there is no project in [ROOT]/projects
        hint: make one: jf init; or try without: jf demo
        NoProject {
            folder: "[ROOT]/projects",
            broken: [],
        }
        "#);
}

#[test]
fn runner_is_jf_runner() {
    let place = TestEnv::empty();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg("--version").env_clear().env("HOME", place.path(""));
    assert_snapshot!(place.run(command), @r"
        exit: 0
        ----- stdout
        jf [VERSION]
        ----- stderr
        ");
}
