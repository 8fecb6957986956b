//! `jf project show`

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, Cell, Table, Tone, View};
use crate::cli::session::Session;
use crate::config::defaults::DEFAULT_YAML;
use crate::config::{Loaded, Setting, Source};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Show where each value comes from: default, file and line, environment variable, option
    #[arg(long)]
    source: bool,
    /// Show only what is not the default
    #[arg(long)]
    changed: bool,
    /// Show every key of a project file, its default and its meaning
    #[arg(long, conflicts_with_all = ["source", "changed"])]
    default: bool,
}

pub(super) fn run(args: &ShowArgs, session: &Session) -> Result<Exit, CliError> {
    if args.default {
        session.show(&Text(DEFAULT_YAML))?;
        return Ok(Exit::Success);
    }
    let Loaded { project, mut settings, warnings, .. } = session.load()?;
    if args.changed {
        settings.retain(|setting| setting.source != Source::Default);
    }
    let warnings = warnings.into_iter().map(|placed| placed.fault.message).collect();
    session.show(&ProjectView { name: project.name, settings, warnings, with_source: args.source })?;
    Ok(Exit::Success)
}

/// The defaults as they stand in the program.
struct Text(&'static str);

impl View for Text {
    fn json(&self) -> Value {
        json!(self.0)
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(self.0.trim_end().to_owned())]
    }
}

struct ProjectView {
    name: String,
    settings: Vec<Setting>,
    warnings: Vec<String>,
    with_source: bool,
}

impl View for ProjectView {
    fn json(&self) -> Value {
        let setting = |setting: &Setting| json!({"key": setting.key, "value": setting.value, "source": setting.source.to_string()});
        json!({
            "project": self.name,
            "settings": self.settings.iter().map(setting).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let mut columns = vec!["Key".to_owned(), "Value".to_owned()];
        if self.with_source {
            columns.push("From".to_owned());
        }
        let rows = self.settings.iter().map(|setting| self.row(setting)).collect();
        let table = Block::Table(Table { title: Some(format!("Project {}", self.name)), columns, rows });
        [table].into_iter().chain(self.warnings.iter().cloned().map(Block::Hint)).collect()
    }
}

impl ProjectView {
    fn row(&self, setting: &Setting) -> Vec<Cell> {
        let tone = if setting.source == Source::Default { Tone::Faint } else { Tone::Plain };
        let mut cells = vec![Cell::new(setting.key.as_str(), tone), Cell::new(setting.value.as_str(), tone)];
        if self.with_source {
            cells.push(Cell::new(setting.source.to_string(), Tone::Faint));
        }
        cells
    }
}
