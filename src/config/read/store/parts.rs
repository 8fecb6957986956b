//! Stores that only parts of outputs can be kept in: a bucket of an S3 server, a JSON file.

use std::path::Path;

use super::{Role, kept, set, store, take_type};
use crate::config::defaults;
use crate::config::section::{AWS_SECRET_KEY, AWS_SESSION_TOKEN, Reader, Section, absolute};
use crate::config::store::{S3Account, S3Config, StoreConfig};
use crate::flowfile::decode::At;
use crate::flowfile::fault::hint_for;
use crate::flowfile::source::Value;

/// Reads maggma's `JSONStore`.
pub(super) fn json_file(at: &At<'_>, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let templates = [defaults::section(&["<store>"]), defaults::section(&["<JSONStore>"])];
    let mut section = Section::at(at, &templates, reader)?;
    take_type(&mut section, reader);
    let paths = section.need("paths", "name the file: `paths: /data/parts.json`", reader);
    let paths = paths.map(|at| at.one_or_many()).unwrap_or_default();
    let read_only = section.boolean("read_only", reader);
    for key in JSON_KEYS {
        kept(&mut section, key, reader);
    }
    if read_only == Some(true) {
        let fault = section
            .fault("a JSONStore that is read only loses what is put into it, and that is maggma's default");
        reader.faults.push(fault.hint("add `read_only: false`"));
    }
    if let [_, second, ..] = paths.as_slice() {
        let fault = second.fault("a JSONStore that is written to has one file");
        reader.faults.push(fault.hint("keep the first"));
    }
    section.finish(reader, |_| None);
    let path = absolute(paths.first()?, reader)?;
    Some(StoreConfig::JsonFile { path })
}

/// What maggma takes besides.
const JSON_KEYS: [&str; 8] = [
    "encoding",
    "serialization_option",
    "serialization_default",
    "collection_name",
    "key",
    "default_sort",
    "last_updated_field",
    "last_updated_type",
];

/// Reads maggma's `S3Store`.
pub(super) fn s3(at: &At<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let templates = [defaults::section(&["<store>"]), defaults::section(&["<S3Store>"])];
    let mut section = Section::at(at, &templates, reader)?;
    take_type(&mut section, reader);
    let index = index(&mut section, base, reader);
    let bucket =
        section.need("bucket", "name the bucket", reader).and_then(|at| at.scalar_text(&mut reader.faults));
    let (account, profile_region) = account(&mut section, reader);
    let endpoint_url = endpoint(&mut section, reader);
    let sub_dir = section.some_text("sub_dir", reader).unwrap_or_default();
    let compress = section.boolean("compress", reader);
    let (region, verify) = resource_arguments(&mut section, reader);
    for key in S3_KEYS {
        kept(&mut section, key, reader);
    }
    kept(&mut section, "ssh_tunnel", reader);
    section.unused("ssh_tunnel", "open the tunnel yourself, and name its end as endpoint_url", reader);
    section.finish(reader, |_| None);
    let sub_dir = sub_dir.trim_matches('/');
    let config = S3Config {
        bucket: bucket?,
        endpoint_url,
        sub_dir: if sub_dir.is_empty() { String::new() } else { format!("{sub_dir}/") },
        compress: compress?,
        account: account?,
        region: region.or(profile_region),
        verify,
        index: index?,
    };
    Some(StoreConfig::S3(Box::new(config)))
}

/// What maggma takes besides.
const S3_KEYS: [&str; 8] = [
    "s3_workers",
    "key",
    "store_hash",
    "unpack_data",
    "searchable_fields",
    "index_store_kwargs",
    "last_updated_field",
    "last_updated_type",
];

/// Which blob belongs to which job has to last, and to be found by job.
fn index(section: &mut Section<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let Some(at) = set(section.given("index")) else {
        section.take("index", reader);
        let fault = section.fault("the key `index` is missing: a store that knows what is in the bucket");
        reader.faults.push(
            fault.hint(
                "write `index: {type: MongoStore, …}`, or `index: {type: SqliteStore}` without a server",
            ),
        );
        return None;
    };
    match store(&at, Role::Index, base, reader)? {
        index @ (StoreConfig::Sqlite { .. } | StoreConfig::Mongo(_)) => Some(index),
        other => {
            let fault = at.fault(format!("a {} cannot be the index of an S3Store", other.type_name()));
            reader.faults.push(fault.hint("use `type: MongoStore` or `type: SqliteStore`"));
            None
        }
    }
}

fn endpoint(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = section.take("endpoint_url", reader)?;
    let url = at.text(&mut reader.faults)?;
    if url.starts_with("http://") || url.starts_with("https://") {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let fault = at.fault("the address of an S3 server begins with http:// or https://");
    reader.faults.push(fault.hint("write `endpoint_url: https://s3.example.org`"));
    None
}

/// Returns who asks, and the region that goes with it.
fn account(section: &mut Section<'_>, reader: &mut Reader<'_>) -> (Option<S3Account>, Option<String>) {
    let Some(at) = set(section.given("s3_profile")) else {
        section.take("s3_profile", reader);
        return (Some(S3Account::Environment), None);
    };
    if !matches!(at.node.value, Value::Map(_)) {
        let name = section.some_text("s3_profile", reader);
        return (name.map(S3Account::Profile), None);
    }
    let Some(mut keys) = Section::at(&at, &[defaults::section(&["<s3_profile>"])], reader) else {
        return (None, None);
    };
    let id = keys.some_text("aws_access_key_id", reader);
    let secret = keys.secret(&AWS_SECRET_KEY, reader);
    let token = keys.secret(&AWS_SESSION_TOKEN, reader);
    let region = keys.some_text("region_name", reader);
    let account = match (id, secret) {
        (Some(id), Some(secret)) => Some(S3Account::Keys { id, secret, token }),
        (None, None) => Some(S3Account::Environment),
        _ => {
            let fault = keys.fault("of the access key and its secret only one is given");
            reader.faults.push(fault.hint("give aws_access_key_id and aws_secret_access_key, or neither"));
            None
        }
    };
    keys.finish(reader, |_| None);
    (account, region)
}

/// Returns the region, and whether the server's certificate is looked at: what we use of boto3's arguments.
fn resource_arguments(section: &mut Section<'_>, reader: &mut Reader<'_>) -> (Option<String>, bool) {
    let Some(at) = set(section.given("s3_resource_kwargs")) else {
        section.take("s3_resource_kwargs", reader);
        return (None, true);
    };
    reader.record_raw(&at);
    let (mut region, mut verify) = (None, true);
    for (key, _, value) in at.entries(&mut reader.faults) {
        match key {
            "region_name" => region = value.scalar_text(&mut reader.faults),
            "verify" => verify = value.boolean(&mut reader.faults).unwrap_or(true),
            // The address says it.
            "use_ssl" => {}
            _ => reader.unused(&value, "only region_name and verify are"),
        }
    }
    (region, verify)
}

/// How jobflow-remote's worker side can write its results.
const REMOTE_FORMS: [&str; 4] = ["maggma_json", "orjson", "msgspec_json", "msgpack"];

/// Looks for mistakes in `remote_jobstore`; what it means is the business of whoever writes for workers.
pub(super) fn check_remote_jobstore(at: &At<'_>, reader: &mut Reader<'_>) {
    for (key, _, value) in at.entries(&mut reader.faults) {
        match (key, &value.node.value) {
            ("store", Value::Text(name)) if !REMOTE_FORMS.contains(&name.as_str()) => {
                let mut fault = value.fault(format!("`{name}` is no form of a remote job store"));
                let forms = REMOTE_FORMS.join(", ");
                fault.hint = hint_for(name, &REMOTE_FORMS).or_else(|| Some(format!("use one of {forms}")));
                reader.faults.push(fault);
            }
            ("store", Value::Map(_)) if at.node.get("extension").is_none() => {
                let fault = value.fault("a store of your own needs the ending of its files");
                reader.faults.push(fault.hint("add `extension: json`"));
            }
            ("store", Value::Text(_) | Value::Map(_)) | ("extension", Value::Text(_)) => {}
            ("store" | "extension", _) => {
                value.text(&mut reader.faults);
            }
            ("zip", _) => {
                value.boolean(&mut reader.faults);
            }
            _ => {
                let mut fault = value.fault(format!("the key `{key}` is not known here"));
                fault.hint = hint_for(key, &["store", "zip", "extension"]);
                reader.faults.push(fault);
            }
        }
    }
}
