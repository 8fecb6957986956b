//! Places in a text.

use std::ops::Range;

use super::Span;

/// Characters before every so many bytes are counted once, so that a place in one long line is found quickly too.
const CHECKPOINT_BYTES: usize = 1024;

/// A span is marked for at most this many characters: more than any screen shows.
const LENGTH_LIMIT: usize = 200;

/// Finds line and column of a byte offset.
pub(super) struct Lines<'text> {
    text: &'text str,
    /// Where each line begins.
    starts: Vec<usize>,
    /// Characters before byte 0, before byte 1024, and so on.
    checkpoints: Vec<usize>,
}

impl<'text> Lines<'text> {
    /// Returns the index of the text's lines.
    pub(super) fn new(text: &'text str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(after_breaks).collect();
        let mut total = 0;
        let checkpoints = text
            .as_bytes()
            .chunks(CHECKPOINT_BYTES)
            .map(|chunk| {
                let before = total;
                total += characters(chunk);
                before
            })
            .collect();
        Self { text, starts, checkpoints }
    }

    /// Returns the place of a range of bytes; without one, nowhere.
    pub(super) fn span(&self, range: Option<Range<usize>>) -> Span {
        let Some(range) = range else { return Span::default() };
        // The end of a text that stops too early is a place too.
        let range = range.start.min(self.text.len())..range.end.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= range.start);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        let inside = self.text.get(range.clone()).unwrap_or_default();
        let length = inside.chars().take_while(|c| *c != '\n').take(LENGTH_LIMIT).count().max(1);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let column = self.characters_before(range.start) - self.characters_before(start) + 1;
        Span { line: number(line), column: number(column), length: number(length) }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let chunk = offset / CHECKPOINT_BYTES;
        let counted =
            self.checkpoints.get(chunk).copied().unwrap_or_else(|| characters(self.text.as_bytes()));
        let rest = self.text.as_bytes().get(chunk * CHECKPOINT_BYTES..offset).unwrap_or_default();
        counted + characters(rest)
    }
}

/// Bytes that begin a character of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_long_line_count_characters() {
        let text = format!("ab\n{}x", "é".repeat(2000));
        let lines = Lines::new(&text);
        let span = |start, end| lines.span(Some(start..end));
        assert_eq!(span(4003, 4004), Span { line: 2, column: 2001, length: 1 });
        assert_eq!(span(1, 4004), Span { line: 1, column: 2, length: 1 });
        assert_eq!(span(3, 4004), Span { line: 2, column: 1, length: 200 });
        assert_eq!(span(9999, 9999), Span { line: 2, column: 2002, length: 1 });
        for length in [1024, 2048] {
            let exact = "a".repeat(length);
            let end = Lines::new(&exact).span(Some(length..length));
            assert_eq!(end.column as usize, length + 1);
        }
    }
}
