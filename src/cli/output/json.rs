//! JSON for scripts.

use std::io;

use bson::{Bson, Document};
use serde_json::{Map, Value};

use super::{Output, View, write_out};
use crate::model::Timestamp;

/// Prints each view as one indented JSON value.
pub(super) struct JsonOutput;

impl Output for JsonOutput {
    fn show(&self, view: &dyn View) -> io::Result<()> {
        write_out(&format!("{:#}\n", view.json()))
    }

    fn remark(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the moment in UTC, RFC 3339 with milliseconds.
pub(in crate::cli) fn time(at: Timestamp) -> Value {
    at.try_to_rfc3339_string().map_or(Value::Null, Value::String)
}

/// Returns the moment, or null.
pub(in crate::cli) fn optional_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}

/// Returns a document as plain JSON, by the rules of [`plain`].
pub(in crate::cli) fn document(document: &Document) -> Value {
    Value::Object(document.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Map<_, _>>())
}

/// Returns a stored value as plain JSON: dates as RFC 3339, NaN and infinities as null (as jobflow writes them), types
/// that JSON does not have in MongoDB's extended form.
pub(in crate::cli) fn plain(value: &Bson) -> Value {
    match value {
        Bson::Document(inner) => document(inner),
        Bson::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Bson::DateTime(at) => time(*at),
        Bson::Double(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Bson::Int32(number) => Value::from(*number),
        Bson::Int64(number) => Value::from(*number),
        other => other.clone().into_relaxed_extjson(),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn stored_values_become_plain_json() {
        let stored = doc! {
            "n": 1_i64, "x": f64::NAN, "at": Timestamp::from_millis(1_700_000_000_123),
            "list": [1, 2.5, null, "a"], "id": bson::oid::ObjectId::from_bytes([0; 12]),
        };
        let expected = serde_json::json!({
            "n": 1, "x": null, "at": "2023-11-14T22:13:20.123Z",
            "list": [1, 2.5, null, "a"], "id": {"$oid": "000000000000000000000000"},
        });
        assert_eq!(document(&stored), expected);
    }
}
