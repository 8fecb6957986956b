//! Additional stores, optional job stores, `remote_jobstore`.

use super::bad_files::told;
use super::*;
use crate::config::secret::REDACTED;
use crate::config::store::{S3Account, S3Config};

const PARTS: &str = r#"
name: p
jobstore:
  docs_store: {type: MongoStore, database: d, collection_name: docs}
  additional_stores:
    here: {type: SqliteStore}
    mongo: {type: MongoURIStore, uri: 'mongodb://u:hunter2@h/d', collection_name: blobs}
    gfs: {type: GridFSURIStore, uri_env: DATABASE, database: d, collection_name: gfs, compression: true}
    json: {type: JSONStore, paths: [/data/parts.json], read_only: false}
    s3:
      type: S3Store
      bucket: b
      endpoint_url: https://s3.example.org/
      sub_dir: /deep/er
      compress: true
      s3_profile: {aws_access_key_id: me, aws_secret_access_key: hunter3, aws_session_token_env: TOKEN, region_name: eu}
      s3_resource_kwargs: {verify: false, use_ssl: true}
      index: {type: MongoStore, database: d, collection_name: s3, key: blob_uuid, password: hunter4, username: u}
optional_jobstores:
  other:
    docs_store: {type: SqliteStore, path: other.db}
    additional_stores: {s3: {type: S3Store, bucket: c, s3_profile: lab, index: {type: SqliteStore}}}
remote_jobstore: {store: msgpack, zip: true}
"#;

fn s3(store: &StoreConfig) -> &S3Config {
    let StoreConfig::S3(s3) = store else { panic!("{store:?}") };
    s3
}

#[test]
fn additional_stores_of_every_kind() {
    let loaded = parse(PARTS).unwrap();
    let stores = &loaded.project.jobstore.additional_stores;
    assert_eq!(stores.keys().collect::<Vec<_>>(), ["here", "mongo", "gfs", "json", "s3"]);
    assert_eq!(stores["here"], StoreConfig::Sqlite { path: "/home/alice/.jfremote/p/jobferry.db".into() });
    assert_eq!(stores["json"], StoreConfig::JsonFile { path: "/data/parts.json".into() });
    assert!(matches!(&stores["mongo"], StoreConfig::Mongo(mongo) if mongo.collection == "blobs"));
    assert!(matches!(&stores["gfs"], StoreConfig::GridFs { mongo, compression: true }
        if mongo.server == MongoServer::Uri(SecretSource::Variable("DATABASE".into()))));
    let first = s3(&stores["s3"]);
    assert_eq!((first.bucket.as_str(), first.sub_dir.as_str()), ("b", "deep/er/"));
    assert_eq!(first.endpoint_url.as_deref(), Some("https://s3.example.org"));
    assert_eq!((first.compress, first.verify, first.region.as_deref()), (true, false, Some("eu")));
    assert!(
        matches!(&first.account, S3Account::Keys { id, secret: SecretSource::Literal(_), token: Some(token) }
        if id == "me" && *token == SecretSource::Variable("TOKEN".into()))
    );
    assert!(matches!(&first.index, StoreConfig::Mongo(mongo) if mongo.collection == "s3"));
    let other = loaded.project.optional_jobstore("other").unwrap();
    assert_eq!(other.docs_store, StoreConfig::Sqlite { path: "/home/alice/.jfremote/p/other.db".into() });
    let second = s3(&other.additional_stores["s3"]);
    assert_eq!((&second.account, second.verify), (&S3Account::Profile("lab".into()), true));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn their_secrets_are_not_shown() {
    let loaded = parse(PARTS).unwrap();
    let base = "jobstore.additional_stores";
    let noted = [
        format!("{base}.mongo.uri"),
        format!("{base}.s3.index.password"),
        format!("{base}.s3.s3_profile.aws_secret_access_key"),
    ];
    assert_eq!(loaded.literal_secrets, noted);
    for key in &noted {
        assert_eq!(source_of(&loaded, key).0, REDACTED);
    }
    assert_eq!(source_of(&loaded, &format!("{base}.s3.bucket")).0, "b", "the rest is shown");
    assert_eq!(source_of(&loaded, "optional_jobstores.other.additional_stores.s3.s3_profile").0, "lab");
    let all = format!("{loaded:?}");
    assert!(!all.contains("hunter"), "{all}");
}

/// The `as_dict()` of a real `JobStore` (jobflow 0.4.0, maggma 0.77.1) with one store of each kind.
#[test]
fn a_serialized_job_store_is_read_as_it_is() {
    let serialized = include_str!("../../../../tests/fixtures/projects/serialized_jobstore.json");
    let loaded = parse(&format!("name: p\njobstore: {serialized}\n")).unwrap();
    let job_store = &loaded.project.jobstore;
    assert!(matches!(&job_store.docs_store, StoreConfig::Mongo(mongo) if mongo.collection == "docs"));
    let kinds: Vec<(&str, &str)> =
        job_store.additional_stores.iter().map(|(name, store)| (name.as_str(), store.type_name())).collect();
    let expected = [("data", "MongoStore"), ("gfs", "GridFSStore"), ("json", "JSONStore"), ("s3", "S3Store")];
    assert_eq!(kinds, expected);
    let s3 = s3(&job_store.additional_stores["s3"]);
    assert_eq!((s3.sub_dir.as_str(), s3.endpoint_url.as_deref()), ("deep/", Some("http://localhost:9000")));
    assert!(matches!(&s3.index, StoreConfig::Mongo(mongo) if mongo.collection == "s3_index"));
    let warned: Vec<&str> = loaded.warnings.iter().map(|warning| warning.fault.path.as_str()).collect();
    assert_eq!(warned, [] as [&str; 0]);
}

#[test]
fn stores_that_would_lose_parts_are_refused() {
    let text = "
name: p
jobstore:
  additional_stores:
    memory: {type: MemoryStore}
    json: {type: JSONStore, paths: /data/x.json}
    many: {type: JSONStore, paths: [/a.json, /b.json], read_only: false}
    near: {type: JSONStore, paths: x.json, read_only: false}
    s3: {type: S3Store, bucket: b, index: {type: MemoryStore}}
    alone: {type: S3Store, endpoint_url: s3.example.org}
    half: {type: S3Store, bucket: b, s3_profile: {aws_access_key_id: me}, index: {type: SqliteStore}}
";
    insta::assert_snapshot!(told(text), @r"
    demo.yaml:5:13: a MemoryStore keeps nothing: parts of outputs would be lost in it (in jobstore.additional_stores.memory)
      |
    5 |     memory: {type: MemoryStore}
      |             ^ use one that lasts: SqliteStore, MongoStore, MongoURIStore, GridFSStore, GridFSURIStore, S3Store, JSONStore
    demo.yaml:6:11: a JSONStore that is read only loses what is put into it, and that is maggma's default (in jobstore.additional_stores.json)
      |
    6 |     json: {type: JSONStore, paths: /data/x.json}
      |           ^ add `read_only: false`
    demo.yaml:7:46: a JSONStore that is written to has one file (in jobstore.additional_stores.many.paths[1])
      |
    7 |     many: {type: JSONStore, paths: [/a.json, /b.json], read_only: false}
      |                                              ^^^^^^^ keep the first
    demo.yaml:8:36: the path `x.json` is not absolute (in jobstore.additional_stores.near.paths)
      |
    8 |     near: {type: JSONStore, paths: x.json, read_only: false}
      |                                    ^^^^^^ begin it with / or ~/
    demo.yaml:9:43: a MemoryStore keeps nothing: parts of outputs would be lost in it (in jobstore.additional_stores.s3.index)
      |
    9 |     s3: {type: S3Store, bucket: b, index: {type: MemoryStore}}
      |                                           ^ use one that lasts: SqliteStore, MongoStore, MongoURIStore
    demo.yaml:10:12: the key `index` is missing: a store that knows what is in the bucket (in jobstore.additional_stores.alone)
       |
    10 |     alone: {type: S3Store, endpoint_url: s3.example.org}
       |            ^ write `index: {type: MongoStore, …}`, or `index: {type: SqliteStore}` without a server
    demo.yaml:10:12: the key `bucket` is missing (in jobstore.additional_stores.alone)
       |
    10 |     alone: {type: S3Store, endpoint_url: s3.example.org}
       |            ^ name the bucket
    demo.yaml:10:42: the address of an S3 server begins with http:// or https:// (in jobstore.additional_stores.alone.endpoint_url)
       |
    10 |     alone: {type: S3Store, endpoint_url: s3.example.org}
       |                                          ^^^^^^^^^^^^^^ write `endpoint_url: https://s3.example.org`
    demo.yaml:11:50: of the access key and its secret only one is given (in jobstore.additional_stores.half.s3_profile)
       |
    11 |     half: {type: S3Store, bucket: b, s3_profile: {aws_access_key_id: me}, index: {type: SqliteStore}
       |                                                  ^ give aws_access_key_id and aws_secret_access_key, or neither
    ");
}

#[test]
fn mistakes_in_remote_jobstore_are_told() {
    let text = "
name: p
remote_jobstore: {store: msgpak, zip: 1, extensio: x}
";
    insta::assert_snapshot!(told(text), @r"
    demo.yaml:3:26: `msgpak` is no form of a remote job store (in remote_jobstore.store)
      |
    3 | remote_jobstore: {store: msgpak, zip: 1, extensio: x}
      |                          ^^^^^^ did you mean `msgpack`?
    demo.yaml:3:39: true or false is needed here, not the number 1 (in remote_jobstore.zip)
      |
    3 | remote_jobstore: {store: msgpak, zip: 1, extensio: x}
      |                                       ^
    demo.yaml:3:52: the key `extensio` is not known here (in remote_jobstore.extensio)
      |
    3 | remote_jobstore: {store: msgpak, zip: 1, extensio: x}
      |                                                    ^ did you mean `extension`?
    ");
    for good in ["{store: maggma_json}", "{store: {'@class': X}, extension: json, zip: true}", "{}", "null"] {
        parse(&format!("name: p\nremote_jobstore: {good}\n")).unwrap();
    }
    let own = told("name: p\nremote_jobstore: {store: {'@class': X}}\n");
    assert!(own.contains("needs the ending of its files"), "{own}");
    told("name: p\nremote_jobstore: orjson\n");
}
