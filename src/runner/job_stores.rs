//! Which job store of the project each job's output goes to, and what it is made of on the worker.

use std::collections::{BTreeSet, HashMap};

use super::act::Act;
use crate::jobflow::flow::additional_stores;
use crate::model::job::JobRecord;
use crate::model::query::{FlowFilter, Page};
use crate::store::{JobStore, StoreError, Stores};

/// The job stores of some jobs.
pub struct JobStores<'a> {
    stores: &'a Stores,
    /// What the flow says, by its uuid; flows that say nothing are not in it.
    named: HashMap<String, String>,
}

impl<'a> JobStores<'a> {
    /// Returns the job stores of these jobs: one question, and none where the project has but one job store.
    pub async fn of(act: &'a Act, jobs: &[JobRecord]) -> Result<Self, StoreError> {
        let mut named = HashMap::new();
        if !act.stores.optional.is_empty() {
            let uuids: BTreeSet<&str> = jobs.iter().filter_map(JobRecord::flow_uuid).collect();
            let filter =
                FlowFilter { uuids: uuids.into_iter().map(str::to_owned).collect(), ..FlowFilter::default() };
            let page = Page { limit: None, ..Page::default() };
            let flows = act.stores.queue.flows(&filter, &page).await?;
            named.extend(flows.into_iter().filter_map(|flow| Some((flow.uuid, flow.jobstore?))));
        }
        Ok(Self { stores: &act.stores, named })
    }

    /// Returns the name of the job's store; none is the project's own.
    pub fn name(&self, job: &JobRecord) -> Option<&str> {
        self.named.get(job.flow_uuid()?).map(String::as_str)
    }

    /// Returns the job's store, or why there is none.
    pub fn store(&self, job: &JobRecord) -> Result<&'a JobStore, String> {
        let name = self.name(job);
        let known = || self.stores.optional.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.stores.job_store_of(name).ok_or_else(|| {
            format!(
                "its flow stores outputs in `{}`, which the project does not have among its optional_jobstores ({})",
                name.unwrap_or_default(),
                known()
            )
        })
    }

    /// Returns the names of the additional stores of the job's store, or why the job cannot do with them.
    pub fn additional(&self, job: &JobRecord) -> Result<Vec<String>, String> {
        let store = self.store(job)?;
        let missing: Vec<&str> =
            additional_stores(&job.job).filter(|name| !store.additional.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(store.additional.keys().cloned().collect());
        }
        // In the words of jobflow-remote, which users look for.
        Err(format!(
            "Additional stores {missing:?} are not configured for this project. Name them in the project file, under \
             jobstore.additional_stores"
        ))
    }
}
