//! Values as monty writes them into JSON (`monty/json.py`).

use bson::Bson;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// Returns the moment that a serialized `datetime` says, to the millisecond below, or nothing where it is none.
///
/// `{"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00.000000+00:00"}`; without an offset
/// it is in UTC. A bare text of that form is taken too.
pub fn moment(value: &Bson) -> Option<Timestamp> {
    let text = match value {
        Bson::Document(document) if document.get_str("@class").is_ok_and(|class| class == "datetime") => {
            document.get_str("string").ok()?
        }
        Bson::String(text) => text,
        Bson::DateTime(moment) => return Some(*moment),
        _ => return None,
    };
    let text = text.trim();
    let in_utc =
        || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(in_utc)?;
    Some(Timestamp::from_millis(moment.as_microsecond().div_euclid(1000)))
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_with_and_without_an_offset_are_read() {
        let cases = [
            ("2026-11-20 07:19:03.324059+00:00", Some(1_795_159_143_324)),
            ("2026-11-20 07:19:03.324059", Some(1_795_159_143_324)),
            ("2026-11-20 08:19:03.324059+01:00", Some(1_795_159_143_324)),
            ("2026-11-20T07:19:03+00:00", Some(1_795_159_143_000)),
            ("2026-11-20 07:19:03", Some(1_795_159_143_000)),
            ("1969-12-31 23:59:59.999999", Some(-1)),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let value = bson!({"@module": "datetime", "@class": "datetime", "string": text});
            assert_eq!(moment(&value).map(Timestamp::timestamp_millis), expected, "{text}");
        }
        assert_eq!(moment(&bson!({"string": "2026-11-20 07:19:03"})), None);
        assert_eq!(moment(&Bson::Null), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-0-9:.+TZ ]{0,40}") {
            moment(&Bson::String(text));
        }
    }
}
