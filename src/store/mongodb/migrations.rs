//! The schema: indexes and the auxiliary documents, brought to this program's version under a lock.
//!
//! The version is in `jf_auxiliary`, in a document of its own (`_id: jobferry_schema`), together with the lock, which
//! ends by itself. Creating an index that is there does nothing, so all indexes are asked for at each start: the Python
//! side's `jf admin index rebuild` may have dropped ours.

use std::time::Duration;

use ::mongodb::Database;
use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::ReturnDocument;

use super::super::StoreError;
use super::Server;
use super::access::{Fault, durable, number};
use super::files::{CHUNKS, FILES};

/// All migrations, in their order. A released one is never edited.
const MIGRATIONS: [(u32, &str); 2] = [
    (1, include_str!("../../../migrations/mongodb/0001_first.json")),
    (2, include_str!("../../../migrations/mongodb/0002_growth.json")),
];

pub(super) const SCHEMA_ID: &str = "jobferry_schema";

/// The lock outlives its dead owner by this. Building the indexes of a database of millions of jobs takes minutes: a
/// living owner renews it.
const LOCK_MILLISECONDS: i64 = 10_000;

/// How often a living owner renews the lock: two renewals may fail before others take it.
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// Waits for the lock: 600 times a tenth of a second.
const LOCK_TRIES: u32 = 600;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The version of the Python package whose documents these are; its `jf admin upgrade` reads it.
pub(super) const JOBFLOW_REMOTE_VERSION: &str = "1.0.1";
pub(super) const JOBFLOW_VERSION: &str = "0.4.0";

fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |(version, _)| *version)
}

/// Runs what is missing and returns the versions it ran.
pub(super) async fn migrate(server: &Server) -> Result<Vec<u32>, Fault> {
    let found = version(server).await?;
    refuse_newer(server, found)?;
    if found == newest() {
        // The usual case costs one read: every command begins with this.
        return Ok(Vec::new());
    }
    let owner = ObjectId::new();
    let found = lock(server, owner).await?;
    let done = run_and_renew(server, found, owner).await;
    let released = unlock(server, owner).await;
    let done = done?;
    released?;
    Ok(done)
}

/// Makes the indexes that are not there: `jf admin index rebuild` of the Python side drops ours.
pub(super) async fn restore_indexes(server: &Server) -> Result<(), Fault> {
    for (_, text) in MIGRATIONS {
        run_commands(server, text).await?;
    }
    Ok(())
}

async fn run_and_renew(server: &Server, found: u32, owner: ObjectId) -> Result<Vec<u32>, Fault> {
    let mut work = std::pin::pin!(run(server, found));
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(RENEW_EVERY) => renew(server, owner).await?,
        }
    }
}

async fn renew(server: &Server, owner: ObjectId) -> Result<(), Fault> {
    let until = doc! { "$set": { "jobferry_schema.locked_until": { "$add": ["$$NOW", LOCK_MILLISECONDS] } } };
    let filter = doc! { "_id": SCHEMA_ID, "jobferry_schema.lock": owner };
    server.auxiliary().update_one(filter, vec![until]).write_concern(durable()).await?;
    Ok(())
}

async fn run(server: &Server, found: u32) -> Result<Vec<u32>, Fault> {
    refuse_newer(server, found)?;
    create_auxiliary(server).await?;
    let mut done = Vec::new();
    for (version, text) in MIGRATIONS {
        run_commands(server, text).await?;
        if version > found {
            set_version(server, version).await?;
            done.push(version);
        }
    }
    Ok(done)
}

fn refuse_newer(server: &Server, found: u32) -> Result<(), Fault> {
    let known = newest();
    if found > known {
        return Err(StoreError::NewerSchema { place: server.place.clone(), found, known }.into());
    }
    Ok(())
}

async fn version(server: &Server) -> Result<u32, Fault> {
    let found = server.auxiliary().find_one(doc! { "_id": SCHEMA_ID }).await?;
    Ok(found.as_ref().map_or(0, read_version))
}

fn read_version(document: &Document) -> u32 {
    let schema = document.get_document("jobferry_schema").ok();
    let version = schema.and_then(|schema| schema.get("version")).and_then(number);
    version.and_then(|version| u32::try_from(version).ok()).unwrap_or_default()
}

async fn set_version(server: &Server, version: u32) -> Result<(), Fault> {
    let set = doc! { "$set": { "jobferry_schema.version": i64::from(version) } };
    server.auxiliary().update_one(doc! { "_id": SCHEMA_ID }, set).write_concern(durable()).await?;
    Ok(())
}

/// Takes the lock and returns the version found under it.
async fn lock(server: &Server, owner: ObjectId) -> Result<u32, Fault> {
    for _ in 0..LOCK_TRIES {
        if let Some(document) = try_lock(server, owner).await? {
            return Ok(read_version(&document));
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(Fault::Strange(
        "another program has been changing the schema for over a minute; try again later".into(),
    ))
}

async fn try_lock(server: &Server, owner: ObjectId) -> Result<Option<Document>, Fault> {
    let is_free = doc! { "$or": [
        { "$lte": ["$jobferry_schema.lock", null] },
        { "$lte": ["$jobferry_schema.locked_until", "$$NOW"] },
    ] };
    let until = doc! { "$add": ["$$NOW", LOCK_MILLISECONDS] };
    let version = doc! { "$ifNull": ["$jobferry_schema.version", 0] };
    let mine = doc! { "version": version, "lock": owner, "locked_until": until };
    let schema = doc! { "$cond": [is_free, mine, "$jobferry_schema"] };
    let taken = server
        .auxiliary()
        .find_one_and_update(doc! { "_id": SCHEMA_ID }, vec![doc! { "$set": { "jobferry_schema": schema } }])
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(durable())
        .await?;
    let has_it = |document: &Document| {
        let schema = document.get_document("jobferry_schema");
        schema.is_ok_and(|schema| schema.get_object_id("lock").is_ok_and(|lock| lock == owner))
    };
    Ok(taken.filter(has_it))
}

async fn unlock(server: &Server, owner: ObjectId) -> Result<(), Fault> {
    let filter = doc! { "_id": SCHEMA_ID, "jobferry_schema.lock": owner };
    let unset = doc! { "$unset": { "jobferry_schema.lock": "", "jobferry_schema.locked_until": "" } };
    server.auxiliary().update_one(filter, unset).write_concern(durable()).await?;
    Ok(())
}

/// Makes those of the four documents that `jf admin reset` of the Python side makes which are not there.
///
/// A database that has jobs and does not say its version is older than that: it is left to say so until it is upgraded.
pub(super) async fn create_auxiliary(server: &Server) -> Result<(), Fault> {
    let auxiliary = server.auxiliary();
    let documents = [
        ("next_id", doc! { "next_id": 1 }),
        ("running_runner", doc! { "running_runner": null }),
        ("runner_pings", doc! { "runner_pings": [] }),
        (
            "jobflow_remote_version",
            doc! {
                "jobflow_remote_version": JOBFLOW_REMOTE_VERSION,
                "jobflow_version": JOBFLOW_VERSION,
                "full_environment": {},
            },
        ),
    ];
    for (key, document) in documents {
        let is_there = auxiliary.find_one(doc! { key: { "$exists": true } }).await?.is_some();
        let is_old = key == "jobflow_remote_version" && server.jobs().find_one(doc! {}).await?.is_some();
        if !is_there && !is_old {
            auxiliary.insert_one(document).write_concern(durable()).await?;
        }
    }
    Ok(())
}

async fn run_commands(server: &Server, text: &str) -> Result<(), Fault> {
    for mut command in commands(text)? {
        let plain = command.get_str("createIndexes").unwrap_or_default().to_owned();
        let (database, name) = place(server, &plain);
        command.insert("createIndexes", name);
        database.run_command(command).await?;
    }
    Ok(())
}

fn commands(text: &str) -> Result<Vec<Document>, Fault> {
    let broken = |why: String| Fault::Strange(format!("an embedded migration cannot be read: {why}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
    match Bson::try_from(value) {
        Ok(Bson::Document(mut file)) => {
            let commands = file.get_array_mut("commands").map_err(|error| broken(error.to_string()))?;
            Ok(commands.iter().filter_map(|command| command.as_document().cloned()).collect())
        }
        other => Err(broken(format!("{other:?}"))),
    }
}

/// Returns the database and the collection that a migration means by its plain name.
fn place<'s>(server: &'s Server, name: &'s str) -> (&'s Database, &'s str) {
    let names = &server.names;
    match name {
        "jobs" => (&server.database, &names.jobs),
        "flows" => (&server.database, &names.flows),
        "batches" => (&server.database, &names.batches),
        "files" => (&server.database, FILES),
        "chunks" => (&server.database, CHUNKS),
        "outputs" => (&server.outputs.database, &server.outputs.collection),
        other => (&server.database, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_count_up_and_can_be_read() {
        for (place, (version, text)) in MIGRATIONS.into_iter().enumerate() {
            assert_eq!(usize::try_from(version).unwrap(), place + 1);
            let commands = commands(text).unwrap();
            assert!(!commands.is_empty());
            assert!(commands.iter().all(|command| command.get_str("createIndexes").is_ok()));
        }
    }
}
