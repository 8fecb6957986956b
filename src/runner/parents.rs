//! The outputs that jobs refer to, fetched for many jobs at once, and put in the place of the references.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::job_stores::JobStores;
use crate::jobflow::command;
use crate::jobflow::reference::{self, Properties};
use crate::model::job::JobRecord;
use crate::store::blobs::load_blobs;
use crate::store::{JobStore, OutputDocument, StoreError};

/// Outputs by the name of their job store and the uuid of their job.
pub struct Parents {
    by_store: BTreeMap<Option<String>, Outputs>,
}

#[derive(Default)]
struct Outputs {
    found: HashMap<String, OutputDocument>,
    /// Outputs of which a part cannot be had, and why.
    incomplete: HashMap<String, String>,
}

impl Parents {
    /// Returns the outputs that the jobs refer to, directly or inside other outputs, made whole: a few questions for
    /// all jobs together.
    pub async fn of(job_stores: &JobStores<'_>, jobs: &[JobRecord]) -> Result<Self, StoreError> {
        let mut wanted: BTreeMap<Option<String>, (&JobStore, BTreeSet<String>)> = BTreeMap::new();
        for job in jobs {
            let uuids = reference::references(&job.job);
            // A job without a store is refused with the reason when its turn comes.
            let Ok(store) = job_stores.store(job) else { continue };
            if !uuids.is_empty() {
                let name = job_stores.name(job).map(str::to_owned);
                wanted.entry(name).or_insert_with(|| (store, BTreeSet::new())).1.extend(uuids);
            }
        }
        let mut by_store = BTreeMap::new();
        for (name, (store, uuids)) in wanted {
            by_store.insert(name, Outputs::fetch(store, uuids).await?);
        }
        Ok(Self { by_store })
    }

    /// Replaces the references in `resolved`, the document of the job, and returns the outputs that the job needs on
    /// its worker because references to properties of Python objects in them stay.
    pub fn resolve<'a>(
        &'a self,
        store: Option<&str>,
        job: &JobRecord,
        resolved: &mut bson::Document,
    ) -> Result<Vec<&'a OutputDocument>, String> {
        let nothing = Outputs::default();
        let outputs = self.by_store.get(&store.map(str::to_owned));
        let known = outputs.unwrap_or(&nothing);
        if let Some((uuid, why)) =
            reference::references(&job.job).iter().find_map(|uuid| known.incomplete.get_key_value(uuid))
        {
            return Err(format!("the output of the job {uuid} cannot be had: {why}"));
        }
        let properties =
            if command::is_command(resolved) { Properties::Refused } else { Properties::LeftInPlace };
        let lookup = |uuid: &str| known.found.get(uuid).map(OutputDocument::output);
        let left = reference::resolve(resolved, &lookup, job.on_missing(), properties);
        let left = left.map_err(|error| error.to_string())?;
        Ok(outputs.map(|outputs| outputs.with_all_inside(left)).unwrap_or_default())
    }
}

impl Outputs {
    async fn fetch(store: &JobStore, uuids: BTreeSet<String>) -> Result<Self, StoreError> {
        let mut outputs = Self::default();
        let mut missing: Vec<String> = uuids.into_iter().collect();
        // References inside outputs: each round looks up what the last one has brought to light.
        while !missing.is_empty() {
            let found = store.outputs.newest_outputs(&missing).await?;
            let mut fresh: Vec<OutputDocument> = found.into_values().collect();
            for incomplete in load_blobs(store, &mut fresh).await? {
                outputs.incomplete.insert(incomplete.job.uuid, incomplete.why.to_string());
            }
            let inner: BTreeSet<String> =
                fresh.iter().flat_map(|output| reference::references_in(output.output())).collect();
            let asked: BTreeSet<String> = missing.into_iter().collect();
            outputs.found.extend(fresh.into_iter().map(|output| (output.key.uuid.clone(), output)));
            missing = inner
                .into_iter()
                .filter(|uuid| !asked.contains(uuid) && !outputs.found.contains_key(uuid))
                .collect();
        }
        Ok(outputs)
    }

    /// Returns these outputs and all that are referred to inside them.
    fn with_all_inside(&self, uuids: BTreeSet<String>) -> Vec<&OutputDocument> {
        let mut seen = uuids.clone();
        let mut open: Vec<String> = uuids.into_iter().collect();
        let mut needed = Vec::new();
        while let Some(uuid) = open.pop() {
            let Some(output) = self.found.get(&uuid) else { continue };
            let inner = reference::references_in(output.output());
            open.extend(inner.into_iter().filter(|uuid| seen.insert(uuid.clone())));
            needed.push(output);
        }
        needed
    }
}
