//! What an administrator does to the queue's database.

use std::sync::Arc;
use std::time::Duration;

use ::mongodb::Collection;
use ::mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use ::mongodb::error::ErrorKind;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use tokio::sync::mpsc::{Receiver, Sender};

use super::access::{Access, Command, Fault, durable, number};
use super::cancellations::FIELD as CANCELLATION;
use super::files::{CHUNKS, FILES};
use super::migrations::{
    JOBFLOW_REMOTE_VERSION, JOBFLOW_VERSION, SCHEMA_ID, create_auxiliary, restore_indexes,
};
use super::{LONG, MIGRATION, MongoStore, SHORT, Server, query};
use crate::model::query::{FlowFilter, JobFilter, Locked};
use crate::store::StoreError;
use crate::store::admin::{
    Admin, Counts, Direction, IndexMade, Inventory, NewIndex, Obstacle, Part, Received, RunnerLock, Scope,
    Upgrade, UpgradeStep,
};

/// Copying a database of millions of jobs takes an hour on a slow line.
const COPY: Duration = Duration::from_secs(4 * 3600);

/// Documents that are inserted together, of a megabyte together at the most where they are large.
const RESTORED_AT_ONCE: usize = 500;
const RESTORED_BYTES: usize = 1 << 20;

/// The server's code for a collection that is not there.
const NO_COLLECTION: i32 = 26;

/// The name of the state in releases before 1.0.
const OLD_STATE: &str = "TERMINATED";
const NEW_STATE: &str = "RUN_FINISHED";

#[async_trait]
impl Admin for MongoStore {
    fn database(&self) -> &str {
        self.server.database.name()
    }

    async fn inventory(&self) -> Result<Inventory, StoreError> {
        self.run("count its documents", LONG, |server| async move { inventory(&server).await }).await
    }

    async fn reset(&self, scope: Scope) -> Result<(), StoreError> {
        self.run("be reset", MIGRATION, move |server| async move { reset(&server, scope).await }).await
    }

    async fn unlock_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        let filter = query::job_filter(&JobFilter { locked: Some(Locked::Held), ..filter.clone() });
        self.run("unlock jobs", LONG, |server| async move { unlock(&server.jobs(), filter).await }).await
    }

    async fn unlock_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError> {
        let filter = FlowFilter { locked: Some(Locked::Held), ..filter.clone() };
        let unlock = |server: Arc<Server>| async move {
            let filter = query::flow_filter(&server, &filter).await?;
            unlock(&server.flows(), filter).await
        };
        self.run("unlock flows", LONG, unlock).await
    }

    async fn unlock_runner(&self) -> Result<RunnerLock, StoreError> {
        self.run("unlock the runner", SHORT, |server| async move { unlock_runner(&server).await }).await
    }

    async fn rebuild_indexes(&self) -> Result<(), StoreError> {
        self.run("rebuild indexes", MIGRATION, |server| async move { rebuild(&server).await }).await
    }

    async fn create_index(&self, index: &NewIndex) -> Result<IndexMade, StoreError> {
        let index = index.clone();
        let create = |server: Arc<Server>| async move { create_index(&server, &index).await };
        self.run("make an index", MIGRATION, create).await
    }

    async fn plan_upgrade(&self) -> Result<Upgrade, StoreError> {
        self.run("look for old documents", LONG, |server| async move { plan(&server).await }).await
    }

    async fn upgrade(&self) -> Result<(), StoreError> {
        self.run("be upgraded", MIGRATION, |server| async move { upgrade(&server).await }).await
    }

    async fn dump(&self, to: Sender<(Part, RawDocumentBuf)>) -> Result<(), StoreError> {
        self.run("be copied", COPY, |server| async move { dump(&server, &to).await }).await
    }

    async fn restore(&self, from: Receiver<Received>) -> Result<Counts, StoreError> {
        self.run("take a backup", COPY, |server| async move { restore(&server, from).await }).await
    }
}

impl Server {
    fn batches(&self) -> Collection<Document> {
        self.database.collection(&self.names.batches)
    }

    fn output_documents(&self) -> Collection<Document> {
        self.outputs.database.collection(&self.outputs.collection)
    }

    fn collection_of(&self, part: Part) -> &str {
        match part {
            Part::Flows => &self.names.flows,
            Part::Jobs => &self.names.jobs,
            Part::Batches => &self.names.batches,
            Part::Auxiliary => &self.names.auxiliary,
        }
    }
}

async fn inventory(server: &Server) -> Result<Inventory, Fault> {
    let all = Document::new;
    let files: Collection<Document> = server.database.collection(FILES);
    let counter = server.auxiliary().find_one(has("next_id")).await?;
    let next_number = counter.and_then(|counter| counter.get("next_id").and_then(number)).unwrap_or(1);
    Ok(Inventory {
        jobs: server.jobs().count_documents(all()).await?,
        flows: server.flows().count_documents(all()).await?,
        batches: server.batches().count_documents(all()).await?,
        files: files.count_documents(all()).await?,
        outputs: server.output_documents().estimated_document_count().await?,
        next_number,
    })
}

fn has(field: &str) -> Document {
    doc! { field: { "$exists": true } }
}

/// Flows go first: jobs without a flow are not shown as one, and the next reset finds them.
async fn reset(server: &Server, scope: Scope) -> Result<(), Fault> {
    if scope == Scope::Outputs {
        // Not dropped: another program may have made indexes on the outputs.
        server.output_documents().delete_many(doc! {}).write_concern(durable()).await?;
    }
    let (files, chunks) = (server.database.collection(FILES), server.database.collection(CHUNKS));
    for collection in [server.flows(), server.jobs(), server.batches(), files, chunks] {
        collection.drop().write_concern(durable()).await?;
    }
    // The counter after the jobs: a number that is given out again must have nobody.
    reset_auxiliary(server).await?;
    create_auxiliary(server).await?;
    restore_indexes(server).await
}

async fn reset_auxiliary(server: &Server) -> Result<(), Fault> {
    let auxiliary = server.auxiliary();
    let nobody = doc! {
        "$set": { "running_runner": null, "lock_id": null, "lock_time": null }, "$unset": { "jobferry_lease": "" },
    };
    let version = doc! { "$set": { "jobflow_remote_version": JOBFLOW_REMOTE_VERSION } };
    let updates = [
        ("next_id", doc! { "$set": { "next_id": 1 } }),
        ("running_runner", nobody),
        ("runner_pings", doc! { "$set": { "runner_pings": [] } }),
        ("jobflow_remote_version", version),
    ];
    for (field, update) in updates {
        auxiliary.update_one(has(field), update).write_concern(durable()).await?;
    }
    auxiliary.delete_many(has("batch_processes")).write_concern(durable()).await?;
    Ok(())
}

async fn unlock(collection: &Collection<Document>, filter: Document) -> Result<u64, Fault> {
    let free = doc! { "$set": { "lock_id": null, "lock_time": null } };
    Ok(collection.update_many(filter, free).write_concern(durable()).await?.modified_count)
}

async fn unlock_runner(server: &Server) -> Result<RunnerLock, Fault> {
    let free = doc! { "$set": { "lock_id": null, "lock_time": null } };
    let mut locked = has("running_runner");
    locked.insert("lock_id", doc! { "$ne": null });
    let answer = server.auxiliary().update_many(locked, free).write_concern(durable()).await?;
    if answer.modified_count > 0 {
        return Ok(RunnerLock::Unlocked);
    }
    let found = server.auxiliary().find_one(has("running_runner")).await?;
    Ok(if found.is_some() { RunnerLock::NotLocked } else { RunnerLock::NoDocument })
}

async fn rebuild(server: &Server) -> Result<(), Fault> {
    let collections =
        [server.jobs(), server.flows(), server.auxiliary(), server.batches(), server.output_documents()];
    for collection in collections {
        match collection.drop_indexes().await {
            Err(error) if is_missing(&error) => {}
            answer => answer?,
        }
    }
    restore_indexes(server).await
}

fn is_missing(error: &::mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == NO_COLLECTION)
}

async fn create_index(server: &Server, index: &NewIndex) -> Result<IndexMade, Fault> {
    let direction = match index.direction {
        Direction::Ascending => 1,
        Direction::Descending => -1,
    };
    // Named as pymongo names it.
    let name = format!("{}_{direction}", index.key);
    let mut specification = doc! { "key": { &index.key: direction }, "name": name };
    if index.unique {
        specification.insert("unique", true);
    }
    let command = doc! { "createIndexes": server.collection_of(index.part), "indexes": [specification] };
    server.database.run_command(command).await?;
    Ok(IndexMade::Created)
}

async fn plan(server: &Server) -> Result<Upgrade, Fault> {
    let auxiliary = server.auxiliary();
    let mut steps = Vec::new();
    if auxiliary.find_one(has("running_runner")).await?.is_none() {
        steps.push(UpgradeStep::RunnerDocument);
    }
    let states = server.jobs().count_documents(doc! { "state": OLD_STATE }).await?;
    let previous = server.jobs().count_documents(doc! { "previous_state": OLD_STATE }).await?;
    let old: Vec<Document> = auxiliary.find(has("batch_processes")).await?.try_collect().await?;
    let documents = u64::try_from(old.len()).unwrap_or(u64::MAX);
    let counted = [
        (states, UpgradeStep::States(states)),
        (previous, UpgradeStep::PreviousStates(previous)),
        (documents, UpgradeStep::BatchProcesses(documents)),
    ];
    steps.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, step)| step));
    let from = auxiliary.find_one(has("jobflow_remote_version")).await?;
    let from = from.and_then(|version| version.get_str("jobflow_remote_version").ok().map(str::to_owned));
    if !steps.is_empty() || is_older(from.as_deref().unwrap_or_default()) {
        steps.push(UpgradeStep::Version(JOBFLOW_REMOTE_VERSION.to_owned()));
    }
    let running = doc! { "batch_state": { "$in": ["SUBMITTED", "RUNNING"] } };
    let running = server.batches().count_documents(running).await?;
    let processes = old.iter().map(processes_in).sum();
    let obstacles =
        [(processes, Obstacle::OldBatchProcesses(processes)), (running, Obstacle::RunningBatches(running))];
    let obstacles = obstacles.into_iter().filter(|(count, _)| *count > 0).map(|(_, obstacle)| obstacle);
    Ok(Upgrade { from, steps, obstacles: obstacles.collect() })
}

/// Returns the number of batch processes in a document of before 1.0: `{worker: {process: batch}}`.
fn processes_in(document: &Document) -> u64 {
    let workers = document.get_document("batch_processes").into_iter().flat_map(Document::values);
    let counts = workers.map(|worker| worker.as_document().map_or(0, Document::len));
    counts.map(|count| u64::try_from(count).unwrap_or(u64::MAX)).sum()
}

/// Returns whether a version is before the one whose documents these are; a text that is none is.
fn is_older(version: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        text.split('.').map_while(|part| digits(part).parse().ok()).collect()
    };
    numbers(version) < numbers(JOBFLOW_REMOTE_VERSION)
}

/// Each step can be done twice; the version comes last.
async fn upgrade(server: &Server) -> Result<(), Fault> {
    create_auxiliary(server).await?;
    for field in ["state", "previous_state"] {
        let renamed = doc! { "$set": { field: NEW_STATE } };
        server.jobs().update_many(doc! { field: OLD_STATE }, renamed).write_concern(durable()).await?;
    }
    server.auxiliary().delete_many(has("batch_processes")).write_concern(durable()).await?;
    let version = doc! {
        "$set": { "jobflow_remote_version": JOBFLOW_REMOTE_VERSION },
        "$setOnInsert": { "jobflow_version": JOBFLOW_VERSION, "full_environment": {} },
    };
    let auxiliary = server.auxiliary();
    let update = auxiliary.update_one(has("jobflow_remote_version"), version);
    update.upsert(true).write_concern(durable()).await?;
    Ok(())
}

async fn dump(server: &Server, to: &Sender<(Part, RawDocumentBuf)>) -> Result<(), Fault> {
    for part in Part::ALL {
        let collection: Collection<RawDocumentBuf> = server.database.collection(server.collection_of(part));
        let mut documents = collection.find(copied()).await?;
        while let Some(document) = documents.try_next().await? {
            let gone = |_| Fault::Strange("nobody takes the documents any more".to_owned());
            to.send((part, document)).await.map_err(gone)?;
        }
    }
    Ok(())
}

/// Returns the filter that leaves out what is ours and about this database: the version of the schema, and orders to end
/// processes, which one runner follows.
fn copied() -> Document {
    doc! { "_id": { "$ne": SCHEMA_ID }, CANCELLATION: { "$exists": false } }
}

async fn restore(server: &Server, mut from: Receiver<Received>) -> Result<Counts, Fault> {
    let mut counts = Counts::default();
    let mut batch = Arriving::new(Part::Flows);
    let mut auxiliary_is_empty = false;
    while let Some(received) = from.recv().await {
        let (part, document) = received?;
        if part != batch.part || batch.is_full() {
            batch.store(server, &mut counts).await?;
            batch = Arriving::new(part);
        }
        if part == Part::Auxiliary && !std::mem::replace(&mut auxiliary_is_empty, true) {
            server.auxiliary().delete_many(copied()).write_concern(durable()).await?;
        }
        batch.push(document)?;
    }
    batch.store(server, &mut counts).await?;
    forget_runners(server).await?;
    create_auxiliary(server).await?;
    restore_indexes(server).await?;
    Ok(counts)
}

/// Whoever acted on the database that was copied does not act on this one.
async fn forget_runners(server: &Server) -> Result<(), Fault> {
    let nobody = doc! {
        "$set": { "running_runner": null, "lock_id": null, "lock_time": null }, "$unset": { "jobferry_lease": "" },
    };
    let mut somebody = has("running_runner");
    let fields = ["running_runner", "lock_id", "jobferry_lease"];
    somebody.insert("$or", fields.map(|field| doc! { field: { "$ne": null } }).to_vec());
    server.auxiliary().update_one(somebody, nobody).write_concern(durable()).await?;
    Ok(())
}

/// Documents of a backup that will be inserted together.
struct Arriving {
    part: Part,
    documents: Vec<Document>,
    bytes: usize,
}

impl Arriving {
    fn new(part: Part) -> Self {
        Self { part, documents: Vec::new(), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.documents.len() >= RESTORED_AT_ONCE || self.bytes >= RESTORED_BYTES
    }

    fn push(&mut self, document: RawDocumentBuf) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(document.as_bytes().len());
        let document = Document::try_from(document)?;
        let is_schema = document.get("_id").and_then(Bson::as_str) == Some(SCHEMA_ID);
        if !is_schema && !document.contains_key(CANCELLATION) {
            self.documents.push(document);
        }
        Ok(())
    }

    async fn store(&self, server: &Server, counts: &mut Counts) -> Result<(), Fault> {
        if self.documents.is_empty() {
            return Ok(());
        }
        let collection = server.collection_of(self.part);
        let reply = Access::plain(server).write(Command::Insert, collection, &self.documents).await?;
        counts.add(self.part, reply.all()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for old in ["", "0.1.0", "0.1.10", "1.0", "1.0.0", "1.0.0rc1"] {
            assert!(is_older(old), "{old}");
        }
        for new in ["1.0.1", "1.0.10", "1.1.0", "2.0", "1.0.1.post1+local"] {
            assert!(!is_older(new), "{new}");
        }
    }

    #[test]
    fn old_batch_processes_are_counted() {
        let document = doc! { "batch_processes": { "a": { "12": "x", "13": "y" }, "b": {} } };
        assert_eq!(processes_in(&document), 2);
        assert_eq!(processes_in(&doc! { "batch_processes": null }), 0);
    }
}
