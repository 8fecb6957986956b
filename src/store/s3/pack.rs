//! Documents in `MessagePack`, as Python's `msgpack.packb(document, default=monty…)` writes them.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document};
use rmpv::Value;

use crate::jobflow::json::{DEPTH_LIMIT, python_time};

/// Returns the document packed. NaN and infinities stay what they are; a time becomes a serialized `datetime` of monty.
pub(super) fn packed(document: &Document) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into memory cannot fail.
    drop(rmpv::encode::write_value(&mut out, &map(document)));
    out
}

/// Recursion is as deep as the value, which the readers of results bound.
fn value(value: &Bson) -> Value {
    match value {
        Bson::Double(number) => Value::F64(*number),
        Bson::String(text) => Value::from(text.as_str()),
        Bson::Array(items) => Value::Array(items.iter().map(self::value).collect()),
        Bson::Document(document) => map(document),
        Bson::Boolean(value) => Value::Boolean(*value),
        Bson::Null | Bson::Undefined => Value::Nil,
        Bson::Int32(number) => Value::from(*number),
        Bson::Int64(number) => Value::from(*number),
        Bson::DateTime(time) => {
            let texts = [("@module", "datetime"), ("@class", "datetime")];
            let texts = texts.map(|(key, text)| (Value::from(key), Value::from(text)));
            let time = (Value::from("string"), Value::from(python_time(*time)));
            Value::Map(texts.into_iter().chain([time]).collect())
        }
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }) => Value::Binary(bytes.clone()),
        Bson::ObjectId(id) => Value::from(id.to_hex()),
        other => Value::from(other.to_string()),
    }
}

fn map(document: &Document) -> Value {
    Value::Map(document.iter().map(|(key, inner)| (Value::from(key.as_str()), value(inner))).collect())
}

/// Returns the document, or why the bytes are none.
pub(super) fn unpacked(mut bytes: &[u8]) -> Result<Document, String> {
    // Each level takes two steps of the reader.
    let read = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_LIMIT * 2);
    match plain(read.map_err(|error| error.to_string())?)? {
        Bson::Document(document) => Ok(document),
        _ => Err("it is no document".to_owned()),
    }
}

fn plain(value: Value) -> Result<Bson, String> {
    Ok(match value {
        Value::Nil => Bson::Null,
        Value::Boolean(value) => Bson::Boolean(value),
        Value::Integer(number) => whole(number),
        Value::F32(number) => Bson::Double(f64::from(number)),
        Value::F64(number) => Bson::Double(number),
        Value::String(text) => Bson::String(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        Value::Binary(bytes) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }),
        Value::Array(items) => Bson::Array(items.into_iter().map(plain).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            let entry = |(key, value)| Ok::<_, String>((key_text(key), plain(value)?));
            Bson::Document(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        Value::Ext(kind, _) => return Err(format!("it has a value of the unknown kind {kind}")),
    })
}

fn whole(number: rmpv::Integer) -> Bson {
    match number.as_i64() {
        Some(number) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
        None => Bson::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Keys are texts in everything that jobflow writes; others get the text that JSON would give them.
fn key_text(key: Value) -> String {
    match key {
        Value::String(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    #[test]
    fn documents_survive() {
        let document = doc! {
            "data": [1, -7, 1_i64 << 40, 0.5, "é", null, true, {"a.b": []}, f64::INFINITY], "job_index": 1,
        };
        assert_eq!(unpacked(&packed(&document)).unwrap(), document);
        let odd = unpacked(&packed(&doc! {"x": f64::NAN})).unwrap();
        assert!(odd.get_f64("x").unwrap().is_nan());
        let time = doc! {"t": bson::DateTime::from_millis(1_704_164_645_678)};
        let expected =
            bson!({"@module": "datetime", "@class": "datetime", "string": "2024-01-02 03:04:05.678000"});
        assert_eq!(unpacked(&packed(&time)).unwrap().get("t"), Some(&expected));
    }

    #[test]
    fn what_is_no_document_is_told() {
        for bytes in [&b""[..], b"\x01", b"\xc1", b"\x81\xa1a\xd4\x01\x00", &[0x91; 3000]] {
            unpacked(bytes).unwrap_err();
        }
    }
}
