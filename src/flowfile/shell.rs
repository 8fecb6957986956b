//! A shell text with values of other jobs in it.
//!
//! A value never becomes part of the text: it becomes a variable that is set before, and its place in the text is
//! that variable. So a value with a quote or a `;` in it is still one value. The one place where this cannot work is
//! inside single quotes, where a shell replaces nothing; there a reference is refused.

use std::collections::HashMap;

use super::decode::At;
use super::plan::{ProgramPlan, Template};
use super::scope::Scope;
use super::template::{Part, Path};

/// Returns the shell text at this place.
pub(super) fn shell(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<ProgramPlan> {
    let text = at.text(scope.faults)?;
    if text.trim().is_empty() {
        scope.faults.push(at.fault("the shell text is empty"));
        return None;
    }
    if text.contains('\0') {
        scope.faults.push(at.fault("the shell text contains a NUL byte"));
        return None;
    }
    if text.starts_with("#!") {
        let fault = at.fault("a shell text is run by `sh`, whatever its first line says");
        scope
            .faults
            .push(fault.hint("for another interpreter: put the text under `files`, run it with `command`"));
        return None;
    }
    let parts = scope.split(text, at)?;
    let mut writer = Writer { out: String::new(), names: HashMap::new(), variables: Vec::new() };
    // The text of a here-document is not read as shell, so quotes in it mean nothing.
    let mut quotes = (!text.contains("<<")).then(Quotes::default);
    for part in parts {
        match part {
            Part::Literal(literal) => {
                if let Some(quotes) = &mut quotes {
                    quotes.read(&literal);
                }
                writer.out.push_str(&literal);
            }
            Part::Path(path) => {
                if quotes.as_ref().is_some_and(Quotes::inside_single) {
                    let message = format!(
                        "{} stands inside single quotes, where the shell replaces nothing",
                        path.source
                    );
                    scope.faults.push(
                        at.fault(message)
                            .hint(format!("hand it over, as in: awk -v x=\"{}\" '…'", path.source)),
                    );
                }
                // On a fault the others are looked at all the same.
                if let Some(template) = scope.resolve(&path, at) {
                    writer.variable(&path, template);
                }
            }
        }
    }
    Some(ProgramPlan::Shell { text: writer.out, variables: writer.variables })
}

struct Writer {
    out: String,
    /// Names of variables by what they stand for.
    names: HashMap<String, String>,
    variables: Vec<(String, Template)>,
}

impl Writer {
    fn variable(&mut self, path: &Path, template: Template) {
        let name = match self.names.get(&path.source) {
            Some(name) => name.clone(),
            None => {
                let name = self.fresh_name(&path.source);
                self.names.insert(path.source.clone(), name.clone());
                self.variables.push((name.clone(), template));
                name
            }
        };
        self.out.push_str("${");
        self.out.push_str(&name);
        self.out.push('}');
    }

    /// `${relax.energy[0]}` becomes `jf_relax_energy_0`.
    fn fresh_name(&self, source: &str) -> String {
        let letters = source.trim_start_matches("${").trim_end_matches('}');
        let plain: String =
            letters.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let base = format!("jf_{}", plain.trim_end_matches('_'));
        let taken = |name: &String| self.variables.iter().any(|(known, _)| known == name);
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(base)
    }
}

/// Follows the quotes of a shell text (POSIX, Shell Command Language 2.2), as far as needed to know whether a place
/// is inside single quotes.
#[derive(Default)]
struct Quotes {
    /// The open constructs, innermost last; none is plain text.
    open: Vec<Open>,
    escaped: bool,
    comment: bool,
    previous: Option<char>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    /// `$(` or `(`.
    Parenthesis,
}

impl Quotes {
    fn inside_single(&self) -> bool {
        self.open.last() == Some(&Open::Single)
    }

    fn read(&mut self, text: &str) {
        for character in text.chars() {
            self.step(character);
            self.previous = Some(character);
        }
    }

    fn step(&mut self, character: char) {
        if self.comment {
            self.comment = character != '\n';
            return;
        }
        if std::mem::take(&mut self.escaped) {
            return;
        }
        let innermost = self.open.last().copied();
        let word_start = self.previous.is_none_or(|c| c.is_whitespace() || ";&|()".contains(c));
        match (innermost, character) {
            (Some(Open::Single), '\'') | (Some(Open::Double), '"') | (Some(Open::Parenthesis), ')') => {
                self.open.pop();
            }
            (Some(Open::Single), _) => {}
            (_, '\\') => self.escaped = true,
            (Some(Open::Double), '(') if self.previous == Some('$') => self.open.push(Open::Parenthesis),
            (Some(Open::Double), _) => {}
            (_, '\'') => self.open.push(Open::Single),
            (_, '"') => self.open.push(Open::Double),
            (_, '(') => self.open.push(Open::Parenthesis),
            (_, '#') if word_start => self.comment = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quotes;

    #[test]
    fn single_quotes_are_told_from_everything_else() {
        let inside = [
            "awk '{print ",
            "a \"$(awk 'x ",
            "# don't\necho 'x",
            "x \\' 'y",
            "\"it's\" 'a",
            "echo a#b 'c",
            "( echo 'a",
        ];
        let outside = [
            "echo ",
            "echo \"it's ",
            "# don't ",
            "echo 'a' \"",
            "awk '{print}' ",
            "echo \"$(awk 'x') ",
            "x \\'",
            "case x in a) echo ",
        ];
        let read = |text: &str| {
            let mut quotes = Quotes::default();
            quotes.read(text);
            quotes.inside_single()
        };
        inside.iter().for_each(|text| assert!(read(text), "{text}"));
        outside.iter().for_each(|text| assert!(!read(text), "{text}"));
    }
}
