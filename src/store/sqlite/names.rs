//! Shell patterns in SQLite's `GLOB`.

/// A name as a user asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Exact(String),
    Pattern {
        /// What every matching name begins with.
        prefix: String,
        glob: String,
    },
}

/// Returns how to search for `name`, which may have `*`, `?` and `[...]` as in a shell.
///
/// `[!...]` becomes SQLite's `[^...]`; a `[` that is never closed stands for itself.
pub(super) fn parse(name: &str) -> Name {
    let Some(first) = name.find(['*', '?', '[']) else { return Name::Exact(name.to_owned()) };
    let (prefix, mut rest) = name.split_at(first);
    let mut glob = prefix.to_owned();
    while let Some(start) = rest.find('[') {
        let (before, set) = rest.split_at(start);
        glob.push_str(before);
        rest = push_set(&mut glob, set);
    }
    glob.push_str(rest);
    Name::Pattern { prefix: prefix.to_owned(), glob }
}

/// Appends the set at the beginning of `text` and returns what comes after it.
fn push_set<'t>(glob: &mut String, text: &'t str) -> &'t str {
    let inner = text.strip_prefix('[').unwrap_or(text);
    let (negated, members) = match inner.strip_prefix('!') {
        Some(members) => ("^", members),
        None => ("", inner),
    };
    // A `]` that comes first is a member of the set.
    let first = members.chars().next().map_or(0, char::len_utf8);
    let Some(end) = members.get(first..).and_then(|tail| tail.find(']')).map(|end| end + first) else {
        glob.push_str("[[]");
        return inner;
    };
    let (members, rest) = members.split_at(end);
    glob.push('[');
    glob.push_str(negated);
    glob.push_str(members);
    glob.push(']');
    rest.strip_prefix(']').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_globs() {
        let table = [
            ("re*x", "re", "re*x"),
            ("[!ab]?", "", "[^ab]?"),
            ("a[b", "a", "a[[]b"),
            ("a[]b]c", "a", "a[]b]c"),
            ("a[!]b]c*", "a", "a[^]b]c*"),
            ("a[", "a", "a[[]"),
            ("[é]*", "", "[é]*"),
        ];
        for (name, prefix, glob) in table {
            assert_eq!(parse(name), Name::Pattern { prefix: prefix.into(), glob: glob.into() }, "{name}");
        }
        assert_eq!(parse("plain]name"), Name::Exact("plain]name".into()));
    }
}
