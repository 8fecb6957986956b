//! Promises on files.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command as Process;

use jobferry::transport::OperationErrorKind;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;

pub(super) async fn what_was_put_is_fetched(bench: &Bench) {
    let directory = bench.path("35/8c/job_1");
    let files: [(&str, &[u8]); 3] = [("a", b"1"), ("sub/deep/b", b""), (".c", &[0, 255, 10, 13])];
    assert_eq!(bench.one(put(directory.clone(), &files)).await, Answer::Done);
    let back = bench.fetch("35/8c/job_1", &["a", "sub/deep/b", ".c"]).await;
    for ((path, bytes), file) in files.iter().zip(&back) {
        let Fetched::File { path: name, size_bytes, sha256, content } = file else { panic!("{file:?}") };
        assert_eq!((name.as_str(), content.as_slice()), (*path, *bytes));
        assert_eq!(*size_bytes, bytes.len() as u64);
        assert_eq!(sha256.len(), 64);
    }
    let Fetched::File { sha256, .. } = &back[0] else { panic!() };
    assert_eq!(sha256, "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
    assert_eq!(tree(bench.folders.work.path()).len(), 3, "nothing temporary is left");
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[^/\0]{1,40}",
        1 => "[-\\\\'\"$`*?\\[ \n\t\r;&|<>~!#%]{1,12}",
        1 => "[a-z]{120,250}",
        1 => Just("-rf".to_owned()),
        1 => Just("…ñ漢".to_owned()),
    ]
    .prop_filter("a name", |name| name != "." && name != ".." && name.len() <= 255)
}

pub(super) async fn odd_names_and_contents_survive(bench: &Bench) {
    let content = prop::collection::vec(any::<u8>(), 0..3000);
    let files = prop::collection::btree_map((names(), names()), content, 1..12);
    let mut runner = TestRunner::deterministic();
    for case in 0..12 {
        let files = files.new_tree(&mut runner).unwrap().current();
        let directory = names().new_tree(&mut runner).unwrap().current();
        let directory = format!("{case}{}", directory.chars().take(50).collect::<String>());
        let paths: Vec<String> = files.keys().map(|(a, b)| format!("{a}/{b}")).collect();
        let entries: Vec<(&str, &[u8])> =
            paths.iter().zip(files.values()).map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        assert_eq!(bench.one(put(bench.path(&directory), &entries)).await, Answer::Done, "{entries:?}");
        let asked: Vec<&str> = paths.iter().map(String::as_str).collect();
        let back = bench.fetch(&directory, &asked).await;
        for ((path, bytes), file) in entries.iter().zip(&back) {
            assert_eq!(super::content(file), *bytes, "{path:?}");
        }
        let Answer::Names(mut listed) =
            bench.one(Operation::List { directory: bench.path(&directory) }).await
        else {
            panic!()
        };
        listed.sort();
        let mut firsts: Vec<String> = files.keys().map(|(first, _)| first.clone()).collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(listed, firsts);
    }
}

pub(super) async fn many_directories_are_one_round_trip(bench: &Bench) {
    bench.sh(":").await;
    let before = bench.transport.round_trips();
    let directory = |index: usize| bench.path(&format!("{:02}/job_{index}", index % 10));
    let files: [(&str, &[u8]); 3] = [(MARKER, b""), ("submit.sh", b"#!/bin/sh\n"), ("in.json", b"{}")];
    let started = std::time::Instant::now();
    let answers = bench.perform((0..300).map(|index| put(directory(index), &files)).collect()).await;
    assert!(answers.iter().all(|answer| *answer == Answer::Done), "{answers:?}");
    eprintln!("300 directories put in {:?}", started.elapsed());
    assert_eq!(bench.transport.round_trips() - before, 1);
    let asked = || vec![whole("in.json"), whole("submit.sh"), whole("none")];
    let fetches = (0..300).map(|index| fetch(directory(index), asked(), Destination::Memory));
    let started = std::time::Instant::now();
    for answer in bench.perform(fetches.collect()).await {
        let files = fetched(answer);
        assert_eq!((content(&files[0]), content(&files[1])), (&b"{}"[..], &b"#!/bin/sh\n"[..]));
        assert_eq!(files[2], Fetched::Missing { path: "none".into() });
    }
    eprintln!("600 files of 300 directories fetched in {:?}", started.elapsed());
    let trees = (0..300)
        .map(|index| Operation::RemoveTree { directory: directory(index), marker: MARKER.into() })
        .collect();
    assert!(bench.perform(trees).await.iter().all(|answer| *answer == Answer::Done));
    assert_eq!(tree(bench.folders.work.path()).len(), 0);
    assert_eq!(bench.transport.round_trips() - before, 3);
}

pub(super) async fn a_marked_directory_is_replaced(bench: &Bench) {
    let first = put(bench.path("job"), &[(MARKER, b""), ("old", b"old")]);
    let second = put(bench.path("job"), &[(MARKER, b""), ("new", b"new")]);
    let empty = put(bench.path("empty"), &[]);
    let answers = bench.perform(vec![first, second.clone(), second, empty.clone(), empty]).await;
    assert!(answers.iter().all(|answer| *answer == Answer::Done), "{answers:?}");
    let names: Vec<String> = tree(bench.folders.work.path()).into_keys().collect();
    assert_eq!(names, ["job/.jobferry", "job/new"]);
    assert_eq!(std::fs::read_dir(bench.path("empty")).unwrap().count(), 0);
}

pub(super) async fn an_unmarked_directory_is_left_alone(bench: &Bench) {
    std::fs::create_dir(bench.path("home")).unwrap();
    std::fs::write(bench.path("home/thesis"), "x").unwrap();
    std::fs::write(bench.path("file"), "x").unwrap();
    symlink(bench.path("home"), bench.path("link")).unwrap();
    bench.folders.hand_over();
    for name in ["home", "file", "link"] {
        for operation in [
            put(bench.path(name), &[(MARKER, b"")]),
            Operation::RemoveTree { directory: bench.path(name), marker: MARKER.into() },
        ] {
            let error = failure(bench.one(operation).await);
            assert_eq!(error.kind, OperationErrorKind::Refused, "{name}: {error}");
            assert!(error.message.contains("does not contain .jobferry"), "{error}");
        }
    }
    // A link to a marked directory is not that directory.
    std::fs::write(bench.path("home/.jobferry"), "").unwrap();
    let error = failure(bench.one(put(bench.path("link"), &[(MARKER, b"")])).await);
    assert_eq!(error.kind, OperationErrorKind::Refused);
    let names: Vec<String> = tree(bench.folders.work.path()).into_keys().collect();
    assert!(names.contains(&"home/thesis".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("jobferry-")), "nothing temporary is left: {names:?}");
}

pub(super) async fn an_earlier_attempt_is_moved_aside(bench: &Bench) {
    let wanted = |content: &[u8]| {
        let Operation::Put(mut wanted) = put(bench.path("job"), &[(MARKER, b""), ("attempt", content)])
        else {
            panic!()
        };
        let to = bench.path("job.attempt-1");
        wanted.occupied = Occupied::MoveAside { if_exists: "started".into(), to, marker: MARKER.into() };
        Operation::Put(wanted)
    };
    assert_eq!(bench.one(wanted(b"1")).await, Answer::Done, "nothing is there");
    assert_eq!(bench.one(wanted(b"2")).await, Answer::Done, "not started: replaced");
    assert!(!Path::new(&bench.path("job.attempt-1")).exists());
    for (attempt, aside) in [(b"3", b"2"), (b"4", b"3")] {
        std::fs::write(bench.path("job/started"), "").unwrap();
        assert_eq!(bench.one(wanted(attempt)).await, Answer::Done, "started: moved aside");
        assert_eq!(std::fs::read(bench.path("job/attempt")).unwrap(), attempt);
        assert_eq!(std::fs::read(bench.path("job.attempt-1/attempt")).unwrap(), aside);
        assert!(Path::new(&bench.path("job.attempt-1/started")).exists());
    }
}

pub(super) async fn what_a_killed_put_left_is_replaced(bench: &Bench) {
    let staging = staging_name("job");
    std::fs::create_dir_all(bench.path(&format!("{staging}/half"))).unwrap();
    std::fs::write(bench.path(&format!("{staging}/half/written")), "x").unwrap();
    std::fs::write(bench.path(&format!("{staging}/a")), "half").unwrap();
    bench.folders.hand_over();
    assert_eq!(bench.one(put(bench.path("job"), &[("a", b"whole")])).await, Answer::Done);
    let files = tree(bench.folders.work.path());
    assert_eq!(files.into_iter().collect::<Vec<_>>(), [("job/a".to_owned(), b"whole".to_vec())]);
}

/// The documented temporary name: the start of the SHA-256 of the directory's name.
fn staging_name(name: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(name.as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!(".jobferry-put-{hex}")
}

pub(super) async fn modes_are_exact(bench: &Bench) {
    let files = [("x", 0o755), ("r", 0o644), ("s", 0o600), ("d/y", 0o700)].map(|(path, mode)| PutFile {
        path: path.into(),
        content: Content::Bytes(b"1".to_vec()),
        mode,
    });
    let occupied = Occupied::Replace { marker: MARKER.into() };
    let directory = bench.path("new/job");
    let wanted = Operation::Put(Put { directory, files: files.to_vec(), occupied });
    assert_eq!(bench.one(wanted).await, Answer::Done);
    let mode = |name: &str| std::fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o7777;
    for (name, wanted) in [
        ("new", 0o700),
        ("new/job", 0o700),
        ("new/job/d", 0o700),
        ("new/job/x", 0o755),
        ("new/job/r", 0o644),
        ("new/job/s", 0o600),
        ("new/job/d/y", 0o700),
    ] {
        assert_eq!(mode(name), wanted, "{name}");
    }
}

fn put_path(directory: String, from: &Path) -> Operation {
    let content = Content::Path(from.to_owned());
    let files = vec![PutFile { path: "big".into(), content, mode: 0o600 }];
    Operation::Put(Put { directory, files, occupied: Occupied::Replace { marker: MARKER.into() } })
}

pub(super) async fn a_file_of_this_machine_is_sent(bench: &Bench) {
    let here = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n * 7 % 251) as u8).collect();
    std::fs::write(here.path().join("f"), &bytes).unwrap();
    assert_eq!(bench.one(put_path(bench.path("job"), &here.path().join("f"))).await, Answer::Done);
    assert_eq!(std::fs::read(bench.path("job/big")).unwrap(), bytes);
}

pub(super) async fn an_unreadable_file_of_this_machine_fails_its_put_alone(bench: &Bench) {
    let good = |name: &str| put(bench.path(name), &[("a", b"1")]);
    let bad = put_path(bench.path("bad"), Path::new("/nowhere/at all"));
    let answers = bench.perform(vec![good("one"), bad, good("two")]).await;
    assert_eq!((&answers[0], &answers[2]), (&Answer::Done, &Answer::Done));
    let error = failure(answers[1].clone());
    assert_eq!(error.kind, OperationErrorKind::Refused);
    assert!(error.message.contains("/nowhere/at all"), "{error}");
    assert_eq!(tree(bench.folders.work.path()).len(), 2);
}

pub(super) async fn paths_that_lead_out_are_refused(bench: &Bench) {
    let mut batch: Vec<Operation> = ["../x", "/etc/x", "a/../../x", "", "a//b", "n\0l"]
        .iter()
        .map(|path| put(bench.path("job"), &[(*path, b"")]))
        .collect();
    batch.push(put("relative".into(), &[("a", b"")]));
    batch.push(put(bench.path("a/../b"), &[("a", b"")]));
    batch.push(fetch(bench.path("job"), vec![whole("../x")], Destination::Memory));
    batch.push(Operation::List { directory: "job".into() });
    batch.push(Operation::Remove { files: vec!["x".into()] });
    batch.push(Operation::RemoveTree { directory: "/".into(), marker: MARKER.into() });
    batch.push(run("echo \0", b""));
    for (index, answer) in bench.perform(batch).await.into_iter().enumerate() {
        assert_eq!(failure(answer).kind, OperationErrorKind::Refused, "operation {index}");
    }
    assert_eq!(tree(bench.folders.work.path()).len(), 0);
}

pub(super) async fn what_cannot_be_fetched_is_said_for_each_file(bench: &Bench) {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::fs::create_dir_all(bench.path("job/sub")).unwrap();
    for (name, size) in [("a", 10), ("sub/b", 11), ("sub/c", 12)] {
        std::fs::write(bench.path(&format!("job/{name}")), vec![b'x'; size]).unwrap();
    }
    symlink(outside.path().join("secret"), bench.path("job/out")).unwrap();
    symlink(outside.path(), bench.path("job/outdir")).unwrap();
    symlink("sub/b", bench.path("job/in")).unwrap();
    symlink("sub", bench.path("job/indir")).unwrap();
    symlink("nothing", bench.path("job/dangling")).unwrap();
    symlink("loop", bench.path("job/loop")).unwrap();
    std::fs::hard_link(bench.path("job/a"), bench.path("job/twin")).unwrap();
    assert!(Process::new("mkfifo").arg(bench.path("job/fifo")).status().unwrap().success());
    let asked = [
        "a",
        "none",
        "out",
        "outdir/secret",
        "in",
        "indir/c",
        "dangling",
        "loop",
        "fifo",
        "sub",
        "a/b",
        "twin",
    ];
    let limited = asked
        .iter()
        .map(|path| FetchFile { path: (*path).into(), limit_bytes: 11, part: Part::Whole })
        .collect();
    let back = fetched(bench.one(fetch(bench.path("job"), limited, Destination::Memory)).await);
    let shown: Vec<String> = back
        .iter()
        .map(|file| match file {
            Fetched::File { path, size_bytes, .. } => format!("{path}: {size_bytes}"),
            Fetched::Missing { path } => format!("{path}: missing"),
            Fetched::TooLarge { path, size_bytes } => format!("{path}: too large, {size_bytes}"),
        })
        .collect();
    let wanted = [
        "a: 10",
        "none: missing",
        "out: missing",
        "outdir/secret: missing",
        "in: 11",
        "indir/c: too large, 12",
        "dangling: missing",
        "loop: missing",
        "fifo: missing",
        "sub: missing",
        "a/b: missing",
        "twin: 10",
    ];
    assert_eq!(shown, wanted);
    let none = bench.fetch("no such directory", &["a"]).await;
    assert_eq!(none, [Fetched::Missing { path: "a".into() }]);
}

pub(super) async fn a_tail_is_the_end(bench: &Bench) {
    std::fs::create_dir(bench.path("job")).unwrap();
    std::fs::write(bench.path("job/out"), "0123456789").unwrap();
    bench.folders.hand_over();
    let tail = |most| FetchFile { path: "out".into(), limit_bytes: 1, part: Part::Tail(most) };
    let missing = FetchFile { path: "none".into(), limit_bytes: 1, part: Part::Tail(3) };
    let files = vec![tail(4), tail(100), tail(0), missing];
    let back = fetched(bench.one(fetch(bench.path("job"), files, Destination::Memory)).await);
    assert_eq!(content(&back[0]), b"6789");
    assert_eq!(content(&back[1]), b"0123456789");
    assert_eq!(content(&back[2]), b"");
    assert_eq!(back[3], Fetched::Missing { path: "none".into() });
}

pub(super) async fn fetched_files_replace_by_rename(bench: &Bench) {
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(here.path().join("sub")).unwrap();
    std::fs::write(here.path().join("sub/a"), "old").unwrap();
    std::fs::hard_link(here.path().join("sub/a"), here.path().join("old")).unwrap();
    bench.one(put(bench.path("job"), &[("sub/a", b"new"), ("b c", b"2")])).await;
    let files = vec![whole("sub/a"), whole("none"), whole("b c")];
    let back =
        fetched(bench.one(fetch(bench.path("job"), files, Destination::Folder(here.path().into()))).await);
    assert_eq!(content(&back[0]), b"", "the content is in the folder");
    assert_eq!(back[1], Fetched::Missing { path: "none".into() });
    let found = tree(here.path());
    let found: Vec<(&str, &[u8])> =
        found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    assert_eq!(found, [("b c", &b"2"[..]), ("old", b"old"), ("sub/a", b"new")]);
}

pub(super) async fn names_are_listed(bench: &Bench) {
    bench.one(put(bench.path("job"), &[("a", b""), (".b", b""), ("c/d", b""), ("-e\nf", b"")])).await;
    bench.one(put(bench.path("empty"), &[])).await;
    let list = |name: &str| Operation::List { directory: bench.path(name) };
    let answers = bench.perform(vec![list("job"), list("none"), list("empty"), list("job/a")]).await;
    let Answer::Names(mut names) = answers[0].clone() else { panic!("{:?}", answers[0]) };
    names.sort();
    assert_eq!(names, ["-e\nf", ".b", "a", "c"]);
    assert_eq!(answers[1], Answer::Names(Vec::new()));
    assert_eq!(answers[2], Answer::Names(Vec::new()));
    assert_eq!(failure(answers[3].clone()).kind, OperationErrorKind::Other, "a file is no directory");
}

pub(super) async fn files_are_removed(bench: &Bench) {
    bench.one(put(bench.path("job"), &[("a", b""), ("-b c", b""), ("keep/x", b"")])).await;
    let remove = |names: &[&str]| Operation::Remove {
        files: names.iter().map(|name| bench.path(&format!("job/{name}"))).collect(),
    };
    let answers = bench.perform(vec![remove(&["a", "none", "no/ne", "-b c"]), remove(&["keep"])]).await;
    assert_eq!(answers[0], Answer::Done);
    assert!(matches!(answers[1], Answer::Failed(_)), "a directory is no file");
    assert_eq!(tree(bench.folders.work.path()).into_keys().collect::<Vec<_>>(), ["job/keep/x"]);
}

pub(super) async fn a_tree_is_removed_by_its_marker(bench: &Bench) {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("keep"), "").unwrap();
    bench.one(put(bench.path("job"), &[(MARKER, b""), ("a/b", b"")])).await;
    symlink(outside.path(), bench.path("job/link")).unwrap();
    bench.folders.hand_over();
    let remove = || Operation::RemoveTree { directory: bench.path("job"), marker: MARKER.into() };
    let answers = bench.perform(vec![remove(), remove()]).await;
    assert_eq!(answers, [Answer::Done, Answer::Done], "gone, and gone already");
    assert_eq!(std::fs::read_dir(bench.folders.work.path()).unwrap().count(), 0);
    assert!(outside.path().join("keep").exists(), "links are not followed");
}

pub(super) async fn operations_happen_in_their_order(bench: &Bench) {
    let job = || bench.path("job");
    let answers = bench
        .perform(vec![
            put(job(), &[(MARKER, b""), ("a", b"1")]),
            put(bench.path("job/inner"), &[("b", b"2")]),
            run(&format!("cat {}/a {}/inner/b; echo 3 > {}/c", job(), job(), job()), b""),
            fetch(job(), vec![whole("c")], Destination::Memory),
            Operation::Remove { files: vec![bench.path("job/c")] },
            fetch(job(), vec![whole("c"), whole("a")], Destination::Memory),
            put(job(), &[(MARKER, b""), ("a", b"4")]),
            fetch(job(), vec![whole("a")], Destination::Memory),
            Operation::RemoveTree { directory: job(), marker: MARKER.into() },
            Operation::List { directory: job() },
        ])
        .await;
    let Answer::Ran(ran) = &answers[2] else { panic!("{:?}", answers[2]) };
    assert_eq!(ran.stdout, b"12");
    assert_eq!(content(&fetched(answers[3].clone())[0]), b"3\n");
    let later = fetched(answers[5].clone());
    assert_eq!((&later[0], content(&later[1])), (&Fetched::Missing { path: "c".into() }, &b"1"[..]));
    assert_eq!(content(&fetched(answers[7].clone())[0]), b"4");
    assert_eq!(answers[9], Answer::Names(Vec::new()));
}

pub(super) async fn an_unwritable_directory_is_a_permission_failure(bench: &Bench) {
    bench.one(put(bench.path("job"), &[("a", b"")])).await;
    let good = put(bench.path("good"), &[("a", b"")]);
    // The kernel makes no directory there for anybody, root included.
    let bad = put("/sys/jobferry/job".into(), &[("a", b"")]);
    let answers = bench.perform(vec![bad, good]).await;
    assert_eq!(failure(answers[0].clone()).kind, OperationErrorKind::Permission);
    assert_eq!(answers[1], Answer::Done);
}

/// A small file system that is full at once, unmounted when dropped; only root can have one.
struct SmallDisk(String);

impl SmallDisk {
    fn mount(path: String) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let done =
            Process::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", &path]).output();
        done.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ignored = Process::new("umount").arg("-l").arg(&self.0).output();
    }
}

pub(super) async fn a_full_disk_is_a_storage_failure(bench: &Bench) {
    let Some(disk) = SmallDisk::mount(bench.path("disk")) else {
        eprintln!("SKIPPED a_full_disk_is_a_storage_failure: no file system can be mounted here");
        return;
    };
    let big = vec![b'x'; 200_000];
    let answers = bench
        .perform(vec![
            put(format!("{}/job", disk.0), &[("a", b"small"), ("b", &big), ("c", b"small")]),
            put(bench.path("other"), &[("a", b"1")]),
        ])
        .await;
    let error = failure(answers[0].clone());
    assert_eq!(error.kind, OperationErrorKind::Storage, "{error}");
    assert_eq!(answers[1], Answer::Done, "another disk is another matter");
    assert!(!Path::new(&format!("{}/job", disk.0)).exists());
    let again = bench.one(put(format!("{}/job", disk.0), &[("a", b"small")])).await;
    assert_eq!(again, Answer::Done, "what the failure left is gone");
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs the current test again in a process of its own, unless it is alone already, as under nextest. Returns whether it did.
fn ran_alone() -> bool {
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    if test == "main" || ["NEXTEST", "JF_TEST_ALONE"].iter().any(|name| std::env::var_os(name).is_some()) {
        return false;
    }
    let mut alone = Process::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", &test, "--nocapture"]).env("JF_TEST_ALONE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    true
}

pub(super) async fn a_large_file_needs_little_memory(bench: &Bench) {
    const SIZE_BYTES: u64 = 200 << 20;
    // The peak is that of the whole process.
    if ran_alone() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(here.path().join("f")).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    bench.sh(":").await;
    let before = peak_kilobytes();
    assert_eq!(bench.one(put_path(bench.path("job"), &here.path().join("f"))).await, Answer::Done);
    let into = Destination::Folder(here.path().join("back"));
    let back = fetched(bench.one(fetch(bench.path("job"), vec![whole("big")], into)).await);
    let Fetched::File { size_bytes, .. } = &back[0] else { panic!("{:?}", back[0]) };
    assert_eq!(*size_bytes, SIZE_BYTES);
    assert_eq!(std::fs::metadata(here.path().join("back/big")).unwrap().len(), SIZE_BYTES);
    let growth = peak_kilobytes() - before;
    assert!(growth < 32 * 1024, "the peak grew by {growth} kB");
}
