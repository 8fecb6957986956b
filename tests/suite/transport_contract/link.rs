//! Promises on the connection over SSH, and on what only an account without root's rights shows.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command as Process, Stdio};
use std::time::Instant;

use jobferry::transport::OperationErrorKind;

use super::*;

/// Makes a shell of the account that does `lines` first and goes on as the program it was asked for.
fn shell_with(folders: &Folders, lines: &str) -> Shell {
    let path = folders.work.path().join("shell");
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    folders.hand_over();
    Shell::Login { program: path.to_str().unwrap().to_owned() }
}

fn bench(settings: SshSettings, folders: Folders) -> Bench {
    Bench { transport: Box::new(SshTransport::new(settings)), folders }
}

/// Waits, with a limit, for what another process does.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_and_noisy_profile_is_paid_for_once() {
    let test = "a_slow_and_noisy_profile_is_paid_for_once";
    let Some((mut settings, folders)) = cluster(test) else { return };
    let home = folders.work.path().to_str().unwrap().to_owned();
    let profile = "echo Welcome; echo careful >&2; sleep 0.3; echo login >>~/logins; export JF_PROFILE=read\n\
                   set -u; alias tar=false; umask 027; printf 'no newline'";
    std::fs::write(format!("{home}/.bash_profile"), profile).unwrap();
    settings.shell = shell_with(&folders, &format!("HOME={home} exec bash \"$@\""));
    let bench = bench(settings, folders);
    for number in 0..20 {
        let answer = bench.sh(&format!("echo $JF_PROFILE {number}; umask")).await;
        assert_eq!(String::from_utf8(answer.stdout).unwrap(), format!("read {number}\n0027\n"));
    }
    let done = bench.one(put(bench.path("job"), &[("a", b"1")])).await;
    assert_eq!(done, Answer::Done);
    let logins = || std::fs::read_to_string(bench.path("logins")).unwrap().lines().count();
    assert_eq!(logins(), 1, "21 requests one after the other");
    let many = (0..12).map(|_| async { bench.sh("sleep 0.1; echo 1").await });
    assert!(futures::future::join_all(many).await.iter().all(|answer| answer.stdout == b"1\n"));
    assert!((2..=3).contains(&logins()), "12 at once go over three lanes: {}", logins());
    assert_eq!(bench.transport.round_trips(), 33);
    bench.transport.close().await;
}

/// A script that kills the shell of its own lane.
const KILL_THE_LANE: &str = r#"p=$PPID
until tr '\0' ' ' </proc/$p/cmdline | grep -q 'eval "$(head -c'; do p=$(cut -d ' ' -f 4 /proc/$p/stat); done
kill -9 $p"#;

#[tokio::test]
async fn a_killed_lane_is_lost_and_the_next_request_works() {
    let Some(bench) = over_ssh("a_killed_lane_is_lost_and_the_next_request_works") else { return };
    bench.sh(":").await;
    let error = bench.transport.perform(vec![run(KILL_THE_LANE, b"")], LIMIT).await;
    assert!(matches!(error, Err(TransportError::Lost { .. })), "{error:?}");
    assert_eq!(bench.sh("echo works").await.stdout, b"works\n");
    // One that dies while nobody uses it is noticed before it is used.
    let lane = bench.sh(&KILL_THE_LANE.replace("kill -9 $p", "echo $p")).await.stdout;
    kill(String::from_utf8(lane).unwrap().trim().parse().unwrap());
    // Nothing on this side shows when the news has come over the connection.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.sh("echo works").await.stdout, b"works\n");
    bench.transport.close().await;
}

#[tokio::test]
async fn nothing_is_left_on_the_host_after_the_end() {
    let Some(bench) = over_ssh("nothing_is_left_on_the_host_after_the_end") else { return };
    let script = bench.sh("echo $0; stat -c %a \"${0%/*}\"").await.stdout;
    let script = String::from_utf8(script).unwrap();
    let (path, mode) = script.trim().split_once('\n').unwrap();
    assert_eq!(mode, "700", "others cannot read scripts");
    let scratch = Path::new(path).parent().unwrap().to_owned();
    assert!(scratch.is_dir());
    bench.transport.close().await;
    until("the removal of the scratch directory", || !scratch.exists()).await;
    assert_eq!(bench.sh("echo again").await.stdout, b"again\n", "a closed transport opens again");
    bench.transport.close().await;
}

/// The two ends of the TCP connection that a transport uses, as the host sees them.
async fn ask(transport: &SshTransport) -> Vec<u8> {
    match transport.perform(vec![run("echo $SSH_CONNECTION", b"")], LIMIT).await.unwrap().remove(0) {
        Answer::Ran(answer) => answer.stdout,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_programs_share_one_connection() {
    let Some((settings, folders)) = cluster("two_programs_share_one_connection") else { return };
    let first = SshTransport::new(settings.clone());
    let second = SshTransport::new(settings);
    let (one, two) = tokio::join!(ask(&first), ask(&second));
    assert_eq!(one, two, "the same TCP connection, also when both begin at once");
    first.close().await;
    assert_eq!(ask(&second).await, two, "the other's lanes live on");
    second.close().await;
    drop(folders);
}

/// An sshd of this test's own, for being killed.
struct Server {
    process: Child,
}

impl Server {
    fn start(port: u16) -> Self {
        let root = std::env::var("JF_TEST_ROOT").unwrap();
        let text = std::fs::read_to_string(format!("{root}/ssh/sshd_config")).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| if line.starts_with("Port ") { format!("Port {port}") } else { line.to_owned() })
            .collect();
        let file = format!("{root}/ssh/sshd_config.{port}");
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        let process =
            Process::new("/usr/sbin/sshd").args(["-D", "-f", &file]).stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd does not listen");
            std::thread::yield_now();
        }
        std::fs::remove_file(file).unwrap();
        Self { process }
    }

    /// Kills the server and all its connections.
    fn kill(mut self) {
        let parent = self.process.id();
        for child in children(parent) {
            for grandchild in children(child) {
                kill(grandchild);
            }
            kill(child);
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn kill(pid: u32) {
    let _gone = Process::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |stat: &str| {
        let rest = stat.rsplit_once(')').unwrap().1;
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_child(&stat))
        })
        .collect()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_host_that_dies_and_comes_back_is_used_again() {
    let Some((mut settings, folders)) = cluster("a_host_that_dies_and_comes_back_is_used_again") else {
        return;
    };
    let port = free_port();
    settings.port = Some(port);
    settings.options.push(("StrictHostKeyChecking".into(), "no".into()));
    settings.options.push(("UserKnownHostsFile".into(), "/dev/null".into()));
    let server = Server::start(port);
    let bench = bench(settings, folders);
    assert_eq!(bench.sh("echo 1").await.stdout, b"1\n");
    let cut = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
    };
    let ((), during) = tokio::join!(cut, bench.transport.perform(vec![run("sleep 20", b"")], LIMIT));
    assert!(matches!(during, Err(TransportError::Lost { .. })), "{during:?}");
    let after = bench.transport.perform(vec![run(":", b"")], LIMIT).await;
    let Err(TransportError::Connect { message, hint, .. }) = &after else { panic!("{after:?}") };
    assert!(message.starts_with("nothing listens on that port"), "{message}");
    assert!(hint.as_deref().unwrap().contains("`ssh -F "), "{hint:?}");
    let server = Server::start(port);
    assert_eq!(bench.sh("echo 2").await.stdout, b"2\n");
    bench.transport.close().await;
    server.kill();
}

async fn refusal(settings: SshSettings) -> String {
    let error = SshTransport::new(settings).perform(vec![run(":", b"")], LIMIT).await;
    let Err(TransportError::Connect { message, hint, .. }) = error else { panic!("{error:?}") };
    assert!(hint.is_some(), "{message}");
    message.split(" (").next().unwrap().to_owned()
}

#[tokio::test]
async fn what_hinders_a_connection_is_said() {
    let Some((settings, folders)) = cluster("what_hinders_a_connection_is_said") else { return };
    let with = |name: &str, value: &str| {
        let options = vec![(name.to_owned(), value.to_owned())];
        SshSettings { options, ..settings.clone() }
    };
    let key = folders.work.path().join("key");
    let made = Process::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    assert_eq!(refusal(with("UserKnownHostsFile", "/dev/null")).await, "the host's key is not known");
    assert_eq!(refusal(with("HostName", "nowhere.invalid")).await, "the host name is not known");
    assert_eq!(refusal(with("Port", &free_port().to_string())).await, "nothing listens on that port");
    let user = SshSettings { user: Some("nobody".into()), ..settings.clone() };
    assert_eq!(refusal(user).await, "the host refuses the login");
    let changed = folders.work.path().join("known");
    let text = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let port = address("", "JF_TEST_SSH_PORT").unwrap();
    std::fs::write(&changed, format!("[127.0.0.1]:{port} {text}")).unwrap();
    let changed = with("UserKnownHostsFile", changed.to_str().unwrap());
    assert_eq!(refusal(changed).await, "the host's key has changed");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let mut silent = with("Port", &silent_port.to_string());
    silent.connect_timeout = Duration::from_secs(1);
    assert_eq!(refusal(silent).await, "the host does not answer");
    let broken = shell_with(&folders, "echo this account is closed >&2; exit 1");
    let broken = refusal(SshSettings { shell: broken, ..settings.clone() }).await;
    assert_eq!(broken, "the shell of the account ended before it was ready: this account is closed");
    let hanging = shell_with(&folders, "exec sleep 100");
    let hanging = SshSettings { shell: hanging, connect_timeout: Duration::from_secs(1), ..settings };
    assert_eq!(refusal(hanging).await, "the login shell of the account did not answer in time");
}

#[tokio::test]
async fn what_is_changed_on_its_way_is_noticed() {
    let Some((mut settings, folders)) = cluster("what_is_changed_on_its_way_is_noticed") else { return };
    let work = folders.work.path().to_str().unwrap().to_owned();
    // A host whose tar writes one file wrong, and where one file changes between its hash and its reading.
    let tar = format!(
        "#!/bin/sh\n[ \"$1\" != -c ] || printf 9 >{work}/job/moving\n/usr/bin/tar \"$@\"\ncode=$?\n\
         [ \"$1\" != -x ] || find {work} -name victim -exec sh -c 'printf X >\"$1\"' sh '{{}}' ';'\nexit $code\n"
    );
    std::fs::create_dir_all(format!("{work}/bin")).unwrap();
    std::fs::write(format!("{work}/bin/tar"), tar).unwrap();
    std::fs::set_permissions(format!("{work}/bin/tar"), Permissions::from_mode(0o755)).unwrap();
    settings.shell = shell_with(&folders, &format!("shift; PATH={work}/bin:$PATH exec sh \"$@\""));
    let bench = bench(settings, folders);
    let good = |name: &str| put(bench.path(name), &[("moving", b"1"), ("b", b"2")]);
    let bad = put(bench.path("bad"), &[("a", b"1"), ("victim", b"2")]);
    let answers = bench.perform(vec![good("job"), bad, good("other")]).await;
    assert_eq!((&answers[0], &answers[2]), (&Answer::Done, &Answer::Done));
    assert_eq!(failure(answers[1].clone()).kind, OperationErrorKind::Corrupted);
    assert!(!Path::new(&bench.path("bad")).exists(), "nothing of it is seen");
    let here = tempfile::tempdir().unwrap();
    let into = Destination::Folder(here.path().to_owned());
    let moving = bench.one(fetch(bench.path("job"), vec![whole("b"), whole("moving")], into)).await;
    let error = failure(moving);
    assert_eq!(
        (error.kind, error.message.as_str()),
        (OperationErrorKind::Corrupted, "moving changed while it was read")
    );
    assert!(!here.path().join("moving").exists(), "a wrong file gets no name");
    bench.transport.close().await;
}

#[tokio::test]
async fn a_file_of_this_machine_that_changes_on_its_way_is_refused() {
    let test = "a_file_of_this_machine_that_changes_on_its_way_is_refused";
    let Some(bench) = over_ssh(test) else { return };
    // Files of /proc tell no size before they are read: the same as one that grew in between.
    let files =
        vec![PutFile { path: "a".into(), content: Content::Path("/proc/self/status".into()), mode: 0o600 }];
    let occupied = Occupied::Replace { marker: MARKER.into() };
    let odd = Operation::Put(Put { directory: bench.path("odd"), files, occupied });
    let answers = bench.perform(vec![odd, put(bench.path("job"), &[("a", b"1")])]).await;
    assert_eq!(answers[1], Answer::Done, "the stream keeps its order");
    let error = failure(answers[0].clone());
    assert_eq!(error.kind, OperationErrorKind::Refused);
    assert_eq!(error.message, "cannot read /proc/self/status: it became longer while it was sent");
    assert!(!Path::new(&bench.path("odd")).exists());
    bench.transport.close().await;
}

#[tokio::test]
async fn what_may_not_be_seen_is_not_missing() {
    let Some(bench) = over_ssh("what_may_not_be_seen_is_not_missing") else { return };
    let closed: [(&str, u32); 4] =
        [("locked", 0o500), ("hidden", 0o600), ("job", 0o700), ("job/secret", 0o000)];
    for (name, _) in &closed[..3] {
        std::fs::create_dir(bench.path(name)).unwrap();
    }
    for name in ["job/secret", "hidden/a"] {
        std::fs::write(bench.path(name), "x").unwrap();
    }
    for (name, mode) in closed {
        std::fs::set_permissions(bench.path(name), Permissions::from_mode(mode)).unwrap();
    }
    bench.folders.hand_over();
    let refused = vec![
        put(bench.path("locked/job"), &[("a", b"")]),
        fetch(bench.path("job"), vec![whole("secret")], Destination::Memory),
        fetch(bench.path("hidden"), vec![whole("a")], Destination::Memory),
        Operation::List { directory: bench.path("hidden/b") },
        Operation::RemoveTree { directory: bench.path("hidden/a"), marker: MARKER.into() },
    ];
    for (number, answer) in bench.perform(refused).await.into_iter().enumerate() {
        let error = failure(answer);
        assert_eq!(error.kind, OperationErrorKind::Permission, "operation {number}: {error}");
    }
    let good = put(bench.path("good"), &[("a", b"")]);
    assert_eq!(bench.one(good).await, Answer::Done);
    bench.transport.close().await;
}
