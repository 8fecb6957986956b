//! Shell patterns as the server's regular expressions.

/// A name as a user asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Exact(String),
    /// A regular expression that matches whole names only.
    Pattern(String),
}

/// Returns how to search for `name`, which may have `*`, `?` and `[...]` as in a shell.
///
/// A `[` that is never closed stands for itself. What comes before the first wildcard is plain text after `^`, so that
/// an index on the name narrows the search.
pub(super) fn parse(name: &str) -> Name {
    if !name.contains(['*', '?', '[']) {
        return Name::Exact(name.to_owned());
    }
    let mut pattern = String::from("^");
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        rest = match next {
            '*' => push(&mut pattern, ".*", after),
            '?' => push(&mut pattern, ".", after),
            '[' => push_set(&mut pattern, after),
            other => push(&mut pattern, &regex::escape(other.encode_utf8(&mut [0; 4])), after),
        };
    }
    pattern.push('$');
    Name::Pattern(pattern)
}

fn push<'t>(pattern: &mut String, text: &str, after: &'t str) -> &'t str {
    pattern.push_str(text);
    after
}

/// Appends the set whose `[` was just read and returns what comes after its `]`.
fn push_set<'t>(pattern: &mut String, inner: &'t str) -> &'t str {
    let (negation, members) = match inner.strip_prefix('!') {
        Some(members) => ("^", members),
        None => ("", inner),
    };
    // A `]` that comes first is a member of the set.
    let first = members.chars().next().map_or(0, char::len_utf8);
    let end = members.get(first..).and_then(|tail| tail.find(']'));
    let Some((set, rest)) = end.and_then(|end| members.split_at_checked(first.saturating_add(end))) else {
        return push(pattern, "\\[", inner);
    };
    pattern.push('[');
    pattern.push_str(negation);
    for member in set.chars() {
        if matches!(member, '\\' | '[' | ']' | '^') {
            pattern.push('\\');
        }
        pattern.push(member);
    }
    pattern.push(']');
    rest.strip_prefix(']').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_anchored_expressions() {
        let table = [
            ("re*x", "^re.*x$"),
            ("[!ab]?", "^[^ab].$"),
            ("a.b[", "^a\\.b\\[$"),
            ("a[]b]c", "^a[\\]b]c$"),
            ("a[!]b]c*", "^a[^\\]b]c.*$"),
            ("[a-z^]", "^[a-z\\^]$"),
            ("(é)*", "^\\(é\\).*$"),
        ];
        for (name, pattern) in table {
            assert_eq!(parse(name), Name::Pattern(pattern.into()), "{name}");
            assert!(regex::Regex::new(pattern).is_ok());
        }
        assert_eq!(parse("plain]name"), Name::Exact("plain]name".into()));
    }
}
