//! The end of a job whose flow grows, cut off at every single write: before it reaches the server, and after.
//!
//! The runner's end of the line is a relay that counts the write commands and drops dead at one of them; the line
//! then stays dead, as after a kill. A new process repairs and ends the job again: the database is the same as that of
//! a run that nobody disturbed. The number of writes is found by running until nothing is cut any more, so that a new
//! write is tried without a change here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobferry::model::job::{Growth, Stop};
use jobferry::store::{Ending, StoreError, Stores};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::super::growth::{ending, jobs_of};
use super::super::making::{at, everything, flow, insert, job};
use super::{Dropped, Neighbour, Scratch};
use crate::store_contract::Bench;

/// Where the line breaks at the chosen write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Before,
    After,
}

struct Relay {
    address: SocketAddr,
    writes: Arc<AtomicUsize>,
    is_dead: Arc<AtomicBool>,
    /// Told once the line is dead and the server has what it was to get.
    died: Arc<Notify>,
    lines: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Closes all its connections, on both sides.
impl Drop for Relay {
    fn drop(&mut self) {
        self.lines.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

impl Relay {
    /// Returns a relay to `server` that dies at write number `at`, counted from 1.
    async fn to(server: String, at: usize, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (writes, is_dead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let lines: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let died: Arc<Notify> = Arc::default();
        let told = Arc::clone(&died);
        let (counter, dead, open) = (Arc::clone(&writes), Arc::clone(&is_dead), Arc::clone(&lines));
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if dead.load(Ordering::SeqCst) {
                    continue;
                }
                let (up, down) = TcpStream::connect(&server).await.unwrap().into_split();
                let (read, write) = client.into_split();
                let line = Line {
                    at,
                    cut,
                    writes: Arc::clone(&counter),
                    is_dead: Arc::clone(&dead),
                    died: Arc::clone(&told),
                };
                let forward = tokio::spawn(line.forward(read, down));
                let back = tokio::spawn(back(up, write, Arc::clone(&dead)));
                open.lock().unwrap().extend([forward.abort_handle(), back.abort_handle()]);
            }
        });
        lines.lock().unwrap().push(accept.abort_handle());
        Self { address, writes, is_dead, died, lines }
    }
}

struct Line {
    at: usize,
    cut: Cut,
    writes: Arc<AtomicUsize>,
    is_dead: Arc<AtomicBool>,
    died: Arc<Notify>,
}

impl Line {
    async fn forward(self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) {
        while let Some(message) = message(&mut client).await {
            let is_cut = is_write(&message) && self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
            if is_cut || self.is_dead.load(Ordering::SeqCst) {
                self.is_dead.store(true, Ordering::SeqCst);
                if is_cut && self.cut == Cut::After {
                    server.write_all(&message).await.unwrap();
                }
                self.died.notify_one();
                return;
            }
            if server.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

/// Nothing comes back once the line is dead.
async fn back(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, is_dead: Arc<AtomicBool>) {
    while let Some(message) = message(&mut server).await {
        if is_dead.load(Ordering::SeqCst) || client.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Returns one message of the wire protocol: its length comes first (MongoDB manual, "Wire Protocol").
async fn message(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut message = length.to_vec();
    message.resize(usize::try_from(u32::from_le_bytes(length)).ok()?, 0);
    stream.read_exact(message.get_mut(4..)?).await.ok()?;
    Some(message)
}

/// The name of an `OP_MSG` command is the first key of its body: after the header, the flags, the kind of the section,
/// the length of the document and the type of its first element.
fn is_write(message: &[u8]) -> bool {
    let name = message.get(26..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    [&b"update"[..], b"insert", b"delete", b"findAndModify", b"commitTransaction"].contains(&name)
}

fn growth() -> Growth {
    let jobs = jobs_of("f", [job("r", &[]), job("d1", &["a"]), job("d2", &["d1"])]);
    Growth { jobs, detour_leaves: vec!["d2".into()], stop: Stop::Nothing }
}

fn stopping() -> Growth {
    Growth { jobs: jobs_of("f", [job("n", &["a"])]), stop: Stop::Children, ..Growth::default() }
}

struct Case {
    scratch: Scratch,
    bench: Bench,
    ending: Ending,
}

async fn case(variable: &str, growth: Growth) -> Option<Case> {
    let scratch = Scratch::new("store_contract::mongodb::cuts", variable)?;
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    let outside = Neighbour { scratch: scratch.clone() };
    let bench = Bench { stores, outside: Some(Box::new(outside)), kept: Box::new(Dropped(scratch.clone())) };
    let jobs = [job("a", &[]), job("c", &["a"]), job("e", &["c"]), job("lone", &[])];
    insert(&bench.stores, flow("f", jobs)).await;
    let ending = ending(&bench, "a", growth).await;
    Some(Case { scratch, bench, ending })
}

/// What must be the same: all but short ids, which may have gaps, and times and names of who did it.
async fn picture(stores: &Stores) -> Vec<String> {
    let (jobs, flows) = everything(stores).await;
    let job = |job: &jobferry::model::job::JobRecord| {
        let moves: Vec<_> = job.ferry.history.iter().map(|entry| (entry.from, entry.to)).collect();
        format!(
            "{} {} {:?} {:?} {:?} {}",
            job.key, job.state, job.parents, moves, job.lock, job.ferry.settling
        )
    };
    let flow = |flow: &jobferry::model::job::FlowRecord| {
        let ids: Vec<String> = flow.ids.iter().map(|id| id.key.to_string()).collect();
        format!("{} {} {:?} {:?} {:?} {}", flow.uuid, flow.state, flow.jobs, ids, flow.lock, flow.parents)
    };
    jobs.iter().map(job).chain(flows.iter().map(flow)).collect()
}

async fn every_cut(variable: &str, growth: fn() -> Growth) {
    let Some(whole) = case(variable, growth()).await else { return };
    whole.bench.stores.queue.finish(std::slice::from_ref(&whole.ending)).await.unwrap();
    let expected = picture(&whole.bench.stores).await;
    let mut cuts = 0;
    for cut in [Cut::Before, Cut::After] {
        for at_write in 1.. {
            let one = case(variable, growth()).await.unwrap();
            let relay = Relay::to(server_of(&one.scratch.uri), at_write, cut).await;
            let through = Scratch { uri: via(relay.address, &one.scratch.name), ..one.scratch.clone() };
            let victim = through.open().await.into_stores();
            let ended = tokio::select! {
                ended = victim.queue.finish(std::slice::from_ref(&one.ending)) => Some(ended),
                () = relay.died.notified() => None,
            };
            if !relay.is_dead.load(Ordering::SeqCst) {
                ended.unwrap().unwrap();
                assert_eq!(relay.writes.load(Ordering::SeqCst), at_write - 1);
                break;
            }
            cuts += 1;
            drop((victim, relay));
            recover(&one).await;
            assert_eq!(picture(&one.bench.stores).await, expected, "{cut:?} write {at_write}");
        }
    }
    assert!(cuts >= 8, "only {cuts} writes were cut");
}

/// What the next runner does: it mends, and it ends the job if that is still to be done.
async fn recover(one: &Case) {
    super::kills::quiet(&one.scratch.raw().await).await;
    let queue = &one.bench.stores.queue;
    queue.repair(at(1000)).await.unwrap();
    match queue.finish(std::slice::from_ref(&one.ending)).await {
        Ok(_) | Err(StoreError::Duplicate { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    queue.repair(at(2000)).await.unwrap();
}

fn server_of(uri: &str) -> String {
    let rest = uri.strip_prefix("mongodb://").unwrap();
    rest.split(['/', '?']).next().unwrap().to_owned()
}

/// Without discovery of the set's members, whose own addresses would lead past the relay; no second try of a write
/// and a short search for a server that is dead.
fn via(relay: SocketAddr, name: &str) -> String {
    format!(
        "mongodb://{relay}/?directConnection=true&retryWrites=false&retryReads=false&serverSelectionTimeoutMS=20000&appName={name}"
    )
}

const LIMIT: Duration = Duration::from_secs(240);

async fn within_limit(work: impl Future<Output = ()>) {
    tokio::time::timeout(LIMIT, work).await.expect("within the limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detour_on_a_standalone_server() {
    within_limit(every_cut("JF_TEST_MONGODB_URI", growth)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_on_a_standalone_server() {
    within_limit(every_cut("JF_TEST_MONGODB_URI", stopping)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detour_on_a_replica_set() {
    within_limit(every_cut("JF_TEST_MONGODB_REPLICA_SET_URI", growth)).await;
}
