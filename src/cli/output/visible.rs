//! Text from outside (job names, errors, logs) made harmless for a terminal.

/// Returns `text` with every control character but line feed and tab written out (`\x1b`), so that no job name and no
/// error message can colour, move or command the terminal.
///
/// Characters that turn the direction of writing are written out too: they can make one command look like another.
pub(in crate::cli) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(character.escape_unicode());
            }
            control if control.is_control() => shown.extend(["\\x", &format!("{:02x}", u32::from(control))]),
            other => shown.push(other),
        }
    }
    shown
}

/// Returns [`visible`] text in one line: line feeds and tabs are written out too.
pub(in crate::cli) fn visible_line(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\u{1b}[2Jb\r\u{7}\n\tü\u{85}"), "a\\x1b[2Jb\\x0d\\x07\n\tü\\x85");
        assert_eq!(visible_line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(visible("evil\u{202e}txt"), "evil\\u{202e}txt");
    }

    proptest! {
        #[test]
        fn nothing_that_commands_a_terminal_is_left(text in any::<String>()) {
            prop_assert!(!visible_line(&text).chars().any(char::is_control));
        }
    }
}
