//! Documents with unusual values come back as they were.

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use jobferry::model::ids::JobKey;
use jobferry::store::{Change, Move, OutputDocument};

use super::Bench;
use super::making::{BY, at, flow, insert, job, key, read};

fn odd() -> Document {
    doc! {
        "nan": f64::NAN, "infinity": f64::INFINITY, "minus zero": -0.0,
        "int32": 5_i32, "int64": 5_i64, "double": 5.0, "largest": i64::MAX, "smallest": i32::MIN,
        "date": DateTime::from_millis(-1), "far": DateTime::from_millis(253_402_300_799_999),
        "null": Bson::Null, "empty": {}, "empty list": [], "": "empty key",
        "a.dotted.key": {"$dollar": 1}, "unicode": "Ångström ⚛ 🛶", "zero byte": "a\u{0}b",
        "nested": [[1, [2, {"deep": [Bson::Null]}]], {}], "yes": true,
        "bytes": Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 255] }),
        "id": ObjectId::from_bytes([1; 12]), "long": "x".repeat(100_000),
    }
}

/// NaN is not equal to itself: the bytes decide, which also tell int32 from int64.
fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().unwrap()
}

pub(super) async fn values_survive(bench: &Bench) {
    let mut new = job("a", &[]);
    new.job.insert("function_kwargs", odd());
    new.resources = Some(odd());
    new.exec_config = Some(Bson::Document(odd()));
    let mut new = flow("f", [new]);
    new.metadata = odd();
    let serialized = new.jobs[0].job.clone();
    insert(&bench.stores, new).await;
    let stored = read(&bench.stores, "a").await;
    assert_eq!(bytes(&stored.job), bytes(&serialized));
    assert_eq!(bytes(stored.resources.as_ref().unwrap()), bytes(&odd()));
    let Some(Bson::Document(exec_config)) = &stored.exec_config else { panic!("{:?}", stored.exec_config) };
    assert_eq!(bytes(exec_config), bytes(&odd()));
    let flow = super::making::read_flow(&bench.stores, "f").await;
    assert_eq!(bytes(&flow.metadata), bytes(&odd()));

    let data = Move::of(&stored, None, at(1), BY).with([Change::StoredData(Some(odd()))]);
    bench.stores.queue.apply(&[data]).await.unwrap();
    let stored = read(&bench.stores, "a").await;
    assert_eq!(bytes(stored.stored_data.as_ref().unwrap()), bytes(&odd()));

    let output = OutputDocument { key: key("a"), document: doc! {"uuid": "a", "index": 1, "output": odd()} };
    bench.stores.job_store.outputs.put_outputs(std::slice::from_ref(&output)).await.unwrap();
    let stored = bench.stores.job_store.outputs.output(&JobKey::new("a", 1)).await.unwrap().unwrap();
    assert_eq!(bytes(&stored.document), bytes(&output.document));
}
