//! `Outputs`.

use bson::{Bson, doc};
use jobferry::model::ids::JobKey;
use jobferry::store::OutputDocument;

use super::Bench;

fn output(uuid: &str, index: i32, value: impl Into<Bson>) -> OutputDocument {
    let document = doc! {"uuid": uuid, "index": index, "output": value.into(), "metadata": {}, "name": "n"};
    OutputDocument { key: JobKey::new(uuid, index), document }
}

pub(super) async fn newest_wins(bench: &Bench) {
    let outputs = &bench.stores.job_store.outputs;
    let all = [output("a", 2, 2), output("a", 10, 10), output("a", 9, 9), output("b", 1, "x")];
    outputs.put_outputs(&all).await.unwrap();
    let found = outputs.newest_outputs(&["a".into(), "b".into(), "c".into(), "a".into()]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found["a"], all[1]);
    assert_eq!(found["b"], all[3]);
    assert_eq!(outputs.output(&JobKey::new("a", 9)).await.unwrap().as_ref(), Some(&all[2]));
    assert_eq!(found["b"].output(), &Bson::String("x".into()));
}

pub(super) async fn put_twice_is_once(bench: &Bench) {
    let outputs = &bench.stores.job_store.outputs;
    for value in [1, 1, 2] {
        outputs.put_outputs(&[output("a", 1, value), output("b", 1, 0)]).await.unwrap();
    }
    assert_eq!(outputs.output(&JobKey::new("a", 1)).await.unwrap(), Some(output("a", 1, 2)));
    outputs.put_outputs(&[output("a", 1, 3), output("a", 1, 4)]).await.unwrap();
    assert_eq!(outputs.output(&JobKey::new("a", 1)).await.unwrap(), Some(output("a", 1, 4)), "the later one");
    outputs.put_outputs(&[]).await.unwrap();
}

pub(super) async fn missing_are_left_out(bench: &Bench) {
    let outputs = &bench.stores.job_store.outputs;
    assert_eq!(outputs.output(&JobKey::new("a", 1)).await.unwrap(), None);
    assert!(outputs.newest_outputs(&["a".into()]).await.unwrap().is_empty());
    assert!(outputs.newest_outputs(&[]).await.unwrap().is_empty());
    outputs.put_outputs(&[output("a", 1, 0)]).await.unwrap();
    assert_eq!(outputs.output(&JobKey::new("a", 2)).await.unwrap(), None);
}
