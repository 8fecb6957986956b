//! Locks on documents, as the Python side has them (jobflow-remote 1.0, `utils/db.py`, `MongoLock`): `lock_id` and
//! `lock_time`.
//!
//! Its locks never end by themselves. Ours say until when they hold, in a field of their own, `jobferry_lock`: what is
//! left of a killed program is cleared by [`clear_expired`]. Only on a standalone server: with transactions nothing is
//! locked.

use std::collections::BTreeSet;
use std::time::Duration;

use ::mongodb::bson::{Bson, Document, doc};

use super::access::{Access, Command, Fault, durable};
use super::moves::by_key;
use super::{LONG, Server};
use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::store::actions::{Locks, Mandate};

/// Longer than the longest call: whoever waits for an answer has given up long before.
const HELD: Duration = LONG.saturating_mul(2);

/// A lock of ours, and what it is on.
pub(super) struct Held {
    pub(super) id: String,
    jobs: BTreeSet<JobKey>,
    flows: BTreeSet<String>,
}

impl Held {
    /// Returns a lock on nothing yet, under a name that nobody else has.
    pub(super) fn nothing() -> Self {
        Self { id: uuid::Uuid::new_v4().to_string(), jobs: BTreeSet::new(), flows: BTreeSet::new() }
    }

    /// Returns whether it was tried to lock all of these.
    pub(super) fn covers<'a>(
        &self,
        mut jobs: impl Iterator<Item = &'a JobKey>,
        mut flows: impl Iterator<Item = &'a String>,
    ) -> bool {
        jobs.all(|key| self.jobs.contains(key)) && flows.all(|uuid| self.flows.contains(uuid))
    }

    /// Locks those of the documents that are free; who got them is seen by reading them again.
    pub(super) async fn take(
        &mut self,
        server: &Server,
        jobs: impl Iterator<Item = JobKey>,
        flows: impl Iterator<Item = String>,
        mandate: &Mandate,
    ) -> Result<(), Fault> {
        let jobs: Vec<JobKey> = jobs.filter(|key| self.jobs.insert(key.clone())).collect();
        let flows: Vec<String> = flows.filter(|uuid| self.flows.insert(uuid.clone())).collect();
        let update = self.update(mandate);
        let mut access = Access::plain(server);
        let of_flow = |uuid: &String| statement(doc! { "uuid": uuid }, &update, mandate.locks);
        let statements: Vec<Document> = flows.iter().map(of_flow).collect();
        access.write(Command::Update, &server.names.flows, &statements).await?.all()?;
        let of_job = |key: &JobKey| {
            let key = doc! { "uuid": &key.uuid, "index": key.index };
            let mut statement = statement(key, &update, mandate.locks);
            statement.insert("hint", by_key());
            statement
        };
        let statements: Vec<Document> = jobs.iter().map(of_job).collect();
        access.write(Command::Update, &server.names.jobs, &statements).await?.all()?;
        Ok(())
    }

    fn update(&self, mandate: &Mandate) -> Document {
        let held = i64::try_from(HELD.as_millis()).unwrap_or(i64::MAX);
        let until = Timestamp::from_millis(mandate.at.timestamp_millis().saturating_add(held));
        doc! { "$set": {
            "lock_id": &self.id,
            "lock_time": mandate.at,
            "jobferry_lock": { "id": &self.id, "until": until, "by": &mandate.by },
        } }
    }

    /// Lets go of all documents that are still ours.
    pub(super) async fn release(self, server: &Server) -> Result<(), Fault> {
        let mut access = Access::plain(server);
        let of_job = |key: &JobKey| {
            let query = doc! { "uuid": &key.uuid, "index": key.index, "lock_id": &self.id };
            doc! { "q": query, "u": free(), "hint": by_key() }
        };
        // The flow first: a job that is free can be checked out, which looks at its flow.
        let flows: Vec<&String> = self.flows.iter().collect();
        let flows =
            doc! { "q": { "uuid": { "$in": flows }, "lock_id": &self.id }, "u": free(), "multi": true };
        access.write(Command::Update, &server.names.flows, &[flows]).await?.all()?;
        let jobs: Vec<Document> = self.jobs.iter().map(of_job).collect();
        access.write(Command::Update, &server.names.jobs, &jobs).await?.all()?;
        Ok(())
    }
}

/// Returns the update that lets go.
pub(super) fn free() -> Document {
    doc! { "$set": { "lock_id": null, "lock_time": null }, "$unset": { "jobferry_lock": "" } }
}

fn statement(mut query: Document, update: &Document, locks: Locks) -> Document {
    if locks == Locks::Honour {
        query.insert("lock_id", Bson::Null);
    }
    doc! { "q": query, "u": update.clone() }
}

/// Lets go of what killed programs of ours had locked; returns how many documents.
pub(super) async fn clear_expired(server: &Server, at: Timestamp) -> Result<u64, Fault> {
    let filter = doc! {
        "lock_id": { "$type": "string" },
        "jobferry_lock.until": { "$lt": at },
        // Somebody may have broken it and hold the document now.
        "$expr": { "$eq": ["$lock_id", "$jobferry_lock.id"] },
    };
    let mut cleared: u64 = 0;
    for collection in [server.jobs(), server.flows()] {
        let update = collection.update_many(filter.clone(), free()).write_concern(durable()).await?;
        cleared = cleared.saturating_add(update.modified_count);
    }
    Ok(cleared)
}
