//! The JobStore of a run directory: which files a Python job writes its output into, and in what form
//! (jobflow-remote 1.0, `remote/data.py`; `remote_jobstore` of a project file).

use bson::{Bson, Document, doc};

use super::layout;

/// What a job's JobStore is made of on its worker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RemoteStore {
    form: Form,
    packing: Packing,
}

/// How documents are written. Each file is an array of them.
#[derive(Debug, Clone, PartialEq, Default)]
enum Form {
    /// maggma's `JSONStore`: times are cut to milliseconds, and have no zone.
    #[default]
    MaggmaJson,
    /// JSON.
    Orjson,
    /// JSON.
    MsgspecJson,
    /// Times are maps `{"__datetime__": true, "as_str": "%Y%m%dT%H:%M:%S.%f"}`.
    Msgpack,
    /// A serialized store of maggma: only its own class knows the form.
    Custom { store: Document, extension: String },
}

/// Whether the files are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Packing {
    #[default]
    Plain,
    Gzip,
}

/// How the files of a [`RemoteStore`] are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As Python's `json` writes it: [`crate::jobflow::json`] reads it.
    Json,
    Msgpack,
    /// Not known here.
    Custom,
}

/// Why a `remote_jobstore` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteStoreError {
    #[error("its store {0} is not supported; there are maggma_json, orjson, msgspec_json and msgpack")]
    Unknown(String),
    #[error("a store of one's own needs an `extension` for the names of its files: letters and digits")]
    Extension,
}

impl RemoteStore {
    /// Returns the store that a `remote_jobstore` asks for; an empty one asks for the default.
    pub fn from_document(settings: &Document) -> Result<Self, RemoteStoreError> {
        let form = match settings.get("store") {
            None => Form::MaggmaJson,
            Some(Bson::String(name)) => match name.as_str() {
                "maggma_json" => Form::MaggmaJson,
                "orjson" => Form::Orjson,
                "msgspec_json" => Form::MsgspecJson,
                "msgpack" => Form::Msgpack,
                _ => return Err(RemoteStoreError::Unknown(name.clone())),
            },
            Some(Bson::Document(store)) => {
                let extension = settings.get_str("extension").unwrap_or_default().to_owned();
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
                if extension.is_empty() || !extension.chars().all(plain) {
                    return Err(RemoteStoreError::Extension);
                }
                Form::Custom { store: store.clone(), extension }
            }
            Some(other) => return Err(RemoteStoreError::Unknown(other.to_string())),
        };
        let packing = if settings.get_bool("zip").unwrap_or(false) { Packing::Gzip } else { Packing::Plain };
        Ok(Self { form, packing })
    }

    /// Returns the name of the file with the job's output document.
    pub fn output_file(&self) -> String {
        self.file(layout::PYTHON_OUTPUT)
    }

    /// Returns the name of the file of an additional store.
    pub fn additional_file(&self, store: &str) -> String {
        self.file(&format!("{}{store}", layout::ADDITIONAL_OUTPUT))
    }

    /// Returns whether the files are packed with gzip.
    pub fn is_packed(&self) -> bool {
        self.packing == Packing::Gzip
    }

    /// Returns how the files are read, once they are unpacked.
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::MaggmaJson | Form::Orjson | Form::MsgspecJson => Encoding::Json,
            Form::Msgpack => Encoding::Msgpack,
            Form::Custom { .. } => Encoding::Custom,
        }
    }

    /// Returns whether jobflow-remote's own program on a worker finds documents in it that are there before the job
    /// runs, for references that it resolves itself. Ours does in any case.
    pub fn is_searchable(&self) -> bool {
        matches!(self.form, Form::MaggmaJson | Form::Custom { .. })
    }

    /// Returns the serialized `JobStore` of a run directory.
    pub(super) fn job_store(&self, run_dir: &str, additional_stores: &[String]) -> Document {
        let store = |file: String| self.store(format!("{run_dir}/{file}"));
        let additional: Document = additional_stores
            .iter()
            .map(|name| (name.clone(), Bson::from(store(self.additional_file(name)))))
            .collect();
        doc! {
            "@module": "jobflow.core.store",
            "@class": "JobStore",
            "@version": "0.4.0",
            "docs_store": store(self.output_file()),
            "additional_stores": additional,
            "save": {},
            "load": false,
        }
    }

    fn file(&self, stem: &str) -> String {
        let extension = match &self.form {
            Form::MaggmaJson | Form::Orjson | Form::MsgspecJson => "json",
            Form::Msgpack => "msgpack",
            Form::Custom { extension, .. } => extension,
        };
        let packed = if self.is_packed() { ".gz" } else { "" };
        format!("{stem}.{extension}{packed}")
    }

    /// Returns the serialized store of one file.
    fn store(&self, path: String) -> Document {
        let of_class = |class: &str| {
            doc! { "@module": "jobflow_remote.remote.data", "@class": class, "@version": "1.0.1" }
        };
        let mut store = match &self.form {
            Form::MaggmaJson => {
                let mut store = of_class("StdJSONStore");
                store.insert("paths", [path]);
                return store;
            }
            Form::Orjson => of_class("MinimalORJSONStore"),
            Form::MsgspecJson => of_class("MinimalMsgspecJSONStore"),
            Form::Msgpack => of_class("MinimalMsgpackStore"),
            Form::Custom { store, .. } => store.clone(),
        };
        store.insert("path", path);
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(settings: &Document) -> RemoteStore {
        RemoteStore::from_document(settings).unwrap()
    }

    /// As `get_single_store` of jobflow-remote 1.0.1 answers.
    #[test]
    fn every_kind_has_its_class_and_file() {
        let mine = doc! {"@module": "m", "@class": "MyStore"};
        let cases = [
            (doc! {}, "StdJSONStore", "remote_job_data.json", Encoding::Json),
            (doc! {"zip": true}, "StdJSONStore", "remote_job_data.json.gz", Encoding::Json),
            (doc! {"store": "orjson"}, "MinimalORJSONStore", "remote_job_data.json", Encoding::Json),
            (
                doc! {"store": "msgspec_json", "zip": false},
                "MinimalMsgspecJSONStore",
                "remote_job_data.json",
                Encoding::Json,
            ),
            (
                doc! {"store": "msgpack", "zip": true},
                "MinimalMsgpackStore",
                "remote_job_data.msgpack.gz",
                Encoding::Msgpack,
            ),
            (doc! {"store": mine, "extension": "abc"}, "MyStore", "remote_job_data.abc", Encoding::Custom),
        ];
        for (settings, class, file, encoding) in cases {
            let store = from(&settings);
            assert_eq!((store.output_file(), store.encoding()), (file.to_owned(), encoding));
            assert_eq!(store.is_packed(), file.ends_with(".gz"));
            let written = store.job_store("/w", &["data".to_owned()]);
            let docs = written.get_document("docs_store").unwrap();
            assert_eq!(docs.get_str("@class").unwrap(), class);
            let path = format!("/w/{file}");
            match docs.get_array("paths") {
                Ok(paths) => assert_eq!(paths, &vec![Bson::from(path)]),
                Err(_) => assert_eq!(docs.get_str("path").unwrap(), path),
            }
            let data = written.get_document("additional_stores").unwrap().get_document("data").unwrap();
            let name = file.replace("remote_job_data", "additional_store_data");
            assert!(data.to_string().contains(&name), "{data}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (settings, error) in [
            (doc! {"store": "pickle"}, RemoteStoreError::Unknown("pickle".to_owned())),
            (doc! {"store": 1}, RemoteStoreError::Unknown("1".to_owned())),
            (doc! {"store": {"@class": "X"}}, RemoteStoreError::Extension),
            (doc! {"store": {"@class": "X"}, "extension": "../x"}, RemoteStoreError::Extension),
        ] {
            assert_eq!(RemoteStore::from_document(&settings), Err(error));
        }
    }
}
