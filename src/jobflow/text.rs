//! Values as programs read them: plain JSON, and text for arguments, variables and parts of texts.

use bson::{Bson, Document};
use serde_json::Value;

/// Key of a text with values in it: `{"$text": [part, reference, part]}`.
pub const TEXT_KEY: &str = "$text";

/// Returns the value as plain JSON: NaN and infinities become null (as jobflow-remote writes them for workers),
/// times ISO 8601, everything else that JSON does not have its text.
pub fn to_json(value: &Bson) -> Value {
    match value {
        Bson::Double(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Bson::String(text) => Value::String(text.clone()),
        Bson::Array(items) => items.iter().map(to_json).collect(),
        Bson::Document(document) => document
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Bson::Boolean(value) => Value::Bool(*value),
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::DateTime(time) => Value::String(time.try_to_rfc3339_string().unwrap_or_default()),
        Bson::ObjectId(id) => Value::String(id.to_hex()),
        other => Value::String(other.to_string()),
    }
}

/// Returns the value as one text: a text as it is, everything else as compact JSON.
pub fn to_text(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        other => to_json(other).to_string(),
    }
}

/// Returns the value with each `{"$text": […]}` in it put together.
///
/// Recursion is as deep as the value, which the resolver and the stores bound.
pub fn assembled(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => match parts(document) {
            Some(parts) => Bson::String(parts.iter().map(to_text).collect()),
            None => {
                let entries = document.iter().map(|(key, value)| (key.clone(), assembled(value)));
                Bson::Document(entries.collect())
            }
        },
        Bson::Array(items) => Bson::Array(items.iter().map(assembled).collect()),
        other => other.clone(),
    }
}

fn parts(document: &Document) -> Option<&Vec<Bson>> {
    if document.len() == 1 { document.get_array(TEXT_KEY).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    #[test]
    fn values_become_text_as_a_program_reads_them() {
        assert_eq!(to_text(&bson!("a b")), "a b");
        assert_eq!(to_text(&bson!(1.0)), "1.0");
        assert_eq!(to_text(&bson!(-7)), "-7");
        assert_eq!(to_text(&bson!(1e-30)), "1e-30");
        assert_eq!(to_text(&bson!([1, "x", {"a": null}])), r#"[1,"x",{"a":null}]"#);
        assert_eq!(to_text(&Bson::Double(f64::NAN)), "null");
        assert_eq!(to_text(&Bson::Int64(1 << 40)), "1099511627776");
    }

    #[test]
    fn texts_are_put_together_at_any_depth() {
        let value = bson!({"a": [{"$text": ["e=", 1.5, ";", "x"]}], "b": {"$text": [], "other": 1}});
        assert_eq!(assembled(&value), bson!({"a": ["e=1.5;x"], "b": {"$text": [], "other": 1}}));
    }
}
