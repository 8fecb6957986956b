//! The one way from a command to stdout: a [`View`] shown by an [`Output`], as tables for people or as JSON.
//!
//! A command fills a view and hands it over; nothing else prints data. The field names of the JSON are a promise to
//! scripts: the snapshot tests of each command hold them.

pub(super) mod json;
pub(super) mod table;
pub(super) mod visible;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::Value;

/// Something a command shows.
pub trait View {
    /// Returns everything the view knows, under stable names; times in UTC (RFC 3339), durations in seconds.
    fn json(&self) -> Value;

    /// Returns the view for people, top to bottom.
    fn blocks(&self) -> Vec<Block>;
}

/// Where views go.
pub trait Output: Send + Sync {
    /// Prints the view on stdout, whole or not at all as far as the pipe allows.
    fn show(&self, view: &dyn View) -> io::Result<()>;

    /// Prints a line for people on stderr; the JSON form has none of it.
    fn remark(&self, line: &str) -> io::Result<()>;
}

/// A part of a view for people.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Table(Table),
    /// `key = value` lines under a title; a value may have several lines.
    Fields {
        title: String,
        fields: Vec<(String, Cell)>,
    },
    /// Text as it is, without control characters.
    Text(String),
    /// What the reader may do next.
    Hint(String),
}

/// Rows under a header.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub title: Option<String>,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

/// A text and how it stands out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    /// Returns a cell that stands out as `tone` says.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Why a text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Plain,
    /// Done well.
    Good,
    /// Failed.
    Bad,
    /// Failed for now; it will be tried again, or somebody has to go on.
    Warning,
    /// Under way.
    Busy,
    /// Of less interest.
    Faint,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// Returns whether a stream gets colours.
    pub(super) fn allows(self, is_terminal: bool) -> bool {
        let forbidden = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => is_terminal && !forbidden(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Returns the output that the options ask for.
pub(super) fn open(form: Form, colors: ColorChoice, advice: Advice) -> Box<dyn Output> {
    let is_terminal = io::stdout().is_terminal();
    match form {
        Form::Json => Box::new(json::JsonOutput),
        Form::People => Box::new(table::TableOutput {
            colours: colors.allows(is_terminal),
            width: table::width(is_terminal),
            advice,
        }),
    }
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    People,
    Json,
}

/// Whether people are told what to type next (`cli_suggestions` of the settings).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    Shown,
    Hidden,
}

/// Writes the text to stdout in one piece and flushes it.
fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
