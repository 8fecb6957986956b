//! Amounts of memory and time as people write them. What the model reads leniently from project files, a flow file
//! has to say clearly.

use crate::model::resources::{parse_bytes, parse_seconds};

/// Ten years: more than any queue takes.
const LONGEST_SECONDS: u64 = 315_360_000;

/// Returns the bytes that `text` says: a number and a unit, such as `2GB`, `1.5 GiB`, `800M`; all units are powers of
/// 1024, as schedulers count. A number without a unit is refused. The error says what to write.
pub fn memory_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if is_bare(text) {
        return Err(format!("`{text}` has no unit: write {text}MB or {text}GB"));
    }
    parse_bytes(text)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`{text}` is no amount of memory: write for example 500MB, 2GB or 1.5TB"))
}

/// Returns the seconds that `text` says: `30m`, `2h30m`, `1d12h`, `45s`; `HH:MM:SS`; Slurm's `D-HH:MM:SS`.
///
/// A number without a unit and `MM:SS` are refused, because nobody knows what they mean. The error says what to
/// write.
pub fn duration_seconds(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if is_bare(text) {
        return Err(format!("`{text}` has no unit: write {text}s, {text}m or {text}h"));
    }
    if let Some((first, second)) = text.split_once(':')
        && is_bare(first)
        && is_bare(second)
    {
        return Err(format!(
            "`{text}` may mean hours and minutes or minutes and seconds: write {first}h{second}m or {first}m{second}s"
        ));
    }
    parse_seconds(text).filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds)).ok_or_else(|| {
        format!("`{text}` is no time: write for example 30m, 2h30m, 1d12h, 02:30:00 or 1-12:00:00")
    })
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_unit() {
        let cases =
            [("2GB", 2 << 30), ("2 GiB", 2 << 30), ("1.5G", 3 << 29), ("500mb", 500 << 20), ("4K", 4096)];
        for (text, bytes) in cases {
            assert_eq!(memory_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(memory_bytes("2000"), Err("`2000` has no unit: write 2000MB or 2000GB".to_owned()));
        for text in ["", "GB", "-1GB", "1.2.3GB", "2 gigs", "0GB", "1e3MB"] {
            assert!(memory_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_clear() {
        let cases = [
            ("30m", 1800),
            ("2h30m", 9000),
            ("1d12h", 129_600),
            ("02:30:00", 9000),
            ("1-00:00:00", 86_400),
            ("100:00:01", 360_001),
        ];
        for (text, seconds) in cases {
            assert_eq!(duration_seconds(text), Ok(seconds), "{text}");
        }
        assert_eq!(duration_seconds("90"), Err("`90` has no unit: write 90s, 90m or 90h".to_owned()));
        assert!(duration_seconds("10:30").unwrap_err().contains("10h30m or 10m30s"));
        for text in ["", "m", "1.5h", "-1h", "0s", "99999d", "5 parsecs", "1--2:0:0"] {
            assert!(duration_seconds(text).is_err(), "{text}");
        }
    }
}
