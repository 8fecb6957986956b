//! `jf project list`

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, Cell, Table, Tone, View};
use crate::cli::session::Session;
use crate::config::{self, Found};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Say what is wrong with the files that cannot be used
    #[arg(short, long)]
    warn: bool,
}

pub(super) fn run(args: &ListArgs, session: &Session) -> Result<Exit, CliError> {
    let settings = session.settings()?;
    let found = config::list(&settings.projects_folder, &session.environment)?;
    let named = session.options.project.clone().or(settings.project);
    let only = found.iter().filter(|one| one.loaded.is_ok()).count() == 1;
    let selected = |one: &Found| match &named {
        Some(name) => one.name.as_ref() == Some(name),
        None => only && one.loaded.is_ok(),
    };
    let list = ProjectList {
        folder: settings.projects_folder.display().to_string(),
        selected: found.iter().map(selected).collect(),
        found,
        warn: args.warn,
    };
    session.show(&list)?;
    Ok(Exit::Success)
}

struct ProjectList {
    folder: String,
    found: Vec<Found>,
    /// Whether each is the one that commands act on.
    selected: Vec<bool>,
    warn: bool,
}

impl View for ProjectList {
    fn json(&self) -> Value {
        let project = |(one, selected): (&Found, &bool)| {
            let loaded = one.loaded.as_ref();
            json!({
                "name": one.name,
                "file": one.file,
                "selected": selected,
                "store": loaded.ok().map(|loaded| loaded.project.queue.store.type_name()),
                "workers": loaded.ok().map(|loaded| loaded.project.workers.keys().collect::<Vec<_>>()),
                "error": loaded.err().map(ToString::to_string),
            })
        };
        self.found.iter().zip(&self.selected).map(project).collect()
    }

    fn blocks(&self) -> Vec<Block> {
        if self.found.is_empty() {
            return vec![
                Block::Text(format!("There are no projects in {}.", self.folder)),
                Block::Hint("`jf init` makes one; `jf demo` shows what a project does.".into()),
            ];
        }
        let columns = ["", "Name", "Store", "Workers", "File"].map(str::to_owned).to_vec();
        let rows = self.found.iter().zip(&self.selected).map(|(one, selected)| row(one, *selected)).collect();
        let table = Block::Table(Table { title: None, columns, rows });
        [table].into_iter().chain(self.warnings()).collect()
    }
}

impl ProjectList {
    fn warnings(&self) -> Vec<Block> {
        let broken: Vec<String> =
            self.found.iter().filter_map(|one| one.loaded.as_ref().err().map(ToString::to_string)).collect();
        match (broken.len(), self.warn) {
            (0, _) => Vec::new(),
            (_, true) => broken.into_iter().map(Block::Text).collect(),
            (_, false) => {
                vec![Block::Hint("`jf project list --warn` says what is wrong with the others.".into())]
            }
        }
    }
}

fn row(one: &Found, selected: bool) -> Vec<Cell> {
    let mark = if selected { "*" } else { "" };
    let name = one.name.clone().unwrap_or_default();
    let file = one.file.display().to_string();
    match &one.loaded {
        Ok(loaded) => {
            let workers: Vec<&str> = loaded.project.workers.keys().map(String::as_str).collect();
            let store = loaded.project.queue.store.type_name();
            vec![mark.into(), name.into(), store.into(), workers.join(", ").into(), file.into()]
        }
        Err(_) => vec![mark.into(), name.into(), Cell::new("not usable", Tone::Bad), "".into(), file.into()],
    }
}
