use bson::doc;

use super::*;
use crate::model::ids::JobKey;
use crate::model::job::Ferry;
use crate::model::state::State;

fn record() -> JobRecord {
    JobRecord {
        key: JobKey::new("u", 1),
        db_id: "4".into(),
        worker: "w".into(),
        state: State::CheckedOut,
        remote: Remote::default(),
        parents: vec!["p".into()],
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: Timestamp::from_millis(1_795_159_075_612),
        updated_on: Timestamp::from_millis(1_795_159_075_000),
        priority: 7,
        exec_config: Some("ec1".into()),
        resources: Some(doc! {"qverbatim": "#abc"}),
        stored_data: None,
        job: Document::new(),
        ferry: Ferry::default(),
    }
}

#[test]
fn the_document_is_the_python_sides() {
    let job =
        doc! {"name": "a \"b\" ü\n", "function_args": [1, 2_i64, 0.5, f64::NAN, f64::INFINITY, null, true]};
    let stores = ["data".to_owned()];
    let record = record();
    let input = Input {
        record: &record,
        job: &job,
        run_dir: "/w/u_1",
        additional_stores: &stores,
        remote_store: &RemoteStore::default(),
    };
    let text = String::from_utf8(encode(&input)).unwrap();
    insta::assert_snapshot!(text.replace("\"store\"", "\n\"store\"").replace("\"job_doc\"", "\n\"job_doc\""), @r##"
    {"job":{"name":"a \"b\" ü\n","function_args":[1,2,0.5,NaN,Infinity,null,true]},
    "store":{"@module":"jobflow.core.store","@class":"JobStore","@version":"0.4.0","docs_store":{"@module":"jobflow_remote.remote.data","@class":"StdJSONStore","@version":"1.0.1","paths":["/w/u_1/remote_job_data.json"]},"additional_stores":{"data":{"@module":"jobflow_remote.remote.data","@class":"StdJSONStore","@version":"1.0.1","paths":["/w/u_1/additional_store_data.json"]}},"save":{},"load":false},
    "job_doc":{"uuid":"u","index":1,"db_id":"4","worker":"w","state":"CHECKED_OUT","remote":{"step_attempts":0,"queue_state":null,"process_id":null,"retry_time_limit":null,"error":null,"prerun_cleanup":false,"queue_out":null,"queue_err":null},"parents":["p"],"previous_state":null,"error":null,"lock_id":null,"lock_time":null,"run_dir":null,"start_time":null,"end_time":null,"created_on":"2026-11-20T07:17:55.612000","updated_on":"2026-11-20T07:17:55","priority":7,"exec_config":"ec1","resources":{"qverbatim":"#abc"},"stored_data":null}}
    "##);
}

#[test]
fn odd_values_are_json_too() {
    let job = doc! {
        "id": bson::oid::ObjectId::from_bytes([1; 12]),
        "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] },
        "long": 1e300, "small": 5e-324, "minus": -0.0, "whole": 3.0, "before": Timestamp::from_millis(-1),
    };
    let record = record();
    let input = Input {
        record: &record,
        job: &job,
        run_dir: "/w/ü \"x",
        additional_stores: &[],
        remote_store: &RemoteStore::default(),
    };
    let value: serde_json::Value = serde_json::from_slice(&encode(&input)).unwrap();
    assert_eq!(value["job"]["id"]["$oid"], "010101010101010101010101");
    assert_eq!(value["job"]["binary"]["$binary"], serde_json::json!({"base64": "AQI=", "subType": "00"}));
    assert_eq!(value["job"]["long"], 1e300);
    assert_eq!(value["job"]["before"], "1969-12-31T23:59:59.999000");
    assert_eq!(value["store"]["docs_store"]["paths"][0], "/w/ü \"x/remote_job_data.json");
    assert_eq!(value["store"]["additional_stores"], serde_json::json!({}));
}

/// Returns the record whose snapshot stands in an input document.
fn record_of(document: &Document) -> JobRecord {
    let text = |key: &str| document.get_str(key).unwrap().to_owned();
    let time = |key: &str| {
        let moment: jiff::civil::DateTime = document.get_str(key).unwrap().parse().unwrap();
        Timestamp::from_millis(moment.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond())
    };
    JobRecord {
        key: JobKey::new(text("uuid"), document.get_i32("index").unwrap()),
        db_id: text("db_id"),
        worker: text("worker"),
        parents: document
            .get_array("parents")
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect(),
        created_on: time("created_on"),
        updated_on: time("updated_on"),
        priority: document.get_i32("priority").unwrap(),
        exec_config: document.get("exec_config").cloned().filter(|value| *value != Bson::Null),
        resources: document.get_document("resources").ok().cloned(),
        ..record()
    }
}

#[test]
fn real_documents_are_written_byte_for_byte() {
    for real in [
        include_str!("../../../tests/fixtures/run_directories/blobs.json"),
        include_str!("../../../tests/fixtures/run_directories/detour.json"),
        include_str!("../../../tests/fixtures/run_directories/replace_job.json"),
    ] {
        let Bson::Document(document) = crate::jobflow::json::parse(real.as_bytes()).unwrap() else {
            panic!()
        };
        let part = |key| document.get_document(key).unwrap();
        let stores: Vec<String> =
            part("store").get_document("additional_stores").unwrap().keys().cloned().collect();
        let path = part("store").get_document("docs_store").unwrap().get_array("paths").unwrap()[0]
            .as_str()
            .unwrap();
        let input = Input {
            record: &record_of(part("job_doc")),
            job: part("job"),
            run_dir: path.rsplit_once('/').unwrap().0,
            additional_stores: &stores,
            remote_store: &RemoteStore::default(),
        };
        assert_eq!(String::from_utf8(encode(&input)).unwrap(), real);
    }
}
