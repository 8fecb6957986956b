//! MongoDB: the documents of jobflow-remote 1.0, so that both programs can work on one database.
//!
//! Two facts about the driver shape this back end. Its futures must not be dropped half-way, or a connection with half
//! an answer goes back to the pool: so each call runs in a task of its own, and what is timed out is the waiting for
//! it. And the `update` command counts matches without naming them: [`moves`] says how each move still gets its own
//! answer.
//!
//! | file | what |
//! |---|---|
//! | `settings` | where the server is |
//! | `access` | statements in batches, transactions |
//! | `moves`, `finish`, `derive` | single moves; ends of jobs; states of flows |
//! | `actions`, `scene`, `locks`, `cancellations` | what users do |
//! | `insert`, `repair` | new flows; what killed processes left |
//! | `query`, `names` | listings and counts |
//! | `lease`, `migrations`, `outputs`, `files` | what their names say |
//! | `blobs`, `grid_fs` | parts of outputs; with `place`, outside the queue |
//! | `admin` | resets, upgrades, copies |

mod access;
mod actions;
mod admin;
mod blobs;
mod cancellations;
mod derive;
mod files;
mod finish;
mod grid_fs;
mod grow;
mod insert;
mod lease;
mod locks;
mod migrations;
mod moves;
mod names;
mod outputs;
mod place;
mod query;
mod repair;
mod scene;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::{Client, Collection, Database};
use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{
    Applied, Claim, Ending, Files, Lease, LeaseAnswer, LeaseClaim, Load, Move, NewFile, Queue, StoreError,
    Stores, Work,
};
use crate::model::Timestamp;
use crate::model::job::{FlowId, FlowRecord, JobRecord, NewFlow};
use crate::model::query::{Detail, FlowFilter, JobFilter, Page};
use crate::model::state::State;
use access::Fault;
use place::Place;

pub use blobs::MongoBlobs;
pub use grid_fs::{GridFsBlobs, Packing};
pub use outputs::MongoOutputs;
pub use place::Clients;
pub use settings::{Address, Collections, Host, Location, MongoSettings};

/// For a question of one document: beyond this the server is as good as gone.
const SHORT: Duration = Duration::from_secs(15);

/// For batches, listings and files: a large one on a slow line takes a minute.
const LONG: Duration = Duration::from_secs(300);

/// Building the indexes of a large old database takes minutes.
const MIGRATION: Duration = Duration::from_secs(1800);

/// Whether several documents can be changed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    /// A replica set, or a cluster behind mongos.
    Transactions,
    Standalone,
}

/// One opened pair of databases.
struct Server {
    client: Client,
    database: Database,
    outputs: Place,
    names: Collections,
    id_prefix: String,
    place: String,
    topology: OnceCell<Topology>,
}

impl Server {
    fn jobs(&self) -> Collection<Document> {
        self.database.collection(&self.names.jobs)
    }

    fn flows(&self) -> Collection<Document> {
        self.database.collection(&self.names.flows)
    }

    fn auxiliary(&self) -> Collection<Document> {
        self.database.collection(&self.names.auxiliary)
    }

    /// Returns what the server can, asked once.
    async fn topology(&self) -> Result<Topology, Fault> {
        let ask = async || -> Result<Topology, Fault> {
            let hello = self.client.database("admin").run_command(doc! { "hello": 1 }).await?;
            let is_mongos = hello.get_str("msg").is_ok_and(|text| text == "isdbgrid");
            let many = is_mongos || hello.contains_key("setName");
            Ok(if many { Topology::Transactions } else { Topology::Standalone })
        };
        self.topology.get_or_try_init(ask).await.copied()
    }
}

/// The queue, the outputs and the files of one project in MongoDB.
#[derive(Clone)]
pub struct MongoStore {
    server: Arc<Server>,
}

impl MongoStore {
    /// Returns a store on these databases. Nothing is sent yet: a server that is away is noticed by the first call.
    pub async fn open(settings: MongoSettings) -> Result<Self, StoreError> {
        Self::open_among(&mut Clients::default(), settings).await
    }

    /// Like [`Self::open`], with the connections of other stores where the server and the user are the same.
    pub async fn open_among(clients: &mut Clients, settings: MongoSettings) -> Result<Self, StoreError> {
        let queue = clients.open(&settings.queue).await?;
        let server = Server {
            client: queue.client,
            database: queue.database,
            outputs: Place::open(clients, &settings.outputs, settings.outputs_collection).await?,
            names: settings.collections,
            id_prefix: settings.id_prefix,
            place: queue.place,
            topology: OnceCell::new(),
        };
        Ok(Self { server: Arc::new(server) })
    }

    /// Returns `mongodb://host:port/database`, without user and password.
    pub fn place(&self) -> &str {
        &self.server.place
    }

    /// Returns the stores of a project in this one.
    pub fn into_stores(self) -> Stores {
        let all = Arc::new(self);
        Stores::of(all)
    }

    /// Waits for the answer within the limit; the call itself goes on to its end.
    async fn run<T, F>(
        &self,
        action: &'static str,
        limit: Duration,
        body: impl FnOnce(Arc<Server>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        place::call(&self.server.place, action, limit, body(Arc::clone(&self.server))).await
    }
}

#[async_trait]
impl Queue for MongoStore {
    async fn migrate(&self) -> Result<Vec<u32>, StoreError> {
        let migrate = |server: Arc<Server>| async move { migrations::migrate(&server).await };
        self.run("change the schema", MIGRATION, migrate).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run("answer", SHORT, |server| async move {
            server.database.run_command(doc! { "ping": 1 }).await?;
            Ok(())
        })
        .await
    }

    async fn insert_flow(&self, flow: &NewFlow) -> Result<Vec<FlowId>, StoreError> {
        let flow = flow.clone();
        let insert = |server: Arc<Server>| async move { insert::insert_flow(&server, &flow).await };
        self.run("insert a flow", LONG, insert).await
    }

    async fn claim(&self, claim: &Claim) -> Result<u32, StoreError> {
        let claim = claim.clone();
        self.run("claim jobs", LONG, |server| async move { moves::claim(&server, &claim).await }).await
    }

    async fn work(&self, work: &Work) -> Result<Vec<JobRecord>, StoreError> {
        let work = work.clone();
        self.run("find jobs", LONG, |server| async move { query::work(&server, &work).await }).await
    }

    async fn apply(&self, moves: &[Move]) -> Result<Vec<Applied>, StoreError> {
        let steps = moves.to_vec();
        let apply = |server: Arc<Server>| async move {
            moves::apply(&mut access::Access::plain(&server), &steps, moves::Also::Nothing).await
        };
        self.run("move jobs", LONG, apply).await
    }

    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Applied>, StoreError> {
        let endings = endings.to_vec();
        self.run("end jobs", LONG, |server| async move { finish::finish(&server, &endings).await }).await
    }

    async fn repair(&self, at: Timestamp) -> Result<u64, StoreError> {
        self.run("mend jobs", LONG, |server| async move { repair::repair(&server, at).await }).await
    }

    async fn load(&self, states: &[State]) -> Result<Load, StoreError> {
        let states = states.to_vec();
        self.run("count jobs", LONG, |server| async move { query::load(&server, &states).await }).await
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
        detail: Detail,
    ) -> Result<Vec<JobRecord>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        let list = |server: Arc<Server>| async move { query::jobs(&server, &filter, &page, detail).await };
        self.run("list jobs", LONG, list).await
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.run("count jobs", LONG, |server| async move { query::count_jobs(&server, &filter).await }).await
    }

    async fn count_jobs_by_state(&self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, StoreError> {
        let filter = filter.clone();
        self.run("count jobs", LONG, |server| async move { query::count_by_state(&server, &filter).await })
            .await
    }

    async fn flows(&self, filter: &FlowFilter, page: &Page) -> Result<Vec<FlowRecord>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        self.run("list flows", LONG, |server| async move { query::flows(&server, &filter, &page).await })
            .await
    }

    async fn count_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.run("count flows", LONG, |server| async move { query::count_flows(&server, &filter).await })
            .await
    }

    async fn take_lease(&self, claim: &LeaseClaim) -> Result<LeaseAnswer, StoreError> {
        let claim = claim.clone();
        self.run("give the lease", SHORT, |server| async move { lease::take(&server, &claim).await }).await
    }

    async fn release_lease(&self, owner: &str) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.run("end the lease", SHORT, |server| async move { lease::release(&server, &owner).await }).await
    }

    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.run("show the lease", SHORT, |server| async move { lease::lease(&server).await }).await
    }
}

#[async_trait]
impl Files for MongoStore {
    async fn put_files(&self, files: &[NewFile]) -> Result<(), StoreError> {
        let files = files.to_vec();
        self.run("store files", LONG, |server| async move { files::put(&server, files).await }).await
    }

    async fn get_file(&self, sha256: &str, path: &Path) -> Result<(), StoreError> {
        let (sha256, path) = (sha256.to_owned(), path.to_owned());
        self.run("read a file", LONG, |server| async move { files::get(&server, &sha256, &path).await }).await
    }
}
