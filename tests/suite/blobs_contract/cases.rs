//! What every back end of `Blobs` promises.

use bson::{Bson, bson, doc};
use jobferry::model::ids::JobKey;
use jobferry::store::{BlobDocument, StoreError};

use super::Bench;

/// Returns the blob as jobflow makes it.
pub(super) fn blob(uuid: &str, job: &str, index: i32, data: impl Into<Bson>) -> BlobDocument {
    let document = doc! {
        "@class": "", "@module": "", "blob_uuid": uuid, "data": data.into(), "job_uuid": job, "job_index": index,
    };
    BlobDocument { blob_uuid: uuid.into(), job: JobKey::new(job, index), document }
}

fn names(uuids: &[&str]) -> Vec<String> {
    uuids.iter().map(|uuid| (*uuid).to_owned()).collect()
}

pub(super) async fn get(bench: &Bench, uuid: &str) -> Option<Bson> {
    bench.blobs.get_blobs(&names(&[uuid])).await.unwrap().remove(uuid)
}

pub(super) async fn what_is_put_is_got(bench: &Bench) {
    let blobs =
        [blob("a", "j", 1, bson!([1, 2])), blob("b", "j", 1, "text"), blob("c", "k", 1, bson!({"x": 0.5}))];
    bench.blobs.put_blobs(&blobs).await.unwrap();
    let found = bench.blobs.get_blobs(&names(&["a", "c", "a"])).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found["a"], bson!([1, 2]));
    assert_eq!(found["c"], bson!({"x": 0.5}));
    assert_eq!(get(bench, "b").await, Some(bson!("text")));
}

pub(super) async fn missing_are_left_out(bench: &Bench) {
    assert!(bench.blobs.get_blobs(&names(&["a"])).await.unwrap().is_empty());
    assert!(bench.blobs.get_blobs(&[]).await.unwrap().is_empty());
    bench.blobs.put_blobs(&[]).await.unwrap();
    bench.blobs.put_blobs(&[blob("a", "j", 1, 1)]).await.unwrap();
    let found = bench.blobs.get_blobs(&names(&["b", "a"])).await.unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a"]);
}

pub(super) async fn put_twice_is_once(bench: &Bench) {
    let blobs = [blob("a", "j", 1, bson!([1])), blob("b", "j", 1, 2)];
    for _ in 0..3 {
        bench.blobs.put_blobs(&blobs).await.unwrap();
    }
    assert_eq!(get(bench, "a").await, Some(bson!([1])));
    bench.blobs.remove_blobs(&[JobKey::new("j", 1)]).await.unwrap();
    assert_eq!(get(bench, "a").await, None, "one removal removes all of it");
}

pub(super) async fn the_later_data_holds(bench: &Bench) {
    for data in ["first", "second, which is longer", "3"] {
        bench.blobs.put_blobs(&[blob("a", "j", 1, data)]).await.unwrap();
        assert_eq!(get(bench, "a").await, Some(bson!(data)));
    }
    bench.blobs.put_blobs(&[blob("a", "j", 1, "first")]).await.unwrap();
    assert_eq!(get(bench, "a").await, Some(bson!("first")), "also when it was there before");
}

pub(super) async fn removed_by_job(bench: &Bench) {
    let blobs = [blob("a", "j", 1, 1), blob("b", "j", 2, 2), blob("c", "k", 1, 3), blob("d", "j", 1, 4)];
    bench.blobs.put_blobs(&blobs).await.unwrap();
    bench.blobs.remove_blobs(&[JobKey::new("j", 1), JobKey::new("nobody", 1)]).await.unwrap();
    let found = bench.blobs.get_blobs(&names(&["a", "b", "c", "d"])).await.unwrap();
    let mut left: Vec<_> = found.into_keys().collect();
    left.sort();
    assert_eq!(left, ["b", "c"]);
    bench.blobs.put_blobs(&blobs).await.unwrap();
    assert_eq!(get(bench, "a").await, Some(bson!(1)), "it can be put again");
}

pub(super) async fn removing_nothing_is_no_error(bench: &Bench) {
    bench.blobs.remove_blobs(&[]).await.unwrap();
    bench.blobs.remove_blobs(&[JobKey::new("j", 1)]).await.unwrap();
}

/// Values of every kind that JSON has, and what people put into keys.
fn values() -> Vec<Bson> {
    let mut deep = bson!(1);
    for _ in 0..60 {
        deep = bson!([deep]);
    }
    vec![
        Bson::Null,
        bson!(true),
        bson!(-7),
        Bson::Int64(1 << 40),
        bson!(0.1),
        bson!(1e300),
        bson!(-1.5e-300),
        bson!("é\u{1F600}\"\\\n\u{1}\u{7f}"),
        bson!([]),
        bson!({}),
        bson!({"a.b": 1, "$c": {"d": null}, "é": [1, [2, {"x": "y"}]], "@class": "E", "data": 1, "blob_uuid": "z"}),
        bson!({"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00"}),
        deep,
    ]
}

pub(super) async fn values_survive(bench: &Bench) {
    for (number, value) in values().into_iter().enumerate() {
        let uuid = format!("v{number}");
        bench.blobs.put_blobs(&[blob(&uuid, "j", 1, value.clone())]).await.unwrap();
        assert_eq!(get(bench, &uuid).await, Some(value), "{uuid}");
    }
    let odd = bson!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    bench.blobs.put_blobs(&[blob("odd", "j", 1, odd)]).await.unwrap();
    let found = get(bench, "odd").await.unwrap();
    let found = found.as_array().unwrap();
    if bench.limits.loses_odd_numbers {
        assert_eq!(found, &[Bson::Null, Bson::Null, Bson::Null]);
    } else {
        assert!(found[0].as_f64().unwrap().is_nan());
        assert_eq!(found[1..], [Bson::Double(f64::INFINITY), Bson::Double(f64::NEG_INFINITY)]);
    }
}

pub(super) async fn large(bench: &Bench) {
    let data = Bson::String("0123456789".repeat(2_000_000));
    let answer =
        bench.blobs.put_blobs(&[blob("large", "j", 1, data.clone()), blob("small", "j", 1, 1)]).await;
    if bench.limits.refuses_large {
        let error = answer.unwrap_err();
        assert!(matches!(&error, StoreError::TooLarge { what, .. } if what == "large"), "{error:?}");
        assert!(!error.is_passing());
        return;
    }
    answer.unwrap();
    assert!(get(bench, "large").await == Some(data), "20 MB come back");
    assert_eq!(get(bench, "small").await, Some(bson!(1)));
}

pub(super) async fn many_at_once(bench: &Bench) {
    let uuids: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
    let blobs: Vec<BlobDocument> =
        (0..).zip(&uuids).map(|(number, uuid)| blob(uuid, &format!("j{}", number % 3), 1, number)).collect();
    bench.blobs.put_blobs(&blobs).await.unwrap();
    let found = bench.blobs.get_blobs(&uuids).await.unwrap();
    assert_eq!(found.len(), 300);
    assert_eq!(found["m299"], bson!(299));
    bench.blobs.remove_blobs(&[JobKey::new("j0", 1), JobKey::new("j2", 1)]).await.unwrap();
    assert_eq!(bench.blobs.get_blobs(&uuids).await.unwrap().len(), 100);
}

pub(super) async fn other_programs_see_it(bench: &Bench) {
    let other = bench.outside.again().await;
    bench.blobs.put_blobs(&[blob("a", "j", 1, 1)]).await.unwrap();
    assert_eq!(other.get_blobs(&names(&["a"])).await.unwrap()["a"], bson!(1));
    other.put_blobs(&[blob("b", "j", 1, 2), blob("a", "j", 1, 3)]).await.unwrap();
    let found = bench.blobs.get_blobs(&names(&["a", "b"])).await.unwrap();
    assert_eq!((&found["a"], &found["b"]), (&bson!(3), &bson!(2)));
    other.remove_blobs(&[JobKey::new("j", 1)]).await.unwrap();
    assert_eq!(get(bench, "a").await, None);
}

pub(super) async fn names_do_not_mix(bench: &Bench) {
    let neighbour = bench.outside.neighbour().await;
    bench.blobs.put_blobs(&[blob("a", "j", 1, 1)]).await.unwrap();
    assert!(neighbour.get_blobs(&names(&["a"])).await.unwrap().is_empty());
    neighbour.put_blobs(&[blob("a", "j", 1, 2)]).await.unwrap();
    neighbour.remove_blobs(&[JobKey::new("j", 1)]).await.unwrap();
    assert_eq!(get(bench, "a").await, Some(bson!(1)));
}

/// A runner that is taken for dead and its successor put the same.
pub(super) async fn the_same_from_two_sides(bench: &Bench) {
    let other = bench.outside.again().await;
    let blobs: Vec<BlobDocument> =
        (0..10).map(|number| blob(&format!("s{number}"), "j", 1, bson!([number, "x"]))).collect();
    for _ in 0..5 {
        let (mine, theirs) = tokio::join!(bench.blobs.put_blobs(&blobs), other.put_blobs(&blobs));
        mine.unwrap();
        theirs.unwrap();
    }
    let uuids: Vec<String> = blobs.iter().map(|blob| blob.blob_uuid.clone()).collect();
    assert_eq!(bench.blobs.get_blobs(&uuids).await.unwrap().len(), 10);
    other.remove_blobs(&[JobKey::new("j", 1)]).await.unwrap();
    assert!(bench.blobs.get_blobs(&uuids).await.unwrap().is_empty());
}
