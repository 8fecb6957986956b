//! Outputs made whole: the parts that are kept in additional stores, put back in their place.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::Bson;

use super::{BlobDocument, JobStore, OutputDocument, StoreError};
use crate::jobflow::blobs::{self, BlobReference};
use crate::model::ids::JobKey;

/// An output that cannot be made whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The job whose output it is.
    pub job: JobKey,
    pub why: BlobError,
}

/// Why a part of an output cannot be had, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error(
        "a part of it is in the additional store `{store}`, which this job store does not have (it has {known})"
    )]
    NoSuchStore { store: String, known: String },
    #[error("its part {uuid} is not in the additional store `{store}`")]
    NoSuchBlob { store: String, uuid: String },
    #[error("its part {uuid} in the additional store `{store}` cannot be used: {why}")]
    Unusable { store: String, uuid: String, why: String },
}

/// Puts the parts that stand in additional stores into the outputs, and returns those outputs that stay without.
///
/// One question to each additional store. An output that is returned is left as it was; the others hold no references
/// to parts any more, but those inside the parts themselves: as in jobflow, one level is loaded. Parts that jobflow
/// 0.4.0 wrapped twice, because the job used two stores, come out whole. On failure no output is changed.
pub async fn load_blobs(
    store: &JobStore,
    outputs: &mut [OutputDocument],
) -> Result<Vec<Incomplete>, StoreError> {
    let wanted: Vec<BTreeSet<BlobReference>> =
        outputs.iter().map(|output| blobs::references_in(&output.document)).collect();
    let mut parts = Parts::default();
    parts.fetch(store, wanted.iter().flatten().cloned().collect()).await?;
    // Each wrapping is in another store, so that there cannot be more of them than stores.
    for _ in 1..store.additional.len() {
        let inner = parts.wrapped();
        if inner.is_empty() {
            break;
        }
        parts.fetch(store, inner).await?;
    }
    let mut incomplete = Vec::new();
    for (output, wanted) in outputs.iter_mut().zip(wanted) {
        match wanted.iter().find_map(|reference| parts.error(reference)) {
            Some(why) => incomplete.push(Incomplete { job: output.key.clone(), why }),
            None => blobs::put_in_place(&mut output.document, &mut |reference| parts.data(reference)),
        }
    }
    Ok(incomplete)
}

/// Removes the outputs of exactly these jobs together with their parts; those that do not exist are no failure.
///
/// The parts go first, so that what was stopped half-way can be begun again from the documents.
pub async fn remove_outputs(store: &JobStore, jobs: &[JobKey]) -> Result<(), StoreError> {
    for blobs in store.additional.values() {
        blobs.remove_blobs(jobs).await?;
    }
    store.outputs.remove_outputs(jobs).await
}

/// Takes apart what jobflow 0.4.0 wrapped twice, before it is stored: the output refers to the part itself, and the blob
/// that held nothing but the reference to it is gone. Readers that load one level, as jobflow does, then find the part.
pub fn undo_wrapping(output: &mut OutputDocument, blobs: &mut BTreeMap<String, Vec<BlobDocument>>) {
    let mut inner: HashMap<BlobReference, Bson> = HashMap::new();
    for (store, blobs) in &mut *blobs {
        blobs.retain(|blob| {
            let data = blob.document.get("data").filter(|data| BlobReference::read(data).is_some());
            let wrapper = BlobReference { store: store.clone(), blob_uuid: blob.blob_uuid.clone() };
            data.is_none_or(|data| inner.insert(wrapper, data.clone()).is_some())
        });
    }
    // Each round takes one wrapping away; a ring of them would never end.
    for _ in 0..inner.len() {
        blobs::put_in_place(&mut output.document, &mut |reference| inner.get(reference).cloned());
    }
}

/// What the additional stores answered.
#[derive(Default)]
struct Parts {
    found: HashMap<BlobReference, Result<Bson, BlobError>>,
}

impl Parts {
    async fn fetch(&mut self, store: &JobStore, wanted: BTreeSet<BlobReference>) -> Result<(), StoreError> {
        let mut by_store: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for reference in &wanted {
            by_store.entry(&reference.store).or_default().push(reference.blob_uuid.clone());
        }
        for (name, uuids) in by_store {
            self.fetch_from(store, name, uuids).await?;
        }
        Ok(())
    }

    async fn fetch_from(
        &mut self,
        store: &JobStore,
        name: &str,
        uuids: Vec<String>,
    ) -> Result<(), StoreError> {
        let Some(blobs) = store.additional.get(name) else {
            let why = no_such_store(store, name);
            uuids.into_iter().for_each(|uuid| self.note(name, uuid, Err(why.clone())));
            return Ok(());
        };
        match blobs.get_blobs(&uuids).await {
            Ok(mut data) => {
                for uuid in uuids {
                    let missing = || BlobError::NoSuchBlob { store: name.to_owned(), uuid: uuid.clone() };
                    let answer = data.remove(&uuid).ok_or_else(missing);
                    self.note(name, uuid, answer);
                }
                Ok(())
            }
            Err(error) if error.is_passing() => Err(error),
            // One that is damaged must not keep the others back.
            Err(_) => self.fetch_one_by_one(blobs.as_ref(), name, uuids).await,
        }
    }

    async fn fetch_one_by_one(
        &mut self,
        blobs: &dyn super::Blobs,
        name: &str,
        uuids: Vec<String>,
    ) -> Result<(), StoreError> {
        for uuid in uuids {
            let missing = BlobError::NoSuchBlob { store: name.to_owned(), uuid: uuid.clone() };
            let answer = match blobs.get_blobs(std::slice::from_ref(&uuid)).await {
                Ok(mut data) => data.remove(&uuid).ok_or(missing),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => Err(BlobError::Unusable {
                    store: name.to_owned(),
                    uuid: uuid.clone(),
                    why: error.to_string(),
                }),
            };
            self.note(name, uuid, answer);
        }
        Ok(())
    }

    fn note(&mut self, store: &str, blob_uuid: String, answer: Result<Bson, BlobError>) {
        self.found.insert(BlobReference { store: store.to_owned(), blob_uuid }, answer);
    }

    /// Returns the references that are all there is in a blob and that were not asked for yet.
    fn wrapped(&self) -> BTreeSet<BlobReference> {
        let data = self.found.values().filter_map(|answer| answer.as_ref().ok());
        data.filter_map(BlobReference::read).filter(|reference| !self.found.contains_key(reference)).collect()
    }

    /// Returns the reference whose data stands for this one: itself, or the one that was wrapped.
    fn innermost(&self, reference: &BlobReference) -> BlobReference {
        let mut current = reference.clone();
        // As many steps as there are references: a ring of them ends, too.
        for _ in 0..self.found.len() {
            match self.found.get(&current).and_then(|answer| answer.as_ref().ok()).map(BlobReference::read) {
                Some(Some(inner)) => current = inner,
                _ => break,
            }
        }
        current
    }

    fn error(&self, reference: &BlobReference) -> Option<BlobError> {
        self.found.get(&self.innermost(reference))?.as_ref().err().cloned()
    }

    fn data(&self, reference: &BlobReference) -> Option<Bson> {
        self.found.get(&self.innermost(reference))?.as_ref().ok().cloned()
    }
}

fn no_such_store(store: &JobStore, name: &str) -> BlobError {
    let known: Vec<String> = store.additional.keys().map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    BlobError::NoSuchStore { store: name.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    fn reference(store: &str, uuid: &str) -> Bson {
        bson!({"@class": "", "@module": "", "blob_uuid": uuid, "store": store})
    }

    fn blob(uuid: &str, data: impl Into<Bson>) -> BlobDocument {
        let document = doc! {"blob_uuid": uuid, "data": data.into(), "job_uuid": "j", "job_index": 1};
        BlobDocument { blob_uuid: uuid.into(), job: JobKey::new("j", 1), document }
    }

    /// As in the documents of a real job with the stores `data` and `gfs`.
    #[test]
    fn wrappings_are_undone_before_parts_are_stored() {
        let document = doc! {"output": {"a": reference("gfs", "w"), "b": reference("gfs", "g"), "c": reference("ring", "r")}};
        let mut output = OutputDocument { key: JobKey::new("j", 1), document };
        let mut blobs = BTreeMap::from([
            ("data".to_owned(), vec![blob("d", bson!([0, 1]))]),
            (
                "gfs".to_owned(),
                vec![blob("w", reference("other", "o")), blob("g", bson!({"x": reference("data", "d")}))],
            ),
            ("other".to_owned(), vec![blob("o", reference("data", "d"))]),
            ("ring".to_owned(), vec![blob("r", reference("ring", "r"))]),
        ]);
        undo_wrapping(&mut output, &mut blobs);
        let expected =
            bson!({"a": reference("data", "d"), "b": reference("gfs", "g"), "c": reference("ring", "r")});
        assert_eq!(output.output(), &expected);
        let left: Vec<&str> = blobs.values().flatten().map(|blob| blob.blob_uuid.as_str()).collect();
        assert_eq!(left, ["d", "g"], "data that only holds a reference somewhere is no wrapping");
    }
}
