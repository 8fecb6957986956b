//! Reads, and writes, JSON as Python's `json` module writes it: with `NaN`, `Infinity` and `-Infinity`.
//!
//! Depth and number of values are limited, every error has its offset, and lone surrogates (which Python writes and
//! no UTF-8 text can hold) become U+FFFD. What a value becomes is the business of a [`Builder`].

mod write;

use std::ops::Range;

use bson::{Bson, Document};

pub use write::{OddNumbers, python_time, to_text};

/// How deep values may be nested. MongoDB takes documents of 100 levels.
pub const DEPTH_LIMIT: usize = 100;

/// How many values a text may hold: a list of two million numbers is 32 MB of BSON, beyond what any output may have.
pub const NODE_LIMIT: usize = 2_000_000;

/// Where a text is not JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at offset {offset}")]
pub struct JsonError {
    /// In bytes from the start.
    pub offset: usize,
    pub message: String,
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Boolean(bool),
    Integer(i64),
    /// Also an integer that does not fit into 64 bits, to the nearest number.
    Number(f64),
    Text(String),
}

/// A key of an object: its text, where it stands, its value.
pub type Member<V> = (String, Range<usize>, V);

/// Makes values of what is read; ranges are in bytes.
pub trait Builder {
    type Value;
    fn scalar(&mut self, scalar: Scalar, range: Range<usize>) -> Self::Value;
    fn array(&mut self, items: Vec<Self::Value>, range: Range<usize>) -> Self::Value;
    fn object(&mut self, members: Vec<Member<Self::Value>>, range: Range<usize>) -> Self::Value;
}

/// Returns the only value of the text as BSON: integers as int32 where they fit, else int64, else double; of a key
/// that is given twice the last value, as Python has it.
pub fn parse(text: &[u8]) -> Result<Bson, JsonError> {
    read(text, &mut IntoBson)
}

/// Returns the only value of the text as [`parse`] does, of up to `node_limit` values.
pub fn parse_within(text: &[u8], node_limit: usize) -> Result<Bson, JsonError> {
    read_within(text, &mut IntoBson, node_limit)
}

/// Returns the only value of the text, made by `builder`.
pub fn read<B: Builder>(bytes: &[u8], builder: &mut B) -> Result<B::Value, JsonError> {
    read_within(bytes, builder, NODE_LIMIT)
}

/// Returns the only value of the text, made by `builder` of up to `node_limit` values.
pub fn read_within<B: Builder>(
    bytes: &[u8],
    builder: &mut B,
    node_limit: usize,
) -> Result<B::Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError {
        offset: error.valid_up_to(),
        message: "the text is not UTF-8".to_owned(),
    })?;
    let mut reader = Reader { text, at: 0, count: 0, node_limit, builder };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.error("something follows the end of the value"));
    }
    Ok(value)
}

struct IntoBson;

impl Builder for IntoBson {
    type Value = Bson;

    fn scalar(&mut self, scalar: Scalar, _: Range<usize>) -> Bson {
        match scalar {
            Scalar::Null => Bson::Null,
            Scalar::Boolean(value) => Bson::Boolean(value),
            Scalar::Integer(value) => i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32),
            Scalar::Number(value) => Bson::Double(value),
            Scalar::Text(text) => Bson::String(text),
        }
    }

    fn array(&mut self, items: Vec<Bson>, _: Range<usize>) -> Bson {
        Bson::Array(items)
    }

    fn object(&mut self, members: Vec<Member<Bson>>, _: Range<usize>) -> Bson {
        Bson::Document(members.into_iter().map(|(key, _, value)| (key, value)).collect::<Document>())
    }
}

struct Reader<'text, B> {
    text: &'text str,
    at: usize,
    count: usize,
    node_limit: usize,
    builder: &'text mut B,
}

impl<B: Builder> Reader<'_, B> {
    fn error(&self, message: impl Into<String>) -> JsonError {
        JsonError { offset: self.at, message: message.into() }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Recursion is bounded by [`DEPTH_LIMIT`].
    fn value(&mut self, depth: usize) -> Result<B::Value, JsonError> {
        self.count += 1;
        if self.count > self.node_limit {
            return Err(self.error(format!("there are more than {} values", self.node_limit)));
        }
        if depth >= DEPTH_LIMIT {
            return Err(self.error(format!("values are nested deeper than {DEPTH_LIMIT} levels")));
        }
        let start = self.at;
        match self.peek() {
            None => Err(self.error("a value is missing: the text ends")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let text = self.string()?;
                Ok(self.builder.scalar(Scalar::Text(text), start..self.at))
            }
            Some(_) => {
                let scalar = self.plain()?;
                Ok(self.builder.scalar(scalar, start..self.at))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<B::Value, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if !self.take(b']') {
            loop {
                self.skip_space();
                items.push(self.value(depth + 1)?);
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("`,` or `]` is missing"));
                }
            }
        }
        Ok(self.builder.array(items, start..self.at))
    }

    fn object(&mut self, depth: usize) -> Result<B::Value, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                members.push(self.member(depth)?);
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("`,` or `}` is missing"));
                }
            }
        }
        Ok(self.builder.object(members, start..self.at))
    }

    fn member(&mut self, depth: usize) -> Result<Member<B::Value>, JsonError> {
        self.skip_space();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.error("a key in double quotes is missing"));
        }
        let key = self.string()?;
        let range = start..self.at;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.error("`:` is missing after the key"));
        }
        self.skip_space();
        Ok((key, range, self.value(depth + 1)?))
    }

    fn plain(&mut self) -> Result<Scalar, JsonError> {
        const WORDS: [(&str, Scalar); 6] = [
            ("null", Scalar::Null),
            ("true", Scalar::Boolean(true)),
            ("false", Scalar::Boolean(false)),
            ("NaN", Scalar::Number(f64::NAN)),
            ("Infinity", Scalar::Number(f64::INFINITY)),
            ("-Infinity", Scalar::Number(f64::NEG_INFINITY)),
        ];
        let end =
            self.rest().find([',', ']', '}', ':', ' ', '\t', '\n', '\r', '"']).unwrap_or(self.rest().len());
        let word = self.rest().get(..end).unwrap_or_default();
        let known = WORDS.into_iter().find(|(name, _)| *name == word).map(|(_, scalar)| scalar);
        let Some(scalar) = known.or_else(|| number(word)) else {
            if word.is_empty() {
                return Err(self.error("a value is missing"));
            }
            let shown: String = word.chars().take(20).collect();
            return Err(self.error(format!("`{shown}` is no JSON value")));
        };
        self.at += end;
        Ok(scalar)
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(length) = self.rest().find(['"', '\\']) else {
                return Err(self.error("the text has no closing quote"));
            };
            let part = self.rest().get(..length).unwrap_or_default();
            if let Some(control) = part.find(|c: char| c < ' ') {
                self.at += control;
                return Err(self.error("a control character stands in the text"));
            }
            out.push_str(part);
            self.at += length;
            if self.take(b'"') {
                return Ok(out);
            }
            self.at += 1;
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(byte) = self.peek() else { return Err(self.error("the text ends after a backslash")) };
        let character = match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.error("this escape is not known")),
        };
        self.at += 1;
        Ok(character)
    }

    /// At the `u` of an escape; joins a pair of surrogates.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.four_digits()?;
        if !(0xD800..0xDC00).contains(&first) || !self.rest().starts_with("\\u") {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 1;
        let second = self.four_digits()?;
        if !(0xDC00..0xE000).contains(&second) {
            self.at = before;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(value) if all_digits => {
                self.at += 5;
                Ok(value)
            }
            _ => Err(self.error("four hexadecimal digits are missing after \\u")),
        }
    }
}

/// Returns the number that `word` is by JSON's grammar (RFC 8259, section 6).
fn number(word: &str) -> Option<Scalar> {
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let exponent_digits = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    if !digits_only(whole)
        || leading_zero
        || !fraction.is_none_or(digits_only)
        || !exponent_digits.is_none_or(digits_only)
    {
        return None;
    }
    if fraction.is_none()
        && exponent.is_none()
        && let Ok(integer) = word.parse()
    {
        return Some(Scalar::Integer(integer));
    }
    word.parse().ok().map(Scalar::Number)
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn python_json_is_read() {
        let text = br#" {"a": [1, -2, 3000000000, 1.5e-3, NaN, -Infinity, null, true], "b": {"c\u00e9\n\/": "\ud83d\ude00\ud800x"}, "a2": 1e3} "#;
        let Bson::Document(document) = parse(text).unwrap() else { panic!() };
        let list = document.get_array("a").unwrap();
        assert_eq!(list[..4], [bson!(1), bson!(-2), Bson::Int64(3_000_000_000), bson!(1.5e-3)]);
        assert!(matches!(list[4], Bson::Double(value) if value.is_nan()));
        assert_eq!(list[5..], [bson!(f64::NEG_INFINITY), Bson::Null, bson!(true)]);
        assert_eq!(document.get("b"), Some(&bson!({"cé\n/": "😀\u{fffd}x"})));
        assert_eq!(document.get("a2"), Some(&bson!(1000.0)));
        assert_eq!(parse(b"123456789012345678901"), Ok(bson!(123_456_789_012_345_680_000.0)));
    }

    #[test]
    fn datetimes_of_monty_stay_as_they_are() {
        let text = br#"{"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00"}"#;
        let expected = bson!({"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00"});
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn errors_have_their_offset() {
        let cases: [(&[u8], usize); 13] = [
            (b"", 0),
            (b"[1, 2", 5),
            (b"[1 2]", 3),
            (b"{\"a\" 1}", 5),
            (b"{a: 1}", 1),
            (b"[01]", 1),
            (b"[1.]", 1),
            (b"[.5]", 1),
            (b"[+1]", 1),
            (b"nul", 0),
            (b"[] x", 3),
            (b"\"a\nb\"", 2),
            (b"[\"\xff\"]", 2),
        ];
        for (text, offset) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.offset, offset, "{}: {error}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_using_up_the_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(parse(deep.as_bytes()).unwrap_err().message.contains("deeper"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(|value| serde_json::json!(value)),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_the_same(value in json()) {
            let text = serde_json::to_string(&value).unwrap();
            let ours = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(crate::jobflow::text::to_json(&ours), value);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            parse(&bytes).ok();
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"\\\\u0-9aefnIN.+-]{0,40}") {
            parse(text.as_bytes()).ok();
        }
    }
}
