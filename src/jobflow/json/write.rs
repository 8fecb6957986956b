//! JSON as Python's `json` module writes it, so that Python reads it back as it was.

use bson::{Bson, Document};

/// What a number becomes that JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OddNumbers {
    /// `NaN`, `Infinity`, `-Infinity`, as Python's `json` writes and reads them.
    Python,
    /// `null`, as orjson writes them; it reads no others.
    Null,
}

/// Returns the document as JSON, in ASCII, with spaces after `,` and `:`.
///
/// Times become the text that Python's `str` gives them (`2024-01-02 03:04:05.678000`, UTC), as maggma has it; object
/// ids their hexadecimal digits.
pub fn to_text(document: &Document, odd: OddNumbers) -> String {
    let mut writer = Writer { out: String::new(), odd };
    writer.document(document);
    writer.out
}

struct Writer {
    out: String,
    odd: OddNumbers,
}

impl Writer {
    /// Recursion is as deep as the value, which the readers of results bound.
    fn value(&mut self, value: &Bson) {
        match value {
            Bson::Double(number) => self.number(*number),
            Bson::String(text) => self.text(text),
            Bson::Array(items) => self.list(items),
            Bson::Document(document) => self.document(document),
            Bson::Boolean(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Bson::Null | Bson::Undefined => self.out.push_str("null"),
            Bson::Int32(number) => self.plain(number),
            Bson::Int64(number) => self.plain(number),
            Bson::DateTime(time) => self.text(&python_time(*time)),
            Bson::ObjectId(id) => self.text(&id.to_hex()),
            other => self.text(&other.to_string()),
        }
    }

    fn plain(&mut self, number: &impl std::fmt::Display) {
        self.out.push_str(&number.to_string());
    }

    fn number(&mut self, number: f64) {
        let odd = match number {
            n if n.is_nan() => "NaN",
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            // The shortest digits that give the same number, with an exponent where that is shorter.
            _ => return self.out.push_str(&serde_json::Value::from(number).to_string()),
        };
        self.out.push_str(if self.odd == OddNumbers::Python { odd } else { "null" });
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                ' '..='~' => self.out.push(c),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.extend(format!("\\u{unit:04x}").chars());
                    }
                }
            }
        }
        self.out.push('"');
    }

    fn list(&mut self, items: &[Bson]) {
        self.out.push('[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push_str(", ");
            }
            self.value(item);
        }
        self.out.push(']');
    }

    fn document(&mut self, document: &Document) {
        self.out.push('{');
        for (place, (key, value)) in document.iter().enumerate() {
            if place > 0 {
                self.out.push_str(", ");
            }
            self.text(key);
            self.out.push_str(": ");
            self.value(value);
        }
        self.out.push('}');
    }
}

/// Returns the moment as Python's `str(datetime)` gives it, without a zone: UTC.
pub fn python_time(time: bson::DateTime) -> String {
    let moment = jiff::Timestamp::from_millisecond(time.timestamp_millis()).unwrap_or_default();
    let time = moment.to_zoned(jiff::tz::TimeZone::UTC);
    if time.subsec_nanosecond() == 0 {
        return time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    }
    time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    #[test]
    fn it_is_written_as_python_writes_it() {
        let document = doc! {
            "a": [1, -2.5, 1e300, 0.1, 3.0, true, null], "é\"\\\n\u{7f}": "😀\u{1}", "x": {}, "y": [],
            "n": [f64::NAN, f64::INFINITY, f64::NEG_INFINITY], "l": 1_i64 << 40,
            "t": [bson::DateTime::from_millis(1_704_164_645_678), bson::DateTime::from_millis(1_704_164_645_000)],
        };
        let expected = r#"{"a": [1, -2.5, 1e+300, 0.1, 3.0, true, null], "\u00e9\"\\\n\u007f": "\ud83d\ude00\u0001", "x": {}, "y": [], "n": [NaN, Infinity, -Infinity], "l": 1099511627776, "t": ["2024-01-02 03:04:05.678000", "2024-01-02 03:04:05"]}"#;
        assert_eq!(to_text(&document, OddNumbers::Python), expected);
        let without = expected.replace("NaN, Infinity, -Infinity", "null, null, null");
        assert_eq!(to_text(&document, OddNumbers::Null), without);
    }

    fn value() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            Just(Bson::Null),
            any::<bool>().prop_map(Bson::Boolean),
            any::<i32>().prop_map(Bson::Int32),
            any::<f64>()
                .prop_filter("odd ones are not equal to themselves", |n| !n.is_nan())
                .prop_map(Bson::Double),
            any::<String>().prop_map(Bson::String),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Bson::Array),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|entries| Bson::Document(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(value in value()) {
            let document = doc! {"value": value};
            let text = to_text(&document, OddNumbers::Python);
            prop_assert!(text.is_ascii());
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), bson!(document));
        }
    }
}
