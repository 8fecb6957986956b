//! Where a value of a project came from.

use std::fmt;
use std::path::PathBuf;

/// The layers a project is made of, in order of precedence: a later one wins over an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The built-in defaults (`config/default.yaml`), or a rule that derives the value from another one.
    Default,
    /// The project file. Line and column start at 1; zero means that the format gives none (JSON).
    File { path: PathBuf, line: usize, column: usize },
    /// An environment variable, by its name.
    Environment { variable: String },
    /// A command-line option, as typed.
    Flag { option: String },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { option } => write!(f, "option {option}"),
        }
    }
}

/// One value of a project and where it came from, for `jf project show --source`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// Keys from the top, joined by dots: `workers.cluster.max_jobs`.
    pub key: String,
    /// As it would stand in a YAML file; secrets are [`super::secret::REDACTED`].
    pub value: String,
    #[serde(serialize_with = "as_text")]
    pub source: Source,
}

fn as_text<S: serde::Serializer>(source: &Source, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(source)
}
