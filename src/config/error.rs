//! What can be wrong with a project, said to the one who has to mend it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::read::Placed;
use super::secret::REDACTED;
use super::source::Source;
use crate::flowfile::fault::{did_you_mean, render};

/// Why there is no project. `Display` says what failed, where and why; [`ConfigError::hint`] what to type next.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the file {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot read the folder of the project files {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("{} is no project file: its name ends neither in .yaml nor in .json nor in .toml", path.display())]
    Ending { path: PathBuf },
    /// `report` has each fault with its place, the line and what to write instead.
    #[error("the {what} {} has {}:\n{}", path.display(), faults(*count), report.trim_end())]
    Faulty { what: &'static str, path: PathBuf, count: usize, report: String },
    #[error(
        "the project file {} holds secrets ({}), and others can read it (mode {mode:04o})",
        path.display(), keys.join(", ")
    )]
    Exposed { path: PathBuf, keys: Vec<String>, mode: u32 },
    #[error("there is no project in {}{}", folder.display(), unreadable(broken))]
    NoProject { folder: PathBuf, broken: Vec<PathBuf> },
    #[error("there are several projects in {} and none is chosen: {}", folder.display(), names.join(", "))]
    Undecided { folder: PathBuf, names: Vec<String> },
    #[error("there is no project `{name}` in {}{}", folder.display(), unreadable(broken))]
    Unknown { name: String, folder: PathBuf, known: Vec<String>, broken: Vec<PathBuf> },
    #[error("two files are the project `{name}`: {}", paths(files))]
    Duplicate { name: String, files: Vec<PathBuf> },
    #[error("there is no home directory to look for ~/.jfremote in")]
    NoHome,
    #[error("the file {} is there already; nothing was written", path.display())]
    Exists { path: PathBuf },
    #[error("cannot write the file {}; nothing is left of it", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl ConfigError {
    /// Returns what the user can type or do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } => Some(format!("look at it: ls -l {}", path.display())),
            Self::Folder { path, .. } => {
                Some(format!("set JFREMOTE_PROJECTS_FOLDER, or look at it: ls -ld {}", path.display()))
            }
            Self::Ending { .. } => Some("rename it to NAME.yaml".to_owned()),
            Self::Faulty { what: "project file", .. } => {
                Some("mend the file, then type: jf project check".to_owned())
            }
            Self::Faulty { .. } => None,
            Self::Exposed { path, .. } => Some(format!("type: chmod 600 {}", path.display())),
            Self::NoProject { broken, .. } if broken.is_empty() => {
                Some("make one: jf init; or try without: jf demo".to_owned())
            }
            Self::NoProject { .. } => Some("see what is wrong with them: jf project list -w".to_owned()),
            Self::Undecided { names, .. } => {
                let name = names.first().map_or("NAME", String::as_str);
                Some(format!("choose one: jf -p {name} …; or for good: export JFREMOTE_PROJECT={name}"))
            }
            Self::Unknown { name, known, .. } => {
                Some(match did_you_mean(name, known.iter().map(String::as_str)) {
                    Some(nearest) => format!("did you mean `{nearest}`? type: jf -p {nearest} …"),
                    None if known.is_empty() => "make one: jf init".to_owned(),
                    None => format!("known are: {}", known.join(", ")),
                })
            }
            Self::Duplicate { .. } => Some("change the `name` in one of them, or move it away".to_owned()),
            Self::NoHome => Some("set HOME or JFREMOTE_PROJECTS_FOLDER".to_owned()),
            Self::Exists { path } => {
                Some(format!("choose another name, or move it away: mv {0} {0}.old", path.display()))
            }
            Self::Write { path, .. } => path
                .parent()
                .map(|folder| format!("look at the folder: ls -ld {0}; df {0}", folder.display())),
        }
    }

    /// Returns the error about all that is wrong with one file.
    pub(super) fn faulty(what: &'static str, path: &Path, text: &str, found: &[Placed]) -> Self {
        Self::Faulty { what, path: path.to_owned(), count: found.len(), report: report(found, path, text) }
    }
}

/// Returns the faults as text for people, in their order; no secret is in it.
pub fn report(found: &[Placed], path: &Path, text: &str) -> String {
    let shown = mask(text);
    found.iter().map(|placed| one(placed, path, &shown)).collect()
}

fn one(Placed { fault, source }: &Placed, path: &Path, shown: &str) -> String {
    let fault = std::slice::from_ref(fault);
    match source {
        Source::Default | Source::File { .. } => render(fault, &path.display().to_string(), shown),
        Source::Environment { .. } | Source::Flag { .. } => render(fault, &source.to_string(), ""),
    }
}

/// Hides what follows a key whose name says that it is a secret, and passwords in connection strings. It looks at the
/// text, not at its tree: a report about a broken file must not show them either.
fn mask(text: &str) -> String {
    #[expect(clippy::expect_used, reason = "constant patterns, run by the tests")]
    static PATTERNS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
        [
            // A misspelt key (`pasword`, `passwort`) hides its value, too.
            r#"(?i)([\w-]*(?:pas+w|pas+phr|pwd|secret|token|api_?key)[\w-]*["']?\s*[:=]\s*)\S.*"#,
            r"(://[^\s:/@]*:)[^\s@]*(@)",
        ]
        .map(|pattern| Regex::new(pattern).expect("a sound pattern"))
    });
    let [keys, addresses] = &*PATTERNS;
    let hidden = addresses.replace_all(text, format!("${{1}}{REDACTED}${{2}}"));
    keys.replace_all(&hidden, format!("${{1}}{REDACTED}")).into_owned()
}

fn faults(count: usize) -> String {
    if count == 1 { "a fault".to_owned() } else { format!("{count} faults") }
}

fn unreadable(broken: &[PathBuf]) -> String {
    match broken {
        [] => String::new(),
        [one] => format!(" (a file there cannot be used: {})", one.display()),
        several => format!(" ({} files there cannot be used: {})", several.len(), paths(several)),
    }
}

fn paths(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
