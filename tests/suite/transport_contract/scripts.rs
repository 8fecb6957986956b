//! Promises on scripts.

use std::time::Instant;

use jobferry::transport::{STDERR_LIMIT_BYTES, TIMED_OUT};

use super::*;

pub(super) async fn exit_codes_are_kept(bench: &Bench) {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("no-such-program", 127),
        ("kill -9 $$", 137),
        ("kill $$", 143),
    ] {
        assert_eq!(bench.sh(script).await.exit_code, code, "{script}");
    }
    assert_eq!(bench.sh("pwd").await.stdout, bench.sh("cd && pwd").await.stdout, "it starts at home");
}

pub(super) async fn input_is_fed_and_output_is_binary_safe(bench: &Bench) {
    let mut bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    // What a frame of our own protocol looks like.
    bytes.extend_from_slice(b"\n0123456789abcdef end 0\n\nend 0\nran 0 0 0\n");
    let answers =
        bench.perform(vec![run("cat", &bytes), run("cat >&2; printf '\\n'", b"two"), run("cat", b"")]).await;
    let Answer::Ran(first) = &answers[0] else { panic!("{:?}", answers[0]) };
    assert!(first.stdout == bytes);
    let Answer::Ran(second) = &answers[1] else { panic!("{:?}", answers[1]) };
    assert_eq!((second.stdout.as_slice(), second.stderr.as_str()), (&b"\n"[..], "two"));
    let Answer::Ran(third) = &answers[2] else { panic!("{:?}", answers[2]) };
    assert_eq!((third.exit_code, third.stdout.len(), third.stderr.len()), (0, 0, 0));
}

pub(super) async fn a_large_script_and_input_pass(bench: &Bench) {
    let script = format!("cat <<'E'\n{}\nE\nexit 7", "it's a long line\n".repeat(40_000));
    let answer = bench.sh(&script).await;
    assert_eq!((answer.exit_code, answer.stdout.len()), (7, 17 * 40_000 + 1));
    let unread = bench.one(run("exit 4", &vec![b'x'; 3_000_000])).await;
    let Answer::Ran(unread) = unread else { panic!("{unread:?}") };
    assert_eq!(unread.exit_code, 4, "a script need not read its input");
    assert_eq!(bench.sh("echo still here").await.stdout, b"still here\n");
}

pub(super) async fn the_end_of_stderr_is_kept(bench: &Bench) {
    let answer = bench.sh("seq 1 100000 >&2; echo last >&2").await;
    assert!(answer.stderr.ends_with("\n100000\nlast\n"));
    assert_eq!(answer.stderr.len(), STDERR_LIMIT_BYTES);
}

/// Counts processes of this machine that have the word among their arguments.
fn processes(word: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()))
        .count()
}

fn no_process_is_left(word: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while processes(word) > 0 {
        assert!(Instant::now() < end, "a process of {word} is left");
        std::thread::yield_now();
    }
}

pub(super) async fn a_timeout_kills_the_process_group(bench: &Bench) {
    let word = format!("6001.{}", std::process::id());
    let script = format!(
        "trap '' TERM; echo before; echo why >&2; (sleep {word} & sleep {word}) & sleep {word}; sleep {word}"
    );
    let slow = Command { script, input: Vec::new(), limit: Duration::from_millis(700) };
    let started = Instant::now();
    let answers = bench.perform(vec![Operation::Run(slow), run("echo after", b"")]).await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let Answer::Ran(first) = &answers[0] else { panic!("{:?}", answers[0]) };
    assert_eq!((first.exit_code, first.stdout.as_slice()), (TIMED_OUT, &b"before\n"[..]));
    assert!(first.stderr.starts_with("why\n"), "{:?}", first.stderr);
    let Answer::Ran(second) = &answers[1] else { panic!("{:?}", answers[1]) };
    assert_eq!(second.stdout, b"after\n");
    no_process_is_left(&word);
}

pub(super) async fn a_batch_that_takes_too_long_is_killed(bench: &Bench) {
    let word = format!("6002.{}", std::process::id());
    bench.sh(":").await;
    let limit = Duration::from_millis(800);
    let error = bench.transport.perform(vec![run(&format!("sleep {word} & sleep {word}"), b"")], limit).await;
    assert!(matches!(error, Err(TransportError::TimedOut { .. })), "{error:?}");
    no_process_is_left(&word);
    assert_eq!(bench.sh("echo works").await.stdout, b"works\n");
}

pub(super) async fn endless_output_is_a_failure(bench: &Bench) {
    let answers = bench.perform(vec![run("exec yes 0123456789abcdef", b""), run("echo after", b"")]).await;
    let error = failure(answers[0].clone());
    assert_eq!(error.message, "the command printed more than 256 MiB");
    assert!(matches!(&answers[1], Answer::Ran(after) if after.stdout == b"after\n"));
}

pub(super) async fn a_background_process_that_let_go_stays(bench: &Bench) {
    let word = format!("2.{}", std::process::id());
    let started = Instant::now();
    let answer = bench.sh(&format!("setsid nohup sleep {word} </dev/null >/dev/null 2>&1 & echo $!")).await;
    assert!(started.elapsed() < Duration::from_millis(1900), "nobody waits for it: {:?}", started.elapsed());
    assert_eq!(answer.exit_code, 0);
    let pid = String::from_utf8(answer.stdout).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap();
    assert!(line.contains(&word), "{line:?}");
}
