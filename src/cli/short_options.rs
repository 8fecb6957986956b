//! Short options of several letters (`-did`, `-wk`), as jobflow-remote's `jf` has them and clap has not.
//!
//! An argument declares such a name as an alias (`alias = "did"`). Before clap sees the command line,
//! [`expand`] turns each `-did` into `--did` where the command at hand knows that alias; everything else is left as
//! it is. So the table is the command tree itself, and each command has only its own names.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// Returns the command line with known short options of several letters made long.
///
/// `command` is the root; the first of `args` is the program's name. Nothing behind `--` is touched.
pub(super) fn expand(command: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut walk = Walk { command, globals: globals_of(command), value_follows: false, over: false };
    let mut args = args.into_iter();
    let name = args.next();
    name.into_iter().chain(args.map(|arg| walk.take(arg))).collect()
}

/// Returns the command with these short options named in its help, and in that of its subcommands: `[also -did]`.
pub(super) fn shown(command: Command) -> Command {
    command.mut_args(named).mut_subcommands(shown)
}

fn named(arg: Arg) -> Arg {
    let Some(names) = arg.get_all_aliases().filter(|names| !names.is_empty()) else { return arg };
    let names: Vec<String> = names.iter().map(|name| format!("-{name}")).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = format!("{help} [also {}]", names.join(", "));
    arg.help(help)
}

/// Where in the command tree the reading of the line has come.
struct Walk<'a> {
    command: &'a Command,
    globals: Vec<&'a Arg>,
    value_follows: bool,
    over: bool,
}

impl Walk<'_> {
    fn take(&mut self, arg: OsString) -> OsString {
        if self.over || std::mem::take(&mut self.value_follows) {
            return arg;
        }
        let Some(text) = arg.to_str() else { return arg };
        if text == "--" {
            self.over = true;
            return arg;
        }
        if let Some(long) = text.strip_prefix("--") {
            self.value_follows = !long.contains('=') && self.long(long).is_some_and(takes_next_word);
            return arg;
        }
        match text.strip_prefix('-') {
            Some(letters) if !letters.is_empty() => self.take_short(letters).unwrap_or(arg),
            _ => {
                self.descend(text);
                arg
            }
        }
    }

    /// Returns the long form of `-letters` if the command has such an alias.
    fn take_short(&mut self, letters: &str) -> Option<OsString> {
        let name = letters.split('=').next().unwrap_or(letters);
        let alias = (name.chars().count() > 1).then(|| self.long(name)).flatten();
        if let Some(found) = alias {
            self.value_follows = !letters.contains('=') && takes_next_word(found);
            return Some(format!("--{letters}").into());
        }
        let mut characters = letters.chars();
        let (first, rest) = (characters.next()?, characters.as_str());
        self.value_follows = rest.is_empty() && self.short(first).is_some_and(takes_next_word);
        None
    }

    fn long(&self, name: &str) -> Option<&Arg> {
        self.args().find(|arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
        })
    }

    fn short(&self, letter: char) -> Option<&Arg> {
        self.args().find(|arg| arg.get_short() == Some(letter))
    }

    fn args(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().chain(self.globals.iter().copied())
    }

    fn descend(&mut self, word: &str) {
        if let Some(command) = self.command.find_subcommand(word) {
            self.globals.extend(globals_of(command));
            self.command = command;
        }
    }
}

fn globals_of(command: &Command) -> Vec<&Arg> {
    command.get_arguments().filter(|arg| arg.is_global_set()).collect()
}

/// Returns whether the value of the option is the next word of the line.
fn takes_next_word(arg: &Arg) -> bool {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    takes && !optional && !arg.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::{expand, shown};

    fn tree() -> Command {
        let value = |id: &'static str| Arg::new(id).long(id).action(ArgAction::Append);
        let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
        let list = Command::new("list")
            .arg(value("db-id").alias("did"))
            .arg(value("name").short('n'))
            .arg(flag("running").alias("run"))
            .arg(Arg::new("verbose").short('v').action(ArgAction::Count));
        Command::new("jf")
            .arg(value("project").short('p').global(true))
            .arg(flag("full-exc").alias("fe").global(true))
            .subcommand(Command::new("job").subcommand(list).subcommand(Command::new("other")))
    }

    #[test]
    fn help_names_the_short_options() {
        let help = shown(tree())
            .find_subcommand_mut("job")
            .unwrap()
            .find_subcommand_mut("list")
            .unwrap()
            .render_help();
        // How far apart they stand is clap's business.
        let words: Vec<String> = help.to_string().split_whitespace().map(str::to_owned).collect();
        assert!(words.join(" ").contains("--db-id <db-id> [also -did]"), "{help}");
    }

    #[test]
    fn known_names_become_long_where_the_command_has_them() {
        let cases = [
            ("jf -fe job list -did 1 -did 2", "jf --fe job list --did 1 --did 2"),
            ("jf job list -did=3 -run -fe", "jf job list --did=3 --run --fe"),
            ("jf job list -vv -n x -vn x", "jf job list -vv -n x -vn x"),
            ("jf -p job job list -run", "jf -p job job list --run"),
            ("jf --project job job list -run", "jf --project job job list --run"),
            ("jf job list -n -run -run", "jf job list -n -run --run"),
            ("jf job list -- -did -run", "jf job list -- -did -run"),
            ("jf job other -did 1", "jf job other -did 1"),
            ("jf job list - -zz", "jf job list - -zz"),
        ];
        for (given, wanted) in cases {
            let words = expand(&tree(), given.split(' ').map(Into::into));
            let line: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(line.join(" "), wanted);
        }
    }
}
