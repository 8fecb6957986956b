//! The wrapper and the body, run by real shells: bash, as the scripts ask for, and dash, where another `sh` is used.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jobferry::scheduler::{Scheduler, by_name};
use jobferry::worker::layout;
use jobferry::worker::script::Payload;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use proptest::prelude::*;

use crate::lab::eventually;
use crate::run_directories::{Job, LIMIT, Staged, processes_with, until};

const SHELLS: [&str; 2] = ["bash", "dash"];

/// A work directory and its scheduler.
struct Bench {
    folder: tempfile::TempDir,
    scheduler: std::sync::Arc<dyn Scheduler>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), scheduler: by_name("shell").unwrap() }
    }

    fn stage(&self, number: usize, job: &Job) -> Staged {
        job.stage(self.folder.path(), number, &*self.scheduler)
    }

    /// Runs the job to its end and returns the directory and the exit code of `submit.sh`.
    fn run(&self, shell: &str, job: &Job) -> (Staged, i32) {
        let number = fs::read_dir(self.folder.path()).unwrap().count() + 10 * SHELLS.len();
        let staged = self.stage(number * 100 + processes_hint(shell), job);
        let output = staged.run_by(shell).output().unwrap();
        fs::write(staged.run_dir.join("queue.out"), &output.stdout).unwrap();
        fs::write(staged.run_dir.join("queue.err"), &output.stderr).unwrap();
        (staged, output.status.code().unwrap())
    }
}

fn processes_hint(shell: &str) -> usize {
    SHELLS.iter().position(|name| *name == shell).unwrap_or_default()
}

fn each_shell(test: impl Fn(&Bench, &str)) {
    for shell in SHELLS {
        test(&Bench::new(), shell);
    }
}

#[test]
fn the_end_marker_tells_the_whole_end() {
    each_shell(|bench, shell| {
        let (staged, code) = bench.run(shell, &Job::shell("echo four; echo words >&2; exit 3"));
        let end = staged.end();
        assert_eq!((code, end.exit_code, end.signal), (3, 3, None), "{shell}");
        assert_eq!((end.stdout_bytes, end.stderr_bytes), (Some(5), Some(6)));
        assert_eq!((staged.read("stdout"), staged.read("stderr")), ("four\n".into(), "words\n".into()));
        assert_eq!(end.host, fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
        assert!(end.started <= end.ended && end.started.is_some());
        assert_eq!(end.pid, staged.start().pid);
        assert!(staged.in_spool(), "the spool tells of the end");
        assert!(!staged.exists(".jobferry/end.new"));
    });
}

#[test]
fn exit_codes_and_signals_are_the_jobs_own() {
    let cases: [(&[&str], i32, Option<i32>); 6] = [
        (&["true"], 0, None),
        (&["sh", "-c", "exit 255"], 255, None),
        (&["no-such-program"], 127, None),
        (&["/etc/passwd"], 126, None),
        (&["sh", "-c", "kill -s SEGV $$"], 139, Some(11)),
        (&["sh", "-c", "kill -s KILL $$"], 137, Some(9)),
    ];
    each_shell(|bench, shell| {
        for (index, (words, code, signal)) in cases.iter().enumerate() {
            let staged = bench.stage(index, &Job::arguments(words));
            let status = staged.run_by(shell).stderr(Stdio::null()).status().unwrap();
            let end = staged.end();
            assert_eq!(
                (status.code(), end.exit_code, end.signal),
                (Some(*code), *code, *signal),
                "{shell} {words:?}"
            );
        }
    });
}

#[test]
fn why_a_program_could_not_start_is_in_its_stderr() {
    each_shell(|bench, shell| {
        let (staged, _) = bench.run(shell, &Job::arguments(&["no-such-program"]));
        assert!(staged.read("stderr").contains("not found"), "{shell}: {}", staged.read("stderr"));
    });
}

#[test]
fn of_twenty_copies_one_starts() {
    each_shell(|bench, shell| {
        let staged = bench.stage(1, &Job::shell("echo start >>starts; exit 5"));
        let copies: Vec<_> = (0..20).map(|_| staged.run_by(shell).spawn().unwrap()).collect();
        let codes: Vec<i32> =
            copies.into_iter().map(|mut copy| copy.wait().unwrap().code().unwrap()).collect();
        assert_eq!(staged.read("starts"), "start\n", "{shell}");
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 19, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == 5).count(), 1);
    });
}

#[test]
fn a_late_copy_touches_nothing() {
    each_shell(|bench, shell| {
        let job = Job::shell("echo once >>starts").with(|job| {
            job.resources.template.insert("qverbatim", "echo header >>headers");
        });
        let (staged, _) = bench.run(shell, &job);
        let (start, end) = (staged.read(layout::START), staged.read(layout::END));
        let spooled = layout::spool_entry(bench.folder.path().to_str().unwrap(), &staged.token);
        fs::remove_file(&spooled).unwrap();
        assert!(staged.run_by(shell).status().unwrap().success());
        assert_eq!((staged.read(layout::START), staged.read(layout::END)), (start, end));
        assert_eq!((staged.read("starts"), staged.read("headers")), ("once\n".into(), "header\n".into()));
        assert!(!Path::new(&spooled).exists());
    });
}

/// A copy that was still waiting in the queue when a newer attempt was staged under the same path.
#[test]
fn an_old_attempt_that_starts_late_leaves_the_new_one_alone() {
    each_shell(|bench, shell| {
        let (old, script) = {
            let staged = bench.stage(1, &Job::shell("echo old >>starts"));
            let script = bench.folder.path().join("as the queue kept it");
            fs::copy(staged.run_dir.join(layout::SUBMIT), &script).unwrap();
            (staged, script)
        };
        let new =
            Job::shell("echo new >>starts; exit 4").stage_again(bench.folder.path(), &old, &*bench.scheduler);
        assert_ne!(old.token, new.token);
        let before = everything_in(&new.run_dir);
        let late =
            Command::new(shell).arg(&script).current_dir(&new.run_dir).stdin(Stdio::null()).output().unwrap();
        assert_eq!(everything_in(&new.run_dir), before, "{shell}");
        assert_eq!((late.status.code(), late.stdout, late.stderr), (Some(0), vec![], vec![]), "{shell}");
        assert!(!old.in_spool());
        assert_eq!(new.run_by(shell).status().unwrap().code(), Some(4), "{shell}");
        assert_eq!((new.end().exit_code, new.read("starts")), (4, "new\n".to_owned()), "{shell}");
    });
}

/// An attempt that is on its way to its program when it is moved aside for a newer one.
#[test]
fn an_old_attempt_that_is_overtaken_does_not_write_into_the_new_one() {
    each_shell(|bench, shell| {
        let slow = Job::shell("echo old >>starts").with(|job| {
            job.setup.pre_run = "echo up >up; while [ ! -e go ]; do sleep 0.02; done".into();
        });
        let mut old = bench.stage(1, &slow);
        let mut wrapper = old.run_by(shell).spawn().unwrap();
        eventually("it is up", LIMIT, || old.exists("up"));
        let aside = bench.folder.path().join("aside");
        fs::rename(&old.run_dir, &aside).unwrap();
        let new = Job::shell("echo new >>starts").stage_again(bench.folder.path(), &old, &*bench.scheduler);
        old.run_dir = aside.clone();
        let before = everything_in(&new.run_dir);
        fs::write(aside.join("go"), "").unwrap();
        assert_eq!(wrapper.wait().unwrap().code(), Some(72), "{shell}");
        assert_eq!(everything_in(&new.run_dir), before, "{shell}");
        assert_eq!(old.end().exit_code, 72);
    });
}

/// Returns the paths below the folder with their contents.
fn everything_in(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(everything_in(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn term_reaches_all_of_the_job_and_it_may_end_in_its_own_way() {
    for shell in SHELLS {
        let bench = Bench::new();
        let word = format!("6{}", std::process::id());
        let text = format!("trap 'echo bye; exit 9' TERM; (sleep {word}) & echo up >up; sleep {word} & wait");
        let staged = bench.stage(1, &Job::shell(&text));
        let mut wrapper = staged.run_by(shell).spawn().unwrap();
        until("it is up", || (processes_with(&word) == 2 && staged.exists("up")).then_some(())).await;
        signal("TERM", wrapper.id());
        assert_eq!(wrapper.wait().unwrap().code(), Some(9), "{shell}");
        assert_eq!((staged.end().exit_code, staged.read("stdout")), (9, "bye\n".to_owned()));
        assert_eq!(processes_with(&word), 0, "{shell}");
    }
}

#[tokio::test]
async fn what_ignores_term_is_killed_after_the_grace() {
    for shell in SHELLS {
        let bench = Bench::new();
        let word = format!("7{}", std::process::id());
        let job = Job::shell(&format!("trap '' TERM; echo up >up; sleep {word}"));
        let staged = bench.stage(1, &job.with(|job| job.setup.grace_seconds = Some(1)));
        let mut wrapper = staged.run_by(shell).spawn().unwrap();
        until("it is up", || (processes_with(&word) == 1 && staged.exists("up")).then_some(())).await;
        signal("TERM", wrapper.id());
        assert_eq!(wrapper.wait().unwrap().code(), Some(137), "{shell}");
        assert_eq!(staged.end().signal, Some(9));
        assert_eq!(processes_with(&word), 0, "{shell}");
    }
}

#[tokio::test]
async fn other_signals_are_passed_on_and_the_wait_goes_on() {
    for shell in SHELLS {
        let bench = Bench::new();
        let text = "trap 'echo checkpoint' USR1; echo up >up; while [ ! -e go ]; do sleep 0.05; done; exit 4";
        let staged = bench.stage(1, &Job::shell(text));
        let mut wrapper = staged.run_by(shell).spawn().unwrap();
        until("it is up", || staged.exists("up").then_some(())).await;
        signal("USR1", wrapper.id());
        until("it took the signal", || (staged.read("stdout") == "checkpoint\n").then_some(())).await;
        fs::write(staged.run_dir.join("go"), "").unwrap();
        assert_eq!(wrapper.wait().unwrap().code(), Some(4), "{shell}");
        assert_eq!(staged.end().exit_code, 4);
    }
}

#[tokio::test]
async fn a_killed_wrapper_leaves_a_start_without_an_end() {
    for shell in SHELLS {
        let bench = Bench::new();
        let staged = bench.stage(1, &Job::shell("echo up >up; while [ ! -e go ]; do sleep 0.05; done"));
        let mut wrapper = staged.run_by(shell).spawn().unwrap();
        until("it is up", || staged.exists("up").then_some(())).await;
        signal("KILL", wrapper.id());
        assert_eq!(wrapper.wait().unwrap().signal(), Some(9));
        assert_eq!(staged.start().pid, wrapper.id());
        assert!(!staged.exists(layout::END) && !staged.in_spool());
        fs::write(staged.run_dir.join("go"), "").unwrap();
    }
}

/// As when Slurm ends all processes of a job at once: the body has ended and the signal has come before the wrapper ran
/// again. Its `wait` gets the body's status from the kernel and is cut short before it can return it.
#[test]
fn a_signal_that_comes_with_the_end_of_the_body_does_not_hide_it() {
    for shell in SHELLS {
        let bench = Bench::new();
        let header = "sleep 600 & echo $! >helper";
        let job = Job::shell("echo $$ >pid.new; mv pid.new pid; exec sleep 600").with(|job| {
            job.setup.grace_seconds = Some(600);
            job.resources.template.insert("qverbatim", header);
        });
        let staged = bench.stage(1, &job);
        let wrapper = staged.run_by(shell).stdout(Stdio::null()).spawn().unwrap();
        eventually("it is up", LIMIT, || staged.exists("pid"));
        let body = pid_in(&staged, "pid");

        let traced = Pid::from_raw(wrapper.id().cast_signed());
        eventually("the wrapper waits", LIMIT, || state_of(traced) == 'S');
        stop_at_next_system_call(traced);
        kill(body, Signal::SIGTERM).unwrap();
        eventually("the body has ended", LIMIT, || state_of(body) == 'Z');
        kill(traced, Signal::SIGTERM).unwrap();
        ptrace::detach(traced, None).unwrap();

        eventually("its end is told", LIMIT, || staged.in_spool());
        assert_eq!((staged.end().exit_code, staged.end().signal), (143, Some(15)), "{shell}");
        assert_eq!(wrapper.wait_with_output().unwrap().status.code(), Some(143), "{shell}");
        kill(pid_in(&staged, "helper"), Signal::SIGKILL).unwrap();
    }
}

fn pid_in(staged: &Staged, file: &str) -> Pid {
    Pid::from_raw(staged.read(file).trim().parse().unwrap())
}

/// Leaves a child of this process, which waits in the kernel, stopped where it begins to wait anew.
fn stop_at_next_system_call(child: Pid) {
    ptrace::seize(child, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(child).unwrap();
    waitpid(child, None).unwrap();
    ptrace::syscall(child, None).unwrap();
    waitpid(child, None).unwrap();
}

/// Returns the letter that the kernel gives for what the process does.
fn state_of(process: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_missing_spool_does_not_spoil_the_end() {
    each_shell(|bench, shell| {
        let staged = bench.stage(1, &Job::arguments(&["true"]));
        fs::remove_dir(layout::spool(bench.folder.path().to_str().unwrap())).unwrap();
        assert!(staged.run_by(shell).status().unwrap().success());
        assert_eq!(staged.end().exit_code, 0);
    });
}

#[test]
fn a_full_disk_never_looks_like_success() {
    if !rustix::process::geteuid().is_root() {
        assert_ne!(std::env::var("JF_TEST_NO_SKIP").as_deref(), Ok("1"));
        eprintln!("SKIPPED wrapper::a_full_disk_never_looks_like_success: only root can mount a small disk");
        return;
    }
    for shell in SHELLS {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Mounted::new(folder.path());
        let bench = Bench { folder, scheduler: by_name("shell").unwrap() };
        let fill = "cat /dev/zero >fill 2>/dev/null; exit 0";
        let staged = bench.stage(1, &Job::shell(fill));
        let output = staged.run_by(shell).output().unwrap();
        assert_eq!(output.status.code(), Some(74), "{shell}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("is the disk full?"), "{output:?}");
        assert!(!staged.exists(layout::END) && !staged.in_spool(), "{shell}");

        // And a job that finds the disk full does not start.
        fs::remove_file(staged.run_dir.join("fill")).unwrap();
        let late = bench.stage(2, &Job::shell("echo start >starts"));
        let zeros = vec![0; 2 << 20];
        let _full = fs::write(bench.folder.path().join("fill"), zeros);
        assert_eq!(late.run_by(shell).stderr(Stdio::null()).status().unwrap().code(), Some(74), "{shell}");
        assert!(!late.exists(layout::END) && !late.exists("starts"));
        drop(bench.scheduler);
        drop(mounted);
    }
}

/// A disk of 1 MiB, unmounted at the end.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: &Path) -> Self {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(path).status();
        assert!(mount.unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_job_restarted_by_its_scheduler_takes_the_lock_over() {
    let bench = Bench { folder: tempfile::tempdir().unwrap(), scheduler: by_name("slurm").unwrap() };
    for shell in SHELLS {
        let staged =
            bench.stage(processes_hint(shell), &Job::shell("echo start >>starts; kill -s KILL $PPID"));
        let again = |id: &str, restarts: &str| {
            let mut command = staged.run_by(shell);
            command.env("SLURM_JOB_ID", id).env("SLURM_RESTART_COUNT", restarts).stderr(Stdio::null());
            command
        };
        // The node dies with the wrapper.
        fs::write(staged.run_dir.join(layout::SHELL_TEXT), "echo start >>starts; kill -s KILL $JF_VICTIM\n")
            .unwrap();
        fs::write(
            staged.run_dir.join(layout::BODY),
            format!("# {}\nJF_VICTIM=$PPID; [ -n \"${{BASH_VERSION:-}}\" ] && JF_VICTIM=$$; export JF_VICTIM; sh .jobferry/shell\n", staged.token),
        )
        .unwrap();
        let first = again("17", "0").status().unwrap();
        assert_eq!(first.signal(), Some(9), "{shell}");
        assert_eq!(staged.start().scheduler_id.as_deref(), Some("17"));
        let body = format!("# {}\necho start >>starts; exit 6\n", staged.token);
        fs::write(staged.run_dir.join(layout::BODY), body).unwrap();
        assert_eq!(again("18", "1").status().unwrap().code(), Some(0), "another job's id");
        assert_eq!(again("17", "0").status().unwrap().code(), Some(0), "not a restart");
        assert_eq!(again("17", "1").status().unwrap().code(), Some(6), "{shell}");
        assert_eq!(again("17", "2").status().unwrap().code(), Some(0), "it has ended");
        assert_eq!(staged.read("starts"), "start\nstart\n");
        assert_eq!((staged.start().restarts, staged.end().exit_code), (1, 6));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn arguments_arrive_as_they_are(words in proptest::collection::vec("[^\0]{0,12}|[ $'\"\\\\\n*?~;&|<>(){}!#-]{0,6}", 0..5)) {
        each_shell(|bench, shell| {
            let mut all = vec!["sh", "-c", r#"printf '%s\0' "$@""#, "x"];
            all.extend(words.iter().map(String::as_str));
            let (staged, code) = bench.run(shell, &Job::arguments(&all));
            assert_eq!(code, 0);
            let sent: String = if words.is_empty() { "\0".into() } else { words.iter().map(|w| format!("{w}\0")).collect() };
            assert_eq!(fs::read(staged.run_dir.join("stdout")).unwrap(), sent.as_bytes(), "{shell}");
        });
    }
}

#[test]
fn variables_stdin_and_commands_around_the_job() {
    each_shell(|bench, shell| {
        let job = Job::shell("echo \"$TOOLS|$EXACT|$MODULE|$(cat)\"; exit 7").with(|job| {
            job.setup.pre_run = "echo before\nmodule() { export MODULE=\"$2\"; }\nBASE=/opt".into();
            job.setup.post_run = "echo after; false".into();
            job.setup.modules = vec!["gcc/12 x".into()];
            job.setup.export = vec![("TOOLS".into(), "$BASE/bin:${HOME}".into())];
            job.command().environment = vec![("EXACT".into(), "$BASE `id` 'x'\n".into())];
            job.command().stdin = Some("my input".into());
        });
        let staged = bench.stage(1, &job);
        fs::write(staged.run_dir.join("my input"), "given").unwrap();
        let output = staged.run_by(shell).env("HOME", "/home/me").output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{shell} {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "before\nafter\n");
        assert_eq!(staged.read("stdout"), "/opt/bin:/home/me|$BASE `id` 'x'\n|gcc/12 x|given\n");
        assert_eq!(staged.end().exit_code, 7);
    });
}

#[test]
fn a_python_job_runs_the_workers_own_command() {
    each_shell(|bench, shell| {
        let job = Job::shell("").with(|job| {
            job.payload = Payload::Python;
            job.setup.execution_command = Some("echo run {} && test -d {}; (exit 3)".into());
            job.setup.post_run = "echo after".into();
        });
        let (staged, code) = bench.run(shell, &job);
        assert_eq!(code, 3, "{shell}");
        assert_eq!(staged.read("queue.out"), format!("run {}\nafter\n", staged.run_dir.display()));
        assert_eq!((staged.end().exit_code, staged.end().stdout_bytes), (3, None));
    });
}

#[test]
fn a_run_directory_that_was_moved_still_runs() {
    each_shell(|bench, shell| {
        let mut staged = bench.stage(1, &Job::shell("pwd; echo \"$JF_RUN_DIR\""));
        let moved = bench.folder.path().join("elsewhere with blanks");
        fs::rename(&staged.run_dir, &moved).unwrap();
        staged.run_dir = moved.clone();
        let mut command = staged.run_by(shell);
        command.env("JF_TOKEN", staged.token.as_str()).env("JF_RUN_DIR", &moved);
        assert!(command.status().unwrap().success());
        assert_eq!(staged.read("stdout"), format!("{0}\n{0}\n", moved.display()));
        assert_eq!(staged.end().exit_code, 0);
    });
}
