//! Metadata in rows that an index can find.

use bson::{Bson, Document};
use sha2::{Digest as _, Sha256};

/// Longer values are found by their hash, so that a row stays small.
const PLAIN_BYTES: usize = 200;

/// Returns a key and a value for each thing a filter may ask for: whole values, and what is inside them.
///
/// Keys of nested documents are joined by dots; a list gives one row for itself and one for each element, as in a
/// MongoDB filter.
pub(super) fn rows(metadata: &Document) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    push_document(&mut rows, "", metadata);
    rows
}

fn push_document(rows: &mut Vec<(String, String)>, path: &str, document: &Document) {
    for (key, value) in document {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        push(rows, &path, value);
        if let Bson::Array(elements) = value {
            for element in elements {
                push(rows, &path, element);
            }
        }
    }
}

fn push(rows: &mut Vec<(String, String)>, path: &str, value: &Bson) {
    rows.push((path.to_owned(), searchable(value)));
    if let Bson::Document(inner) = value {
        push_document(rows, path, inner);
    }
}

/// Returns a text that is the same for equal values and no others; 1 and 1.0 are equal.
pub(super) fn searchable(value: &Bson) -> String {
    let text = plain(value).into_canonical_extjson().to_string();
    if text.len() <= PLAIN_BYTES {
        return text;
    }
    let hash = Sha256::digest(text.as_bytes());
    format!("sha256:{}", super::files::hexadecimal(&hash))
}

/// Returns the value with whole numbers in one form.
fn plain(value: &Bson) -> Bson {
    match value {
        Bson::Int32(number) => Bson::Int64(i64::from(*number)),
        Bson::Double(number) => whole(*number).map_or(Bson::Double(*number), Bson::Int64),
        Bson::Array(elements) => elements.iter().map(plain).collect::<Vec<Bson>>().into(),
        Bson::Document(inner) => {
            inner.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Document>().into()
        }
        other => other.clone(),
    }
}

/// Returns the number as an integer where it is one, within what a double can tell apart.
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range on this line")]
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn equal_numbers_have_one_text() {
        assert_eq!(searchable(&Bson::Int32(3)), searchable(&Bson::Double(3.0)));
        assert_eq!(searchable(&Bson::Int32(3)), searchable(&Bson::Int64(3)));
        assert_ne!(searchable(&Bson::Int32(3)), searchable(&Bson::String("3".into())));
        assert_ne!(searchable(&Bson::Double(3.5)), searchable(&Bson::Int32(3)));
    }

    #[test]
    fn nested_values_and_elements_have_rows() {
        let keys: Vec<String> =
            rows(&doc! {"a": {"b": 1}, "c": ["x", {"d": 2}]}).into_iter().map(|row| row.0).collect();
        assert_eq!(keys, ["a", "a.b", "c", "c", "c", "c.d"]);
    }

    #[test]
    fn long_values_are_hashed() {
        let long = "x".repeat(1000);
        assert!(searchable(&long.clone().into()).len() < 100);
        assert_ne!(searchable(&long.into()), searchable(&"x".repeat(1001).into()));
    }
}
