//! Values of MongoDB that JSON does not have, as the files of a worker hold them (MongoDB's extended JSON, version 2).

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document};

/// Returns the value with `{"$binary": {"base64": …, "subType": …}}` and `{"$oid": …}` replaced by what they stand for.
///
/// What is of no such form stays as it is, a key that begins with `$` too.
pub fn with_types(value: Bson) -> Bson {
    match value {
        Bson::Array(items) => Bson::Array(items.into_iter().map(with_types).collect()),
        Bson::Document(document) => match typed(&document) {
            Some(value) => value,
            None => {
                Bson::Document(document.into_iter().map(|(key, value)| (key, with_types(value))).collect())
            }
        },
        other => other,
    }
}

fn typed(document: &Document) -> Option<Bson> {
    if document.len() != 1 {
        return None;
    }
    if let Ok(text) = document.get_str("$oid") {
        return ObjectId::parse_str(text).ok().map(Bson::ObjectId);
    }
    let binary = document.get_document("$binary").ok().filter(|binary| binary.len() == 2)?;
    let subtype = u8::from_str_radix(binary.get_str("subType").ok()?, 16).ok()?;
    let bytes =
        Binary::from_base64(binary.get_str("base64").ok()?, Some(BinarySubtype::from(subtype))).ok()?;
    Some(Bson::Binary(bytes))
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    #[test]
    fn values_of_python_come_back() {
        let text = br#"{"a": [{"$binary": {"base64": "AP8=", "subType": "00"}}], "b": {"$oid": "6afff43a374b9c7d94d5a44a"}}"#;
        let Bson::Document(document) = with_types(crate::jobflow::json::parse(text).unwrap()) else {
            panic!()
        };
        let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255] };
        assert_eq!(document.get_array("a").unwrap()[0], Bson::Binary(bytes));
        assert_eq!(document.get_object_id("b").unwrap().to_hex(), "6afff43a374b9c7d94d5a44a");
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for value in [
            bson!({"$oid": "short"}),
            bson!({"$oid": "6afff43a374b9c7d94d5a44a", "more": 1}),
            bson!({"$binary": {"base64": "?", "subType": "00"}}),
            bson!({"$binary": "AA=="}),
            bson!({"$x": [{"$date": 1}]}),
        ] {
            assert_eq!(with_types(value.clone()), value);
        }
    }
}
