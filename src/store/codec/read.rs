//! Reading documents: each field is taken once, by name, and what has the wrong type is named.

use std::str::FromStr;

use bson::{Array, Bson, Document};

use super::{FERRY, Malformed, process_id};
use crate::model::Timestamp;
use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::model::job::{Ferry, FlowId, FlowRecord, HistoryEntry, JobRecord, Lock, Outcome, Remote};

type Read<T> = Result<T, Malformed>;

/// Returns the record of a job document, or which field cannot be read.
///
/// Fields that may be null may be missing; `uuid`, `index`, `db_id`, `worker`, `state`, `created_on`, `updated_on`
/// and `job` have to be there.
pub fn read_job(document: Document) -> Read<JobRecord> {
    let mut fields = Fields::of(document, "");
    let mut ours = fields.inner(FERRY)?;
    let mut remote = remote(fields.inner("remote")?)?;
    remote.process_id = process_id::join(remote.process_id, ours.optional_string("process_id")?);
    Ok(JobRecord {
        key: JobKey { uuid: fields.string("uuid")?, index: fields.integer("index")? },
        db_id: fields.string("db_id")?,
        worker: fields.string("worker")?,
        state: fields.parsed("state")?,
        remote,
        parents: fields.strings("parents")?,
        previous_state: fields.optional_parsed("previous_state")?,
        error: fields.optional_string("error")?,
        lock: fields.lock()?,
        run_dir: fields.optional_string("run_dir")?,
        start_time: fields.optional_time("start_time")?,
        end_time: fields.optional_time("end_time")?,
        created_on: fields.time("created_on")?,
        updated_on: fields.time("updated_on")?,
        priority: fields.integer_or_zero("priority")?,
        exec_config: fields.exec_config()?,
        resources: fields.optional_document("resources")?,
        stored_data: fields.optional_document("stored_data")?,
        job: fields.document("job")?,
        ferry: ferry(ours)?,
    })
}

/// Returns the record of a flow document, or which field cannot be read.
pub fn read_flow(document: Document) -> Read<FlowRecord> {
    let mut fields = Fields::of(document, "");
    Ok(FlowRecord {
        uuid: fields.string("uuid")?,
        jobs: fields.strings("jobs")?,
        state: fields.parsed::<FlowState>("state")?,
        name: fields.string("name")?,
        lock: fields.lock()?,
        created_on: fields.time("created_on")?,
        updated_on: fields.time("updated_on")?,
        metadata: fields.optional_document("metadata")?.unwrap_or_default(),
        parents: fields.optional_document("parents")?.unwrap_or_default(),
        ids: fields.flow_ids()?,
        jobstore: fields.optional_string("jobstore")?,
    })
}

fn remote(mut fields: Fields) -> Read<Remote> {
    Ok(Remote {
        step_attempts: fields.integer_or_zero("step_attempts")?,
        queue_state: fields.optional_string("queue_state")?,
        process_id: fields.optional_string("process_id")?,
        retry_time_limit: fields.optional_time("retry_time_limit")?,
        error: fields.optional_string("error")?,
        prerun_cleanup: fields.flag("prerun_cleanup")?,
        queue_out: fields.optional_string("queue_out")?,
        queue_err: fields.optional_string("queue_err")?,
    })
}

fn ferry(mut fields: Fields) -> Read<Ferry> {
    Ok(Ferry {
        attempt: fields.integer_or_zero("attempt")?,
        outcome: fields.optional_inner("outcome")?.map(outcome).transpose()?,
        retries_used: fields.integer_or_zero("retries_used")?,
        settling: fields.flag("settling")?,
        history: fields.history()?,
    })
}

/// Returns the outcome of an attempt from its document, or which field cannot be read.
pub fn read_outcome(document: Document) -> Read<Outcome> {
    outcome(Fields::of(document, "outcome"))
}

fn outcome(mut fields: Fields) -> Read<Outcome> {
    Ok(Outcome {
        exit_code: fields.optional_integer("exit_code")?,
        signal: fields.optional_integer("signal")?,
        host: fields.optional_string("host")?,
        scheduler_state: fields.optional_string("scheduler_state")?,
        stderr_tail: fields.optional_string("stderr_tail")?,
    })
}

fn history_entry(mut fields: Fields) -> Read<HistoryEntry> {
    Ok(HistoryEntry {
        at: fields.time("at")?,
        from: fields.parsed("from")?,
        to: fields.parsed("to")?,
        attempt: fields.integer_or_zero("attempt")?,
        reason: fields.optional_string("reason")?,
        by: fields.optional_string("by")?.unwrap_or_default(),
    })
}

/// The fields of one document that have not been taken yet, and the path that leads to it.
struct Fields {
    document: Document,
    path: String,
}

impl Fields {
    fn of(document: Document, path: impl Into<String>) -> Self {
        Self { document, path: path.into() }
    }

    /// Returns the field's value; nothing where it is missing or null.
    fn take(&mut self, field: &str) -> Option<Bson> {
        self.document.get_mut(field).map(std::mem::take).filter(|value| *value != Bson::Null)
    }

    fn full_name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn wrong(&self, field: &str, found: &Bson, wanted: &str) -> Malformed {
        let found = found.element_type();
        Malformed { field: self.full_name(field), problem: format!("is of type {found:?}, not {wanted}") }
    }

    fn missing(&self, field: &str) -> Malformed {
        Malformed { field: self.full_name(field), problem: "is missing".to_owned() }
    }

    fn string(&mut self, field: &str) -> Read<String> {
        self.optional_string(field)?.ok_or_else(|| self.missing(field))
    }

    fn optional_string(&mut self, field: &str) -> Read<Option<String>> {
        match self.take(field) {
            None => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, &other, "a string")),
        }
    }

    fn parsed<T: FromStr>(&mut self, field: &str) -> Read<T>
    where
        T::Err: std::fmt::Display,
    {
        self.optional_parsed(field)?.ok_or_else(|| self.missing(field))
    }

    fn optional_parsed<T: FromStr>(&mut self, field: &str) -> Read<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.optional_string(field)? else { return Ok(None) };
        let problem = |error: T::Err| format!("has an unknown value: {error}");
        let name = self.full_name(field);
        text.parse().map(Some).map_err(|error| Malformed { field: name, problem: problem(error) })
    }

    fn integer(&mut self, field: &str) -> Read<i32> {
        self.optional_integer(field)?.ok_or_else(|| self.missing(field))
    }

    fn integer_or_zero(&mut self, field: &str) -> Read<i32> {
        Ok(self.optional_integer(field)?.unwrap_or_default())
    }

    /// Whole numbers of any BSON type: a person's edit in a shell makes an int32 a double.
    fn optional_integer(&mut self, field: &str) -> Read<Option<i32>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let number = match value {
            Bson::Int32(number) => Some(number),
            Bson::Int64(number) => i32::try_from(number).ok(),
            Bson::Double(number) => whole(number),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(field, &value, "a whole number of 32 bits"))
    }

    fn flag(&mut self, field: &str) -> Read<bool> {
        match self.take(field) {
            None => Ok(false),
            Some(Bson::Boolean(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(field, &other, "a boolean")),
        }
    }

    fn time(&mut self, field: &str) -> Read<Timestamp> {
        self.optional_time(field)?.ok_or_else(|| self.missing(field))
    }

    fn optional_time(&mut self, field: &str) -> Read<Option<Timestamp>> {
        match self.take(field) {
            None => Ok(None),
            Some(Bson::DateTime(time)) => Ok(Some(time)),
            Some(other) => Err(self.wrong(field, &other, "a date")),
        }
    }

    fn document(&mut self, field: &str) -> Read<Document> {
        self.optional_document(field)?.ok_or_else(|| self.missing(field))
    }

    fn optional_document(&mut self, field: &str) -> Read<Option<Document>> {
        match self.take(field) {
            None => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(document)),
            Some(other) => Err(self.wrong(field, &other, "a document")),
        }
    }

    fn inner(&mut self, field: &str) -> Read<Self> {
        let empty = Self::of(Document::new(), "");
        Ok(self.optional_inner(field)?.unwrap_or(empty))
    }

    fn optional_inner(&mut self, field: &str) -> Read<Option<Self>> {
        let document = self.optional_document(field)?;
        Ok(document.map(|document| Self::of(document, self.full_name(field))))
    }

    fn exec_config(&mut self) -> Read<Option<Bson>> {
        match self.take("exec_config") {
            Some(other @ (Bson::String(_) | Bson::Document(_))) => Ok(Some(other)),
            Some(other) => Err(self.wrong("exec_config", &other, "a string or a document")),
            None => Ok(None),
        }
    }

    /// Returns who holds the document: a `lock_id` alone decides (`utils/db.py`, `MongoLock`).
    fn lock(&mut self) -> Read<Option<Lock>> {
        let time = self.optional_time("lock_time")?;
        Ok(self.optional_string("lock_id")?.map(|id| Lock { id, time }))
    }

    fn array(&mut self, field: &str) -> Read<Array> {
        match self.take(field) {
            None => Ok(Array::new()),
            Some(Bson::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(field, &other, "an array")),
        }
    }

    fn strings(&mut self, field: &str) -> Read<Vec<String>> {
        let items = self.array(field)?.into_iter().enumerate();
        let texts = items.map(|(place, item)| match item {
            Bson::String(text) => Ok(text),
            other => Err(self.wrong(&format!("{field}.{place}"), &other, "a string")),
        });
        texts.collect()
    }

    fn flow_ids(&mut self) -> Read<Vec<FlowId>> {
        let items = self.array("ids")?.into_iter().enumerate();
        items.map(|(place, item)| self.flow_id(place, &item)).collect()
    }

    fn flow_id(&self, place: usize, item: &Bson) -> Read<FlowId> {
        let Bson::Array(triple) = item else {
            return Err(self.wrong(&format!("ids.{place}"), item, "an array"));
        };
        let mut triple = Self::of(
            ["0", "1", "2"].map(str::to_owned).into_iter().zip(triple.iter().cloned()).collect(),
            format!("ids.{place}"),
        );
        let db_id = triple.string("0")?;
        Ok(FlowId { db_id, key: JobKey { uuid: triple.string("1")?, index: triple.integer("2")? } })
    }

    fn history(&mut self) -> Read<Vec<HistoryEntry>> {
        let items = self.array("history")?.into_iter().enumerate();
        let entries = items.map(|(place, item)| {
            let name = format!("history.{place}");
            match item {
                Bson::Document(entry) => history_entry(Self::of(entry, self.full_name(&name))),
                other => Err(self.wrong(&name, &other, "a document")),
            }
        });
        entries.collect()
    }
}

/// Returns the number when it is whole and fits.
fn whole(number: f64) -> Option<i32> {
    #[expect(clippy::cast_possible_truncation, reason = "compared with the number just below")]
    let truncated = number as i32;
    (f64::from(truncated) == number).then_some(truncated)
}
