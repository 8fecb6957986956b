//! Questions before something is destroyed: asked on stderr, answered on stdin, with no as the default.

use std::io::{self, BufRead, Write};

use super::error::CliError;

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

/// Asks the question and returns the answer; input that ends without one is an error.
pub(super) fn ask(question: &str) -> Result<Answer, CliError> {
    ask_on(question, &mut io::stdin().lock(), &mut io::stderr())
}

/// Asks for the name and returns whether it was typed.
pub(super) fn ask_for_name(question: &str, name: &str) -> Result<Answer, CliError> {
    let typed = line(question, &mut io::stdin().lock(), &mut io::stderr())?;
    Ok(if typed == name { Answer::Yes } else { Answer::No })
}

fn ask_on(question: &str, input: &mut dyn BufRead, talk: &mut dyn Write) -> Result<Answer, CliError> {
    loop {
        match line(&format!("{question} [y/n] (n)"), input, talk)?.to_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "" | "n" | "no" => return Ok(Answer::No),
            _ => writeln!(talk, "Please answer y or n.")?,
        }
    }
}

fn line(question: &str, input: &mut dyn BufRead, talk: &mut dyn Write) -> Result<String, CliError> {
    write!(talk, "{question}: ")?;
    talk.flush()?;
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        writeln!(talk)?;
        let error = CliError::failed("nobody answered the question; nothing was changed");
        return Err(error.hint("`--yes` answers it beforehand"));
    }
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(typed: &str) -> Result<Answer, CliError> {
        ask_on("Sure?", &mut typed.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn no_is_the_default_and_silence_an_error() {
        for yes in ["y\n", "Yes\n", "what\ny\n"] {
            assert_eq!(answer(yes).unwrap(), Answer::Yes, "{yes}");
        }
        for no in ["\n", "n\n", "NO", "what\n\n"] {
            assert_eq!(answer(no).unwrap(), Answer::No, "{no}");
        }
        assert!(answer("").is_err() && answer("what\n").is_err());
    }
}
