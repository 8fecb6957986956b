//! Large parts of outputs that are kept apart from them (jobflow 0.4, `core/store.py`): what stands in their place.
//!
//! A part is replaced by `{"@class", "@module", "blob_uuid", "store"}`, where `store` names an additional store of the
//! job store and `blob_uuid` a document in it. jobflow 0.4.0 wraps parts twice when a job uses two stores: then the
//! data of a blob is itself such a reference, and nothing but that.

use std::collections::BTreeSet;

use bson::{Bson, Document};

/// What stands in a document in place of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobReference {
    /// Name of the additional store.
    pub store: String,
    pub blob_uuid: String,
}

impl BlobReference {
    /// Returns the reference that the value is, or nothing where it is something else.
    pub fn read(value: &Bson) -> Option<Self> {
        let document = value.as_document()?;
        let text = |key| document.get_str(key).ok();
        text("@class").and(text("@module"))?;
        Some(Self { store: text("store")?.to_owned(), blob_uuid: text("blob_uuid")?.to_owned() })
    }
}

/// Returns the references in the document, at any depth.
pub fn references_in(document: &Document) -> BTreeSet<BlobReference> {
    let mut found = BTreeSet::new();
    // Without recursion, because nothing bounds the depth yet.
    let mut open: Vec<&Bson> = document.values().collect();
    while let Some(value) = open.pop() {
        if let Some(reference) = BlobReference::read(value) {
            found.insert(reference);
            continue;
        }
        match value {
            Bson::Document(inner) => open.extend(inner.values()),
            Bson::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// Puts what `data` returns in the place of each reference in the document; a reference that it has nothing for stays.
///
/// One level: references inside the data stay as they are, as in jobflow.
pub fn put_in_place(document: &mut Document, data: &mut dyn FnMut(&BlobReference) -> Option<Bson>) {
    let mut open: Vec<&mut Bson> = document.iter_mut().map(|(_, value)| value).collect();
    while let Some(value) = open.pop() {
        if let Some(reference) = BlobReference::read(value) {
            if let Some(found) = data(&reference) {
                *value = found;
            }
            continue;
        }
        match value {
            Bson::Document(inner) => open.extend(inner.iter_mut().map(|(_, value)| value)),
            Bson::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    fn reference(store: &str, uuid: &str) -> Bson {
        bson!({"@class": "", "@module": "", "blob_uuid": uuid, "store": store})
    }

    fn named(store: &str, uuid: &str) -> BlobReference {
        BlobReference { store: store.into(), blob_uuid: uuid.into() }
    }

    /// The output document of a real job (jobflow-remote 1.0.1) that used two additional stores.
    fn output() -> Document {
        doc! {
            "uuid": "u", "index": 1,
            "output": {
                "big": reference("data", "b1"),
                "list": [1, {"deep": reference("gfs", "b2")}, reference("data", "b3")],
                "no_store": {"@class": "", "@module": "", "blob_uuid": "x"},
                "numbers": {"@class": 1, "@module": "", "blob_uuid": "x", "store": "data"},
            },
            "metadata": reference("gfs", "b4"),
        }
    }

    #[test]
    fn references_are_found_at_any_depth() {
        let expected = [named("data", "b1"), named("data", "b3"), named("gfs", "b2"), named("gfs", "b4")];
        assert_eq!(references_in(&output()).into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(references_in(&doc! {"output": 1}), BTreeSet::new());
    }

    #[test]
    fn data_comes_in_their_place_one_level_deep() {
        let mut document = output();
        put_in_place(&mut document, &mut |reference| match reference.blob_uuid.as_str() {
            "b1" => {
                Some(bson!([1, {"inner": {"@class": "", "@module": "", "blob_uuid": "b2", "store": "gfs"}}]))
            }
            "b2" => Some(Bson::Double(f64::NAN)),
            "b4" => Some(bson!({"tag": 1})),
            _ => None,
        });
        let output = document.get_document("output").unwrap();
        assert_eq!(output.get("big"), Some(&bson!([1, {"inner": reference("gfs", "b2")}])));
        let list = output.get_array("list").unwrap();
        assert!(list[1].as_document().unwrap().get_f64("deep").unwrap().is_nan());
        assert_eq!(list[2], reference("data", "b3"), "without data it stays");
        assert_eq!(document.get("metadata"), Some(&bson!({"tag": 1})));
    }

    #[test]
    fn a_deep_document_is_no_danger() {
        let mut value = reference("data", "b");
        for _ in 0..50_000 {
            value = Bson::Array(vec![value]);
        }
        let mut document = doc! {"output": value};
        assert_eq!(references_in(&document).len(), 1);
        put_in_place(&mut document, &mut |_| Some(Bson::Int32(1)));
        assert!(references_in(&document).is_empty());
        // Taken apart from outside in: dropping it whole would recurse.
        let mut open = vec![document.remove("output").unwrap()];
        while let Some(value) = open.pop() {
            if let Bson::Array(items) = value {
                open.extend(items);
            }
        }
    }
}
